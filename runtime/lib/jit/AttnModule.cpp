// SPDX-License-Identifier: Apache-2.0
#include "AttnModule.h"
#include "tilewright/Dialect/Attn/IR/Attn.h"
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/kernels/Programs.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::runtime;
using kernels::ArgId;
using kernels::ArgInfo;
using kernels::ArgType;
using kernels::KernelKind;

std::string_view runtime::kernelSymbol(KernelKind kind) {
  switch (kind) {
  case KernelKind::Forward:
    return "attn_forward";
  case KernelKind::RowLimits:
    return "attn_row_limits";
  case KernelKind::RowBounds:
    return "attn_row_bounds";
  }
  llvm_unreachable("kernel kind");
}

static Type elementType(MLIRContext *context, ElementType type) {
  switch (type) {
  case ElementType::F32:
    return Float32Type::get(context);
  case ElementType::F16:
    return Float16Type::get(context);
  case ElementType::BF16:
    return BFloat16Type::get(context);
  }
  llvm_unreachable("element type");
}

static std::optional<ElementType> elementTypeOf(Type type) {
  if (type.isF32()) {
    return ElementType::F32;
  }
  if (type.isF16()) {
    return ElementType::F16;
  }
  if (type.isBF16()) {
    return ElementType::BF16;
  }
  return std::nullopt;
}

/// Element type of a tensor that joins the scores.
static Type scoreElement(MLIRContext *context, const KernelKey &key, attn::ScoreOperand kind) {
  switch (kind) {
  case attn::ScoreOperand::VectorF32:
  case attn::ScoreOperand::MatrixF32:
    return Float32Type::get(context);
  case attn::ScoreOperand::VectorBool:
  case attn::ScoreOperand::MatrixBool:
    return IntegerType::get(context, 8);
  default:
    return elementType(context, key.dtype);
  }
}

static Type argumentType(MLIRContext *context, const KernelKey &key, const ArgInfo &info) {
  switch (info.type) {
  case ArgType::Int64:
    return IntegerType::get(context, 64);
  case ArgType::Float32:
    return Float32Type::get(context);
  case ArgType::Tensor:
    break;
  }
  switch (info.id) {
  case ArgId::Q:
  case ArgId::K:
  case ArgId::V:
  case ArgId::Out: {
    auto align = key.align[static_cast<size_t>(info.id)];
    return attn::TensorType::get(context, info.rank, elementType(context, key.dtype), align);
  }
  case ArgId::Bias:
    return attn::TensorType::get(context, info.rank, scoreElement(context, key, key.bias), key.biasAlign);
  case ArgId::AttnMask:
    return attn::TensorType::get(context, info.rank, scoreElement(context, key, key.attnMask), key.attnMaskAlign);
  case ArgId::KeyPadding:
    return attn::TensorType::get(context, info.rank, IntegerType::get(context, 8),
                                 key.kind == KernelKind::Forward ? key.keyPaddingAlign : attn::AlignClass::Strided);
  case ArgId::RngState:
    return attn::TensorType::get(context, info.rank, IntegerType::get(context, 64), attn::AlignClass::Strided);
  case ArgId::Probs:
    return attn::TensorType::get(context, info.rank, elementType(context, key.dtype), attn::AlignClass::Strided);
  case ArgId::Lse:
  case ArgId::AlibiSlopes:
    // Strides of float32 and int32 side tensors are read at run time: rows are short and read once a program.
    return attn::TensorType::get(context, info.rank, Float32Type::get(context), attn::AlignClass::Strided);
  default:
    return attn::TensorType::get(context, info.rank, IntegerType::get(context, 32), attn::AlignClass::Strided);
  }
}

