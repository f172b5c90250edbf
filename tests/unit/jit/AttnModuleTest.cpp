// SPDX-License-Identifier: Apache-2.0
//
// Keys as IR and back (AttnModule.h), and the compiler's edges: unknown stages, keys that no caller could make, several
// threads, the same bytes every time.
#include "AttnModule.h"
#include "ForwardCase.h"
#include "tilewright/Pipelines/Pipelines.h"
#include "tilewright/runtime/Compiler.h"
#include "tilewright/runtime/Error.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include <algorithm>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <thread>

using namespace tilewright;
using namespace tilewright::runtime;
using namespace tilewright::tests;
using attn::AlignClass;
using attn::MaskKind;
using kernels::KernelKind;
using testing::HasSubstr;

namespace {

class Context {
public:
  Context() : context(registry(), mlir::MLIRContext::Threading::DISABLED) { context.loadAllAvailableDialects(); }

  std::string print(const KernelKey &key) {
    mlir::OwningOpRef<mlir::ModuleOp> module = buildAttnModule(context, key);
    EXPECT_TRUE(mlir::succeeded(mlir::verify(*module))) << toText(key);
    std::string text;
    llvm::raw_string_ostream stream(text);
    module->print(stream);
    return text;
  }
  /// The key of a module's text; nothing if the text does not parse or is no kernel's.
  std::optional<KernelKey> parse(const std::string &text) {
    mlir::ScopedDiagnosticHandler silent(&context, [](mlir::Diagnostic &) {});
    mlir::OwningOpRef<mlir::ModuleOp> module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    parsed = static_cast<bool>(module);
    return module ? keyOfModule(*module) : std::nullopt;
  }

  bool parsed = false; ///< whether the last text was a module at all

private:
  static const mlir::DialectRegistry &registry() {
    static const auto &instance = *[] {
      auto *made = new mlir::DialectRegistry();
      registerDialects(*made);
      return made;
    }();
    return instance;
  }
  mlir::MLIRContext context;
};

/// Valid keys of all kinds, every field drawn.
class RandomKeys {
public:
  explicit RandomKeys(unsigned seed) : generator(seed) {}

