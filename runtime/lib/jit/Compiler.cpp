// SPDX-License-Identifier: Apache-2.0
//
// Key to artifact: build the attn module, run the pipeline, translate, optimise, emit an object. Every compile has its
// own MLIRContext and LLVMContext: there is no global state to lock, and threads compile different keys side by side.
#include "tilewright/runtime/Compiler.h"
#include "AttnModule.h"
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Pipelines/Pipelines.h"
#include "tilewright/Target/CpuCodegen.h"
#include "tilewright/runtime/Error.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/IR/Module.h"
#include <chrono>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::runtime;

namespace {

constexpr std::string_view kStages[] = {"attn", "tile", "schedule", "vector", "llvm", "obj"};

/// Compiles one key; what it throws carries everything the compiler said.
class Compilation {
public:
  using StageTimes = std::vector<std::pair<std::string, double>>;

  explicit Compilation(const KernelKey &key)
      : key(key), context(registry(), MLIRContext::Threading::DISABLED), handler(&context, [this](Diagnostic &d) {
          llvm::raw_string_ostream stream(diagnostics);
          stream << d.getLocation() << ": " << d << "\n";
          for (Diagnostic &note : d.getNotes()) {
            stream << "  note: " << note << "\n";
          }
        }) {}

  /// Runs up to `stage`, which is one of kStages, and returns its text, or the object.
  std::string run(std::string_view stage) {
    // Options of the context's printing and debugging stay untouched: this is somebody else's process.
    timed("attn", [&] {
      context.loadAllAvailableDialects();
      module = buildAttnModule(context, key);
      check(succeeded(verify(*module)), "the attn operation is not valid");
    });
    if (stage == "attn") {
      return moduleText();
    }
    const std::pair<std::string_view, void (*)(OpPassManager &)> passes[] = {
        {"tile", addTileStage}, {"schedule", addScheduleStage}, {"vector", addVectorStage}, {"llvm", addLlvmStage}};
    for (const auto &[name, add] : passes) {
      PassManager pm(&context);
      pm.enableVerifier(true);
      add(pm);
      llvm::raw_string_ostream(pipeline) << (pipeline.empty() ? "" : ";") << std::string(name) << "=";
      llvm::raw_string_ostream stream(pipeline);
      pm.printAsTextualPipeline(stream);
      timed(name, [&] { check(succeeded(pm.run(*module)), "a pass failed"); });
      if (name == "vector") {
        auto func = *module->getOps<func::FuncOp>().begin();
        scratchBytes = static_cast<uint64_t>(func->getAttrOfType<IntegerAttr>(tile::kScratchAttr).getInt());
      }
      if (stage == name) {
        return name == "llvm" ? llvmText() : moduleText();
      }
    }
    return object();
  }

  StageTimes times;
  std::string pipeline;
  uint64_t scratchBytes = 0;

private:
  static const DialectRegistry &registry() {
    // Made once and never destroyed: a compile may run while the process exits.
    static const DialectRegistry *instance = [] {
      auto *made = new DialectRegistry();
      registerDialects(*made);
      return made;
    }();
    return *instance;
  }

  template <typename Body> void timed(std::string_view name, Body body) {
    auto start = std::chrono::steady_clock::now();
    body();
    std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    times.emplace_back(std::string(name), elapsed.count());
  }

  void check(bool ok, const std::string &what) {
    if (!ok) {
      throw Error(TW_COMPILE_ERROR, "compiling " + toText(key) + ": " + what + "\n" + diagnostics);
    }
  }
  template <typename T> T check(llvm::Expected<T> value, const std::string &what) {
    if (!value) {
      check(false, what + ": " + llvm::toString(value.takeError()));
    }
    return std::move(*value);
  }

  std::string moduleText() {
    std::string text;
    llvm::raw_string_ostream stream(text);
    module->print(stream);
    stream << "\n";
    return text;
  }

  std::unique_ptr<llvm::Module> translated() {
    std::unique_ptr<llvm::Module> result;
    timed("translate",
          [&] { result = check(translateForCpu(*module, key.level, llvmContext), "translation to LLVM IR"); });
    timed("optimize", [&] {
      llvm::Error error = optimizeForCpu(*result, key.level);
      if (error) {
        check(false, "optimisation: " + llvm::toString(std::move(error)));
      }
    });
    return result;
  }

  std::string llvmText() {
    std::string text;
    llvm::raw_string_ostream stream(text);
    translated()->print(stream, nullptr);
    return text;
  }

  std::string object() {
    std::unique_ptr<llvm::Module> llvmModule = translated();
    std::string bytes;
    timed("obj", [&] { bytes = check(emitCpuObject(*llvmModule, key.level), "machine code"); });
    return bytes;
  }

  KernelKey key;
  MLIRContext context;
  ScopedDiagnosticHandler handler;
  std::string diagnostics;
  OwningOpRef<ModuleOp> module;
  llvm::LLVMContext llvmContext;
};

} // namespace

Artifact runtime::compileKernel(const KernelKey &key) {
  Compilation compilation(key);
  Artifact artifact;
  artifact.object = compilation.run("obj");
  artifact.keyText = toText(key);
  artifact.symbol = kernelSymbol(key.kind);
  artifact.scratchBytes = compilation.scratchBytes;
  artifact.pipeline = compilation.pipeline;
  artifact.stageMs = compilation.times;
  return artifact;
}

std::string runtime::compileToStage(const KernelKey &key, std::string_view stage,
                                    std::vector<std::pair<std::string, double>> *stageMs) {
  if (!llvm::is_contained(kStages, stage)) {
    std::string allowed;
    for (std::string_view name : kStages) {
      allowed += (allowed.empty() ? "" : ", ") + std::string(name);
    }
    throw Error(TW_INVALID_ARGUMENT, "stage: is \"" + std::string(stage) + "\", but must be one of " + allowed,
                "stage");
  }
  Compilation compilation(key);
  std::string text = compilation.run(stage);
  if (stageMs) {
    *stageMs = compilation.times;
  }
  return text;
}

std::string_view runtime::llvmVersion() { return LLVM_VERSION_STRING; }
