// SPDX-License-Identifier: Apache-2.0
//
// Key to artifact: build the attn module, run the pipeline, translate, optimise, emit an object. Every compile has its
// own MLIRContext and LLVMContext: there is no global state to lock, and threads compile different keys side by side.
#include "tilewright/runtime/Compiler.h"
#include "AttnModule.h"
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Pipelines/Pipelines.h"
#include "tilewright/Target/CpuCodegen.h"
#include "tilewright/Target/GpuCodegen.h"
#include "tilewright/runtime/Error.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/IR/Module.h"
#include <array>
#include <chrono>
#include <tuple>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::runtime;

namespace {

struct StagePasses {
  std::string_view name;
  void (*add)(OpPassManager &);
};

/// What differs between targets: the passes of each stage, and what machine code is called.
struct TargetStages {
  std::array<StagePasses, 4> passes;
  /// All stages that a user can ask for, in order.
  std::array<std::string_view, 7> names;
};
constexpr TargetStages kCpuStages = {
    {{{"tile", addTileStage}, {"schedule", addScheduleStage}, {"vector", addVectorStage}, {"llvm", addLlvmStage}}},
    {"attn", "tile", "schedule", "vector", "llvm", "obj", ""}};
constexpr TargetStages kGpuStages = {
    {{{"tile", addTileStage}, {"schedule", addGpuScheduleStage}, {"nvvm", addNvvmStage}, {"llvm", addGpuLlvmStage}}},
    {"attn", "tile", "schedule", "nvvm", "llvm", "ptx", "cubin"}};

const TargetStages &stagesOf(const KernelKey &key) { return key.sm == 0 ? kCpuStages : kGpuStages; }

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

  /// Runs up to `stage`, which is one of the target's, and returns its text, or machine code.
  std::string run(std::string_view stage) {
    // A key that was not made by parseKey or a plan may hold a schedule that no table has: refused here, for passes
    // take block sizes as they come.
    if (kernels::parseSchedule(kernels::toText(key.schedule)) != key.schedule) {
      throw Error(TW_INVALID_ARGUMENT, "key: schedule " + kernels::toText(key.schedule) + " is not one: must be " +
                                           std::string(kernels::kScheduleForm), "key");
    }
    // Options of the context's printing and debugging stay untouched: this is somebody else's process.
    timed("attn", [&] {
      context.loadAllAvailableDialects();
      module = buildAttnModule(context, key);
      check(succeeded(verify(*module)), "the attn operation is not valid");
    });
    if (stage == "attn") {
      return moduleText();
    }
    for (const auto &[name, add] : stagesOf(key).passes) {
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
      } else if (name == "nvvm") {
        auto func = *module->getOps<LLVM::LLVMFuncOp>().begin();
        sharedBytes = static_cast<uint64_t>(func->getAttrOfType<IntegerAttr>(tile::kSharedAttr).getInt());
        func->removeAttr(tile::kSharedAttr); // translation knows no attribute of the tile dialect
      }
      if (stage == name) {
        return name == "llvm" ? llvmText() : moduleText();
      }
    }
    if (key.sm == 0) {
      return object();
    }
    std::string text = ptx();
    return stage == "ptx" ? text : cubin(text);
  }

  /// PTX and, where an assembler is found, machine code: what an artifact of a GPU key holds.
  std::pair<CodeFormat, std::string> gpuCode() {
    std::string text = run("ptx");
    std::optional<PtxAssembler> assembler = key.sm == kPtxOnly ? std::nullopt : findPtxAssembler();
    if (!assembler) {
      return {CodeFormat::Ptx, text};
    }
    return {CodeFormat::Cubin, assemble(*assembler, text)};
  }

  StageTimes times;
  std::string pipeline;
  uint64_t scratchBytes = 0;
  uint64_t sharedBytes = 0;

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
    timed("translate", [&] {
      result = check(key.sm == 0 ? translateForCpu(*module, key.level, llvmContext)
                                 : translateForGpu(*module, instructions(), llvmContext),
                     "translation to LLVM IR");
    });
    timed("optimize", [&] {
      llvm::Error error = key.sm == 0 ? optimizeForCpu(*result, key.level) : optimizeForGpu(*result, instructions());
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

  std::string ptx() {
    std::unique_ptr<llvm::Module> llvmModule = translated();
    std::string text;
    timed("ptx", [&] { text = check(emitPtx(*llvmModule, instructions()), "PTX"); });
    return text;
  }

  std::string cubin(const std::string &text) {
    if (key.sm == kPtxOnly) {
      throw Error(TW_UNSUPPORTED, "stage: cubin needs a key for one SM, and this one's target is ptx", "stage");
    }
    std::string why;
    std::optional<PtxAssembler> assembler = findPtxAssembler(&why);
    if (!assembler) {
      throw Error(TW_UNSUPPORTED, "stage: cubin needs an assembler, and none was found: not $TILEWRIGHT_PTXAS, "
                                  "which is unset; not the one in this process (" + why + "); no ptxas in PATH, "
                                  "in /usr/local/cuda/bin or of the Python package nvidia-cuda-nvcc. The stage ptx "
                                  "needs none",
                  "stage");
    }
    return assemble(*assembler, text);
  }

  std::string assemble(const PtxAssembler &assembler, const std::string &text) {
    std::string bytes;
    timed("cubin", [&] { bytes = check(assemblePtx(assembler, text, key.sm, instructions(), nullptr), "assembling"); });
    return bytes;
  }

  GpuInstructions instructions() const { return key.isSm90a() ? GpuInstructions::Sm90a : GpuInstructions::Sm80; }

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
  if (key.sm == 0) {
    artifact.object = compilation.run("obj");
  } else {
    std::tie(artifact.format, artifact.object) = compilation.gpuCode();
    artifact.sharedBytes = compilation.sharedBytes;
    artifact.threads = key.schedule.threads();
  }
  artifact.keyText = toText(key);
  artifact.symbol = kernelSymbol(key.kind);
  artifact.scratchBytes = compilation.scratchBytes;
  artifact.pipeline = compilation.pipeline;
  artifact.stageMs = compilation.times;
  return artifact;
}

std::string runtime::compileToStage(const KernelKey &key, std::string_view stage,
                                    std::vector<std::pair<std::string, double>> *stageMs) {
  const TargetStages &stages = stagesOf(key);
  if (stage.empty() || !llvm::is_contained(stages.names, stage)) {
    std::string allowed;
    for (std::string_view name : stages.names) {
      if (!name.empty()) {
        allowed += (allowed.empty() ? "" : ", ") + std::string(name);
      }
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

AssemblerInfo runtime::gpuAssembler() {
  AssemblerInfo info;
  std::string why;
  std::optional<PtxAssembler> assembler = findPtxAssembler(&why);
  if (!assembler) {
    info.why = "in this process: " + why + "; ptxas: not found. The driver assembles kernels";
    return info;
  }
  info.found = true;
  info.inProcess = assembler->inProcess();
  auto take = [&](llvm::Expected<std::string> value, std::string &into) {
    if (value) {
      into = *value;
    } else {
      info.found = false;
      info.why = llvm::toString(value.takeError());
    }
  };
  take(ptxAssemblerFile(*assembler), info.file);
  take(ptxAssemblerVersion(*assembler), info.version);
  return info;
}

std::string_view runtime::llvmVersion() { return LLVM_VERSION_STRING; }