  KernelKey operator()() {
    KernelKey key;
    const KernelKind kinds[] = {KernelKind::RowLimits, KernelKind::RowBounds};
    key.kind = below(3) == 0 ? kinds[below(2)] : KernelKind::Forward;
    key.level = kCpuLevels[below(3)].level;
    key.dtype = static_cast<ElementType>(below(3));
    key.mask = static_cast<MaskKind>(below(4));
    key.headDim = static_cast<uint16_t>(1 + below(256));
    key.headDimV = static_cast<uint16_t>(1 + below(256));
    key.evenM = below(2) != 0;
    key.evenN = below(2) != 0;
    for (AlignClass &align : key.align) {
      align = below(3) == 0 ? AlignClass::Strided : AlignClass::Bytes16;
    }
    key.schedule.orientation = static_cast<kernels::Orientation>(below(2));
    key.schedule.blockM = static_cast<uint16_t>(16 * (1 + below(32)));
    key.schedule.blockN = static_cast<uint16_t>(16 * (1 + below(32)));
    key.schedule.microRows = static_cast<uint8_t>(1 + below(16));
    key.schedule.microVectors = static_cast<uint8_t>(1 + below(8));
    for (bool KernelKey::*feature :
         {&KernelKey::alibi, &KernelKey::softcap, &KernelKey::windowLeft, &KernelKey::rowBounds, &KernelKey::keyPadding,
          &KernelKey::varlen, &KernelKey::seqUsedK, &KernelKey::dropout, &KernelKey::probs, &KernelKey::documents}) {
      key.*feature = below(4) == 0;
    }
    key.bias = static_cast<attn::ScoreOperand>(below(5));     // bools are a mask's only
    key.attnMask = static_cast<attn::ScoreOperand>(below(7));
    key.biasAlign = below(2) == 0 ? AlignClass::Strided : AlignClass::Bytes8;
    key.attnMaskAlign = below(2) == 0 ? AlignClass::Strided : AlignClass::Bytes8;
    key.keyPaddingAlign = below(2) == 0 ? AlignClass::Strided : AlignClass::Bytes2;
    if (key.kind == KernelKind::RowBounds && !key.documents) {
      key.keyPadding = true; // one of the two is what the kernel is for
    }
    key.normalize();
    return key;
  }

private:
  unsigned below(unsigned bound) { return static_cast<unsigned>(generator() % bound); }
  std::mt19937 generator;
};

KernelKey smallKey(MaskKind mask = MaskKind::Causal) {
  KernelKey key = forwardKey(CpuLevel::X86_64_v2, *kernels::parseSchedule("kq:16x16:4x1"), 4, 4);
  key.mask = mask;
  key.normalize();
  return key;
}

KernelKey limitsKey() {
  KernelKey key = smallKey();
  key.kind = KernelKind::RowLimits;
  key.normalize();
  return key;
}

KernelKey boundsKey() {
  KernelKey key = smallKey();
  key.kind = KernelKind::RowBounds;
  key.documents = key.keyPadding = true;
  key.normalize();
  return key;
}

//===----------------------------------------------------------------------===//
// Keys and modules
//===----------------------------------------------------------------------===//

TEST(AttnModule, EveryKeySurvivesItsText) {
  RandomKeys random(20240601);
  Context writer, reader; // different contexts: nothing but the text passes between them
  for (int i = 0; i < 2000; ++i) {
    const KernelKey key = random();
    const std::string text = writer.print(key);
    const std::optional<KernelKey> back = reader.parse(text);
    ASSERT_TRUE(back.has_value()) << text;
    ASSERT_EQ(*back, key) << toText(key) << "\nas IR:\n" << text << "and back:\n" << toText(*back);
    ASSERT_EQ(parseKey(toText(key)), key);
  }
}

TEST(AttnModule, TextIsTheSameInEveryContext) {
  RandomKeys random(7);
  for (int i = 0; i < 20; ++i) {
    const KernelKey key = random();
    EXPECT_EQ(Context().print(key), Context().print(key));
  }
}

// Whatever generated code depends on is in the module: a field that changed without changing the text would be lost
// between the key and the kernel.
TEST(AttnModule, EveryFieldIsInTheText) {
  const KernelKey base = smallKey(MaskKind::None);
  const std::map<std::string, std::function<void(KernelKey &)>> changes = {
      {"kind", [](KernelKey &k) { k.kind = KernelKind::RowLimits; }},
      {"level", [](KernelKey &k) { k.level = CpuLevel::X86_64_v3; }},
      {"dtype f16", [](KernelKey &k) { k.dtype = ElementType::F16; }},
      {"dtype bf16", [](KernelKey &k) { k.dtype = ElementType::BF16; }},
      {"mask causal", [](KernelKey &k) { k.mask = MaskKind::Causal; }},
      {"mask glm_break", [](KernelKey &k) { k.mask = MaskKind::GlmBreak; }},
      {"mask glm_packed", [](KernelKey &k) { k.mask = MaskKind::GlmPacked; }},
      {"headDim", [](KernelKey &k) { k.headDim = 5; }},
      {"headDimV", [](KernelKey &k) { k.headDimV = 5; }},
      {"evenM", [](KernelKey &k) { k.evenM = true; }},
      {"evenN", [](KernelKey &k) { k.evenN = true; }},
      {"align q", [](KernelKey &k) { k.align[0] = AlignClass::Strided; }},
      {"align k", [](KernelKey &k) { k.align[1] = AlignClass::Strided; }},
      {"align v", [](KernelKey &k) { k.align[2] = AlignClass::Strided; }},
      {"align out", [](KernelKey &k) { k.align[3] = AlignClass::Strided; }},
      {"orientation", [](KernelKey &k) { k.schedule.orientation = kernels::Orientation::QueriesByKeys; }},
      {"blockM", [](KernelKey &k) { k.schedule.blockM = 32; }},
      {"blockN", [](KernelKey &k) { k.schedule.blockN = 32; }},
      {"microRows", [](KernelKey &k) { k.schedule.microRows = 5; }},
      {"microVectors", [](KernelKey &k) { k.schedule.microVectors = 2; }},
      {"bias", [](KernelKey &k) { k.bias = attn::ScoreOperand::Matrix; }},
      {"bias vector", [](KernelKey &k) { k.bias = attn::ScoreOperand::Vector; }},
      {"attnMask", [](KernelKey &k) { k.attnMask = attn::ScoreOperand::Matrix; }},
      {"attnMask of bools", [](KernelKey &k) { k.attnMask = attn::ScoreOperand::MatrixBool; }},
      {"alibi", [](KernelKey &k) { k.alibi = true; }},
      {"softcap", [](KernelKey &k) { k.softcap = true; }},
      {"windowLeft", [](KernelKey &k) { k.windowLeft = true; }},
      {"rowBounds", [](KernelKey &k) { k.rowBounds = true; }},
      {"keyPadding", [](KernelKey &k) { k.keyPadding = true; }},
      {"keyPadding strided",
       [](KernelKey &k) {
         k.keyPadding = true;
         k.keyPaddingAlign = AlignClass::Strided;
       }},
      {"varlen", [](KernelKey &k) { k.varlen = true; }},
      {"seqUsedK", [](KernelKey &k) { k.seqUsedK = true; }},
      {"dropout", [](KernelKey &k) { k.dropout = true; }},
      {"probs", [](KernelKey &k) { k.probs = true; }},
      {"row limits of used keys",
       [](KernelKey &k) {
         k.kind = KernelKind::RowLimits;
         k.seqUsedK = true;
       }},
      {"row bounds of documents",
       [](KernelKey &k) {
         k.kind = KernelKind::RowBounds;
         k.documents = true;
       }},
      {"row bounds of padding",
       [](KernelKey &k) {
         k.kind = KernelKind::RowBounds;
         k.keyPadding = true;
       }},
      {"row bounds of both",
       [](KernelKey &k) {
         k.kind = KernelKind::RowBounds;
         k.documents = k.keyPadding = true;
       }},
      {"row bounds of sequences",
       [](KernelKey &k) {
         k.kind = KernelKind::RowBounds;
         k.documents = k.varlen = true;
       }},
  };
  Context context;
  std::map<std::string, std::string> texts = {{context.print(base), "no change"}};
  for (const auto &[what, change] : changes) {
    KernelKey key = base;
    change(key);
    key.normalize();
    auto [other, fresh] = texts.emplace(context.print(key), what);
    EXPECT_TRUE(fresh) << what << " gives the text of: " << other->second;
  }
}

TEST(AttnModule, SymbolNamesTheKind) {
  Context context;
  EXPECT_THAT(context.print(smallKey()), HasSubstr("func.func @attn_forward("));
  EXPECT_THAT(context.print(limitsKey()), HasSubstr("func.func @attn_row_limits("));
  EXPECT_THAT(context.print(boundsKey()), HasSubstr("func.func @attn_row_bounds("));
  EXPECT_EQ(kernelSymbol(KernelKind::Forward), "attn_forward");
  EXPECT_EQ(kernelSymbol(KernelKind::RowLimits), "attn_row_limits");
  EXPECT_EQ(kernelSymbol(KernelKind::RowBounds), "attn_row_bounds");
}

TEST(AttnModule, OtherModulesHaveNoKey) {
  Context context;
  const std::string kernel = context.print(limitsKey());
  const std::string function = kernel.substr(kernel.find("func.func"), kernel.rfind('}') - kernel.find("func.func"));
  const std::string attributes = "attributes {tile.schedule = #tile.schedule<kq, 16 x 64, micro 8 x 2>, "
                                 "tile.target = #tile.cpu<\"x86-64-v2\">}";
  ASSERT_TRUE(context.parse(function).has_value());
  auto replaced = [&](const std::string &part, const std::string &by) {
    return std::string(function).replace(function.find(part), part.size(), by);
  };
  const std::map<std::string, std::string> others = {
      {"nothing in it", "module {}"},
      {"two kernels", "module {\n" + function + "\nfunc.func @other() { return }\n}"},
      {"a declaration", "func.func private @f() " + attributes},
      {"no attn operation", "func.func @f() " + attributes + " { return }"},
      {"no schedule", replaced("tile.schedule = ", "tile.plan = ")},
      {"no target", replaced("tile.target = ", "tile.machine = ")},
      {"a target of another kind", replaced("#tile.cpu<\"x86-64-v2\">", "\"cpu\"")},
      {"another dialect", "func.func @f(%x: i64) -> i64 { return %x : i64 }"},
  };
  for (const auto &[what, text] : others) {
    EXPECT_FALSE(context.parse(text).has_value()) << what;
    EXPECT_TRUE(context.parsed) << what << " should be a module:\n" << text;
  }
}

//===----------------------------------------------------------------------===//
// Stages
//===----------------------------------------------------------------------===//

TEST(CompileToStage, RejectsUnknownStages) {
  for (const char *stage : {"", "ptx", "Attn", "attn ", "object", "schedule,vector"}) {
    try {
      compileToStage(smallKey(), stage, nullptr);
      ADD_FAILURE() << "stage '" << stage << "' was accepted";
    } catch (const Error &error) {
      EXPECT_EQ(error.status(), TW_INVALID_ARGUMENT);
      EXPECT_EQ(error.argument(), "stage");
      EXPECT_THAT(error.what(), HasSubstr("\"" + std::string(stage) + "\""));
      EXPECT_THAT(error.what(), HasSubstr("attn, tile, schedule, vector, llvm, obj"));
    }
  }
}

TEST(CompileToStage, GivesEachStageAndItsTimes) {
  const std::pair<const char *, const char *> marks[] = {
      {"attn", "attn.forward"},         {"tile", "tile.coords"},  {"schedule", "tile.fused"},
      {"vector", "vector<4xf32>"},      {"llvm", "define void @attn_forward("}};
  size_t stages = 0;
  for (const auto &[stage, mark] : marks) {
    std::vector<std::pair<std::string, double>> times;
    EXPECT_THAT(compileToStage(smallKey(), stage, &times), HasSubstr(mark));
    ASSERT_GT(times.size(), stages) << stage;
    stages = times.size();
    for (const auto &[name, milliseconds] : times) {
      EXPECT_GE(milliseconds, 0.0) << name;
    }
  }
  const std::string object = compileToStage(smallKey(), "obj", nullptr);
  EXPECT_EQ(object.substr(0, 4), "\x7f" "ELF");
}

TEST(CompileToStage, StageAttnIsTheModulesText) {
  EXPECT_EQ(compileToStage(limitsKey(), "attn", nullptr), Context().print(limitsKey()) + "\n");
}

//===----------------------------------------------------------------------===//
// Artifacts
//===----------------------------------------------------------------------===//

TEST(CompileKernel, DescribesTheArtifact) {
  for (const KernelKey &key : {smallKey(), limitsKey(), boundsKey()}) {
    const Artifact artifact = compileKernel(key);
    EXPECT_EQ(artifact.keyText, toText(key));
    EXPECT_EQ(artifact.symbol, kernelSymbol(key.kind));
    EXPECT_GT(artifact.scratchBytes, 0u);
    EXPECT_EQ(artifact.scratchBytes % 64, 0u);
    EXPECT_THAT(artifact.pipeline, HasSubstr("attn-expand"));
    EXPECT_THAT(artifact.pipeline, HasSubstr("convert-tile-to-vector"));
    std::vector<std::string> stages;
    for (const auto &[name, milliseconds] : artifact.stageMs) {
      stages.push_back(name);
    }
    EXPECT_THAT(stages, testing::ElementsAre("attn", "tile", "schedule", "vector", "llvm", "translate", "optimize",
                                             "obj"));
    const std::unique_ptr<LoadedKernel> kernel = loadArtifact(artifact);
    EXPECT_NE(kernel->entry, nullptr);
    EXPECT_EQ(kernel->scratchBytes, artifact.scratchBytes);
  }
}

// A cache shared by machines, and a test of a release, compare bytes.
TEST(CompileKernel, SameKeySameBytes) {
  RandomKeys random(99);
  for (int i = 0; i < 4; ++i) {
    KernelKey key = random();
    key.headDim = key.headDimV = 24;
    key.schedule.blockM = 32;
    if (key.kind == KernelKind::Forward) {
      key.schedule.blockN = 32;
    }
    key.normalize();
    const Artifact first = compileKernel(key), second = compileKernel(key);
    EXPECT_EQ(first.object, second.object) << toText(key);
    EXPECT_EQ(first.scratchBytes, second.scratchBytes);
    EXPECT_EQ(first.pipeline, second.pipeline);
    EXPECT_EQ(first.object, compileToStage(key, "obj", nullptr));
  }
}

TEST(CompileKernel, ThreadsCompileSideBySide) {
  constexpr int kThreads = 4, kKernels = 4;
  std::vector<KernelKey> keys;
  for (int i = 0; i < kKernels; ++i) {
    KernelKey key = smallKey(static_cast<MaskKind>(i));
    key.dtype = static_cast<ElementType>(i % 3);
    key.level = kCpuLevels[static_cast<size_t>(i) % 3].level;
    key.normalize();
    keys.push_back(key);
  }
  std::vector<std::string> alone;
  for (const KernelKey &key : keys) {
    alone.push_back(compileKernel(key).object);
  }
  std::vector<std::vector<std::string>> together(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kKernels; ++i) { // each starts with another one
        const Artifact artifact = compileKernel(keys[static_cast<size_t>((i + t) % kKernels)]);
        loadArtifact(artifact);
        together[static_cast<size_t>(t)].push_back(artifact.object);
      }
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  for (int t = 0; t < kThreads; ++t) {
    std::vector<std::string> wanted = alone;
    std::rotate(wanted.begin(), wanted.begin() + t, wanted.end());
    EXPECT_EQ(together[static_cast<size_t>(t)], wanted);
  }
}

// Keys that parseKey refuses, made by hand: an error that says what is wrong, never a crash.
TEST(CompileKernel, RefusesBrokenKeys) {
  const std::map<std::string, std::function<void(KernelKey &)>> faults = {
      {"head_dim", [](KernelKey &k) { k.headDim = 0; }},
      {"head_dim ", [](KernelKey &k) { k.headDim = 257; }},
      {"head_dim_v", [](KernelKey &k) { k.headDimV = 0; }},
      {"head_dim_v ", [](KernelKey &k) { k.headDimV = 65535; }},
      {"even_n", [](KernelKey &k) { k.evenN = true; }}, // with a causal mask
  };
  for (const auto &[what, fault] : faults) {
    KernelKey key = smallKey(MaskKind::Causal);
    fault(key);
    for (bool toStage : {false, true}) {
      try {
        if (toStage) {
          compileToStage(key, "llvm", nullptr);
        } else {
          compileKernel(key);
        }
        ADD_FAILURE() << what << " was accepted: " << toText(key);
      } catch (const Error &error) {
        EXPECT_EQ(error.status(), TW_COMPILE_ERROR);
        EXPECT_THAT(error.what(), HasSubstr(what.substr(0, what.find(' '))));
        EXPECT_THAT(error.what(), HasSubstr(toText(key)));
      }
    }
  }
}

// A schedule that no table and no text can hold would take passes where they cannot go.
TEST(CompileKernel, RefusesSchedulesThatAreNone) {
  const std::function<void(kernels::Schedule &)> faults[] = {
      [](kernels::Schedule &s) { s.microRows = 0; },    [](kernels::Schedule &s) { s.microVectors = 0; },
      [](kernels::Schedule &s) { s.blockM = 65520; },   [](kernels::Schedule &s) { s.blockM = 24; },
      [](kernels::Schedule &s) { s.blockN = 0; },       [](kernels::Schedule &s) { s.microRows = 200; },
  };
  for (const auto &fault : faults) {
    KernelKey key = smallKey(MaskKind::Causal);
    fault(key.schedule);
    try {
      compileKernel(key);
      ADD_FAILURE() << "accepted: " << toText(key);
    } catch (const Error &error) {
      EXPECT_EQ(error.status(), TW_INVALID_ARGUMENT);
      EXPECT_THAT(error.what(), HasSubstr("schedule"));
    }
  }
}

TEST(LoadArtifact, RefusesWhatDoesNotLink) {
  Artifact artifact = compileKernel(limitsKey());
  auto expectError = [](const Artifact &broken, const char *what) {
    try {
      loadArtifact(broken);
      ADD_FAILURE() << what << " was loaded";
    } catch (const Error &error) {
      EXPECT_EQ(error.status(), TW_COMPILE_ERROR) << what;
      EXPECT_THAT(error.what(), HasSubstr(broken.keyText)) << what;
    }
  };
  Artifact noSymbol = artifact;
  noSymbol.symbol = "another_kernel";
  expectError(noSymbol, "a missing symbol");
  Artifact empty = artifact;
  empty.object.clear();
  expectError(empty, "an empty object");
  Artifact text = artifact;
  text.object = "no object at all";
  expectError(text, "text");
  Artifact cut = artifact;
  cut.object.resize(cut.object.size() / 2);
  expectError(cut, "half an object");
}

} // namespace