OwningOpRef<ModuleOp> runtime::buildAttnModule(MLIRContext &context, const KernelKey &key) {
  ImplicitLocOpBuilder b(UnknownLoc::get(&context), &context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(b.getLoc());
  b.setInsertionPointToEnd(module->getBody());

  auto ids = kernels::kernelArguments(key.kind, key.features());
  SmallVector<Type> types;
  for (ArgId id : ids) {
    types.push_back(argumentType(&context, key, kernels::argInfo(id)));
  }
  auto func = func::FuncOp::create(b, StringRef(kernelSymbol(key.kind)), b.getFunctionType(types, {}));
  const kernels::Schedule &s = key.schedule;
  if (key.sm != 0) {
    func->setAttr(tile::kScheduleAttr, tile::GpuScheduleAttr::get(&context, s.blockM, s.blockN, s.warps, s.stages,
                                                                  s.persistent, s.turns, s.rowByRow,
                                                                  s.splitLoops, s.bulkStores, s.bodies,
                                                                  s.perSm));
    func->setAttr(tile::kTargetAttr, tile::GpuTargetAttr::get(&context, key.isSm90a() ? tile::kSm90aFamily
                                                                                  : tile::kSm80Family, key.sm));
  } else {
    auto orientation = s.orientation == kernels::Orientation::KeysByQueries ? tile::Orientation::KeysByQueries
                                                                            : tile::Orientation::QueriesByKeys;
    func->setAttr(tile::kScheduleAttr, tile::ScheduleAttr::get(&context, orientation, s.blockM, s.blockN, s.microRows,
                                                               s.microVectors));
    func->setAttr(tile::kTargetAttr, tile::CpuTargetAttr::get(&context, StringRef(cpuLevelInfo(key.level).name)));
  }

  Block *entry = func.addEntryBlock();
  b.setInsertionPointToStart(entry);
  auto arg = [&](ArgId id) -> Value {
    for (auto [i, candidate] : llvm::enumerate(ids)) {
      if (candidate == id) {
        return entry->getArgument(i);
      }
    }
    return {};
  };
  auto unitIf = [&](bool condition) { return condition ? b.getUnitAttr() : UnitAttr(); };
  if (key.kind == KernelKind::RowLimits) {
    attn::RowLimitsOp::create(b, arg(ArgId::GlmPairs), arg(ArgId::RowLimits), arg(ArgId::CuSeqlensQ),
                              arg(ArgId::CuSeqlensK), arg(ArgId::SeqUsedK), arg(ArgId::BottomRight),
                              arg(ArgId::SeqlenQ), arg(ArgId::SeqlenK), arg(ArgId::CausalOffset), arg(ArgId::Pairs),
                              unitIf(key.evenM));
  } else if (key.kind == KernelKind::RowBounds) {
    attn::RowBoundsOp::create(b, arg(ArgId::RowBounds), arg(ArgId::Documents), arg(ArgId::KeyPadding),
                              arg(ArgId::CuSeqlensQ), arg(ArgId::CuSeqlensK), arg(ArgId::SeqUsedK),
                              arg(ArgId::BottomRight), arg(ArgId::SeqlenQ), arg(ArgId::SeqlenK),
                              arg(ArgId::PositionOffset), unitIf(key.evenM));
  } else {
    SmallVector<Value> dropoutNumbers;
    if (key.dropout) {
      dropoutNumbers = {arg(ArgId::DropoutSeed), arg(ArgId::DropoutOffset), arg(ArgId::RngGiven),
                        arg(ArgId::DropoutThreshold)};
    }
    Value limits = arg(ArgId::GlmBreak) ? arg(ArgId::GlmBreak) : arg(ArgId::RowLimits);
    attn::ForwardOp::create(b, arg(ArgId::Q), arg(ArgId::K), arg(ArgId::V), arg(ArgId::Out), arg(ArgId::Lse), limits,
                            arg(ArgId::Bias), arg(ArgId::AttnMask), arg(ArgId::AlibiSlopes),
                            arg(ArgId::PositionOffset), arg(ArgId::WindowOffset), arg(ArgId::Softcap),
                            arg(ArgId::RowBounds), arg(ArgId::KeyPadding), arg(ArgId::CuSeqlensQ),
                            arg(ArgId::CuSeqlensK), arg(ArgId::SeqUsedK), arg(ArgId::BottomRight),
                            arg(ArgId::RngState), dropoutNumbers, arg(ArgId::DropoutScale), arg(ArgId::Probs),
                            arg(ArgId::Scale), arg(ArgId::SeqlenQ),
                            arg(ArgId::SeqlenK), arg(ArgId::Heads),
                            arg(ArgId::HeadsPerKv), arg(ArgId::CausalOffset), arg(ArgId::WriteLse),
                            b.getI64IntegerAttr(key.headDim), b.getI64IntegerAttr(key.headDimV),
                            attn::MaskKindAttr::get(&context, key.mask),
                            attn::ScoreOperandAttr::get(&context, key.bias),
                            attn::ScoreOperandAttr::get(&context, key.attnMask), unitIf(key.evenM), unitIf(key.evenN));
  }
  func::ReturnOp::create(b);
  return module;
}

/// Lengths that batch entries have of their own.
template <typename OpT> static void readLengths(OpT op, KernelKey &key) {
  key.varlen = static_cast<bool>(op.getCuSeqlensQ());
  key.seqUsedK = static_cast<bool>(op.getSeqUsedK());
}

/// The target and schedule fields of a key, from the function's attributes.
static bool readSchedule(func::FuncOp func, KernelKey &key) {
  Attribute schedule = func->getAttr(tile::kScheduleAttr), target = func->getAttr(tile::kTargetAttr);
  auto cpuSchedule = dyn_cast_or_null<tile::ScheduleAttr>(schedule);
  if (auto cpu = dyn_cast_or_null<tile::CpuTargetAttr>(target); cpu && cpuSchedule) {
    key.level = *parseCpuLevel(std::string_view(cpu.getLevel()));
    key.schedule.orientation = cpuSchedule.getOrientation() == tile::Orientation::KeysByQueries
                                   ? kernels::Orientation::KeysByQueries
                                   : kernels::Orientation::QueriesByKeys;
    key.schedule.blockM = static_cast<uint16_t>(cpuSchedule.getBlockM());
    key.schedule.blockN = static_cast<uint16_t>(cpuSchedule.getBlockN());
    key.schedule.microRows = static_cast<uint8_t>(cpuSchedule.getMicroRows());
    key.schedule.microVectors = static_cast<uint8_t>(cpuSchedule.getMicroVectors());
    return true;
  }
  auto gpuSchedule = dyn_cast_or_null<tile::GpuScheduleAttr>(schedule);
  if (auto gpu = dyn_cast_or_null<tile::GpuTargetAttr>(target); gpu && gpuSchedule) {
    key.sm = static_cast<uint16_t>(gpu.getSm());
    const bool roles = gpu.getFamily() == tile::kSm90aFamily;
    key.schedule = {.orientation = kernels::Orientation::QueriesByKeys,
                    .blockM = static_cast<uint16_t>(gpuSchedule.getBlockM()),
                    .blockN = static_cast<uint16_t>(gpuSchedule.getBlockN()),
                    .microRows = 0,
                    .microVectors = 0,
                    .warps = static_cast<uint8_t>(gpuSchedule.getWarps()),
                    .stages = static_cast<uint8_t>(gpuSchedule.getStages()),
                    .groups = static_cast<uint8_t>(roles ? gpuSchedule.getWarps() / 4 : 0),
                    .persistent = static_cast<uint8_t>(gpuSchedule.getPersistent()),
                    .turns = gpuSchedule.getTurns(),
                    .rowByRow = gpuSchedule.getRowByRow(),
                    .splitLoops = gpuSchedule.getSplitLoops(),
                    .bulkStores = gpuSchedule.getBulkStores(),
                    .bodies = static_cast<uint8_t>(gpuSchedule.getBodies()),
                    .perSm = static_cast<uint8_t>(gpuSchedule.getPerSm())};
    return true;
  }
  return false;
}

std::optional<KernelKey> runtime::keyOfModule(ModuleOp module) {
  auto functions = module.getOps<func::FuncOp>();
  if (!llvm::hasSingleElement(functions)) {
    return std::nullopt;
  }
  func::FuncOp func = *functions.begin();
  KernelKey key;
  if (func.isExternal() || !readSchedule(func, key)) {
    return std::nullopt;
  }

  for (Operation &op : func.getBody().front()) {
    if (auto limits = dyn_cast<attn::RowLimitsOp>(op)) {
      key.kind = KernelKind::RowLimits;
      key.evenM = limits.getEvenM();
      readLengths(limits, key);
      key.normalize();
      return key;
    }
    if (auto bounds = dyn_cast<attn::RowBoundsOp>(op)) {
      key.kind = KernelKind::RowBounds;
      key.evenM = bounds.getEvenM();
      key.documents = static_cast<bool>(bounds.getDocuments());
      key.keyPadding = static_cast<bool>(bounds.getKeyPadding());
      readLengths(bounds, key);
      key.normalize();
      return key;
    }
    if (auto forward = dyn_cast<attn::ForwardOp>(op)) {
      std::optional<ElementType> dtype = elementTypeOf(forward.getQ().getType().getElementType());
      if (!dtype) {
        return std::nullopt;
      }
      key.kind = KernelKind::Forward;
      key.dtype = *dtype;
      key.setFeatures(kernels::featuresOf(forward));
      if (Value bias = forward.getBias()) {
        key.biasAlign = cast<attn::TensorType>(bias.getType()).getAlign();
      }
      if (Value attnMask = forward.getAttnMask()) {
        key.attnMaskAlign = cast<attn::TensorType>(attnMask.getType()).getAlign();
      }
      if (Value padding = forward.getKeyPadding()) {
        key.keyPaddingAlign = cast<attn::TensorType>(padding.getType()).getAlign();
      }
      key.headDim = static_cast<uint16_t>(forward.getHeadDim());
      key.headDimV = static_cast<uint16_t>(forward.getHeadDimV());
      key.evenM = forward.getEvenM();
      key.evenN = forward.getEvenN();
      key.align = {forward.getQ().getType().getAlign(), forward.getK().getType().getAlign(),
                   forward.getV().getType().getAlign(), forward.getOut().getType().getAlign()};
      key.normalize();
      return key;
    }
  }
  return std::nullopt;
}
