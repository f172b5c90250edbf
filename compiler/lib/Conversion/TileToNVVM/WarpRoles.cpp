// SPDX-License-Identifier: Apache-2.0
//
// Programs whose warps have roles (the sm_90a family): TMA fills rings that mbarriers guard (copies: TensorMaps.cpp),
// wgmma multiplies from them. The producer is the block's last warpgroup, so that consumers' threads are numbered from
// 0.
//
// A ring's buffer is one box after the other, each of all rows by 64 columns (128 bytes), which is what one TMA copy
// with 128-byte swizzle writes and wgmma's descriptors describe. Columns past the tile's are zeros that TMA fills in.
#include "Lowering.h"
#include "tilewright/Target/GpuTarget.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2nvvm;

namespace {

/// Registers that a thread of each role has while it computes. A block starts with as many for each; together they are
/// what a block of three or four warpgroups is given.
struct RoleRegisters {
  uint32_t producer, consumer;
};
RoleRegisters registersOf(int64_t groups, bool persistent) {
  if (groups == 3) {
    return {32, 160};
  }
  return persistent ? RoleRegisters{40, 232} : RoleRegisters{24, 240}; // coordinates of any program take more
}

} // namespace

bool tile2nvvm::isPersistent(func::FuncOp func) {
  return func.walk([](tile::ClaimProgramOp) { return WalkResult::interrupt(); }).wasInterrupted();
}

//===----------------------------------------------------------------------===//
// Roles
//===----------------------------------------------------------------------===//

static bool hasTurns(tile::RolesOp op) {
  return op.getConsumer().walk([](tile::TakeTurnOp) { return WalkResult::interrupt(); }).wasInterrupted();
}

LogicalResult FunctionLowering::lowerRoles(tile::RolesOp op) {
  // Barriers lie behind the buffers: a full and an empty one for each.
  for (Value ringValue : ringOrder) {
    SharedBuffer &ring = sharedBuffers.find(ringValue)->second;
    ring.barriers = sharedBytes;
    sharedBytes += gpuRingBarrierBytes(ring.stages);
  }
  // Rings, and who releases their buffers: each consumer warp for itself, of numbers of programs each thread.
  SmallVector<std::pair<SharedBuffer, int64_t>> rings;
  for (Value ringValue : ringOrder) {
    rings.emplace_back(sharedBuffers.find(ringValue)->second, warps);
  }
  if (programCounter) {
    programRing.stages = kGpuProgramRingStages;
    programRing.barriers = sharedBytes;
    programRing.offset = sharedBytes + gpuRingBarrierBytes(kGpuProgramRingStages);
    sharedBytes += kGpuProgramRingBytes;
    rings.emplace_back(programRing, threads());
  }
  Value firstThread = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, thread, i32(0));
  ifThen(firstThread, [&] {
    for (const auto &[ring, releases] : rings) {
      for (int64_t slot = 0; slot < ring.stages; ++slot) {
        // Full by the producer's one thread, which announces a copy or a program.
        NVVM::MBarrierInitOp::create(b, barrierOf(ring, false, i32(slot)), i32(1), Value());
        NVVM::MBarrierInitOp::create(b, barrierOf(ring, true, i32(slot)), i32(releases), Value());
      }
    }
    NVVM::FenceMbarrierInitOp::create(b);
  });
  NVVM::Barrier0Op::create(b);

  int64_t groups = warps / 4;
  RoleRegisters registers = registersOf(groups, static_cast<bool>(programCounter));
  Value produces = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, warp, i32(warps));
  auto ifOp = scf::IfOp::create(b, produces, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  NVVM::SetMaxRegisterOp::create(b, registers.producer, NVVM::SetMaxRegisterAction::decrease);
  LogicalResult status = success();
  // One thread issues all copies; the other warps of its group only gave their registers.
  ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, warp, i32(warps)), [&] {
    ifThen(NVVM::ElectSyncOp::create(b, b.getI1Type(), Value()),
           [&] { status = lowerBlock(op.getProducer().front()); });
  });
  if (failed(status)) {
    return failure();
  }
  b.setInsertionPointToStart(ifOp.elseBlock());
  NVVM::SetMaxRegisterOp::create(b, registers.consumer, NVVM::SetMaxRegisterAction::increase);
  if (hasTurns(op)) {
    // The first turn is the first group's: as if the last one had passed it.
    Value last = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, warp, i32(warps - 4));
    ifThen(last, [&] { passTurn(); });
  }
  consuming = true;
  status = lowerBlock(op.getConsumer().front());
  consuming = false;
  return status;
}

/// A turn is a phase of the warpgroup's own barrier: its threads wait, those of the group before it arrive.
void FunctionLowering::takeTurn() {
  Value group = arith::ShRUIOp::create(b, warp, i32(2));
  Value id = arith::AddIOp::create(b, group, i32(kFirstTurnBarrier));
  NVVM::BarrierOp::create(b, TypeRange{}, id, i32(2 * kWarpgroup), NVVM::BarrierReductionAttr(), Value());
}

void FunctionLowering::passTurn() {
  Value next = arith::AddIOp::create(b, arith::ShRUIOp::create(b, warp, i32(2)), i32(1));
  Value last = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, next, i32(warps / 4));
  next = arith::SelectOp::create(b, last, i32(0), next);
  Value id = arith::AddIOp::create(b, next, i32(kFirstTurnBarrier));
  NVVM::BarrierArriveOp::create(b, id, i32(2 * kWarpgroup));
}

//===----------------------------------------------------------------------===//
// Rings
//===----------------------------------------------------------------------===//

Value FunctionLowering::barrierOf(const SharedBuffer &ring, bool empty, Value slot) {
  int64_t first = ring.barriers + (empty ? 8 * ring.stages : 0);
  Value bytes = arith::MulIOp::create(b, slot, i32(8));
  Value address = LLVM::GEPOp::create(b, shared.getType(), b.getI8Type(), shared, ValueRange{bytes});
  return LLVM::GEPOp::create(b, shared.getType(), b.getI8Type(), address,
                             ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(first)});
}

FunctionLowering::RingPosition FunctionLowering::positionOf(const SharedBuffer &ring, Value number) {
  Value n = toI32(number);
  if (ring.stages == 1) {
    return {i32(0), arith::AndIOp::create(b, n, i32(1))};
  }
  Value slot = arith::RemUIOp::create(b, n, i32(ring.stages));
  Value round = arith::DivUIOp::create(b, n, i32(ring.stages));
  return {slot, arith::AndIOp::create(b, round, i32(1))};
}

void FunctionLowering::waitBarrier(Value barrier, Value parity) {
  constexpr int64_t ticks = 10'000'000; // a hint for how long the hardware may suspend the thread before it asks again
  NVVM::MBarrierTryWaitParityOp::create(b, barrier, parity, i32(ticks));
}

void FunctionLowering::lowerTake(tile::TakeOp op) {
  SharedBuffer buffer = sharedBuffers.find(op.getRing())->second;
  RingPosition position = positionOf(buffer, op.getNumber());
  waitBarrier(barrierOf(buffer, false, position.slot), position.parity);
  if (buffer.stages > 1) {
    buffer.slotBytes = arith::MulIOp::create(b, position.slot, i32(buffer.bytes()));
  }
  buffer.hiddenZero = arith::ShRUIOp::create(b, toI32(op.getNumber()), i32(31));
  sharedBuffers[op.getBuffer()] = buffer;
}

void FunctionLowering::lowerRelease(tile::ReleaseOp op) {
  const SharedBuffer ring = sharedBuffers.find(op.getRing())->second;
  RingPosition position = positionOf(ring, op.getNumber());
  Value barrier = barrierOf(ring, true, position.slot);
  ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lane, i32(0)), [&] { arrive(barrier); });
}

void FunctionLowering::arrive(Value barrier) {
  NVVM::MBarrierArriveOp::create(b, Type(), barrier, Value(), NVVM::MemScopeKind::CTA, false);
}

//===----------------------------------------------------------------------===//
// Programs of persistent blocks
//===----------------------------------------------------------------------===//

/// The counter wraps to 0 at the launch's last claim: blocks claim as many programs as are given out, and each once in
/// vain, which together is the number of programs.
void FunctionLowering::claimProgram(tile::ClaimProgramOp op) {
  Value top = arith::SubIOp::create(b, programs, i32(1));
  Value claimed = LLVM::AtomicRMWOp::create(b, LLVM::AtomicBinOp::uinc_wrap, programCounter, top,
                                            LLVM::AtomicOrdering::monotonic);
  Value blocks = NVVM::GridDimXOp::create(b, b.getI32Type());
  Value next = arith::AddIOp::create(b, claimed, blocks);
  scalars.map(op.getNumber(), arith::IndexCastUIOp::create(b, b.getIndexType(), next).getResult());
}

Value FunctionLowering::programNumber(Value slot) {
  Value bytes = arith::MulIOp::create(b, slot, i32(4));
  Value address = LLVM::GEPOp::create(b, shared.getType(), b.getI8Type(), shared, ValueRange{bytes});
  return LLVM::GEPOp::create(b, shared.getType(), b.getI8Type(), address,
                             ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(programRing.offset)});
}

void FunctionLowering::announceProgram(tile::AnnounceProgramOp op) {
  RingPosition position = positionOf(programRing, op.getTurn());
  waitBarrier(barrierOf(programRing, true, position.slot), arith::XOrIOp::create(b, position.parity, i32(1)));
  LLVM::StoreOp::create(b, toI32(op.getProgram()), programNumber(position.slot), 4);
  arrive(barrierOf(programRing, false, position.slot));
}

void FunctionLowering::awaitProgram(tile::AwaitProgramOp op) {
  RingPosition position = positionOf(programRing, op.getTurn());
  waitBarrier(barrierOf(programRing, false, position.slot), position.parity);
  // From one address for all lanes, so the assembler knows that they agree, and keeps what follows from the number,
  // loop bounds and places in shared memory, in uniform registers, where wgmma's descriptors must be.
  Value number = LLVM::LoadOp::create(b, b.getI32Type(), programNumber(position.slot), 4);
  // Each lane says so for itself: it has read the number, and nothing else would order that ahead of the next one's
  // arrival. (A warp's barrier would, but the assembler drops one where it knows that lanes are together.)
  arrive(barrierOf(programRing, true, position.slot));
  scalars.map(op.getProgram(), arith::IndexCastUIOp::create(b, b.getIndexType(), number).getResult());
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// wgmma's descriptor of a matrix that starts at `byte` of a buffer: 128-byte swizzle, eight rows (1024 bytes) from one
/// group of rows to the next, and `boxStride` from one box to the next, where a matrix reaches across boxes.
Value FunctionLowering::matrixDescriptor(const SharedBuffer &buffer, Value byte, int64_t boxStride) {
  Value address = LLVM::PtrToIntOp::create(b, b.getI32Type(), sharedAddress(buffer, byte, 0));
  Value units = arith::ShRUIOp::create(b, arith::AndIOp::create(b, address, i32(0x3ffff)), i32(4));
  uint64_t layout = uint64_t{1} << 62 | uint64_t{1024 >> 4} << 32 | static_cast<uint64_t>(boxStride >> 4) << 16;
  Value high = arith::ConstantOp::create(b, b.getI64IntegerAttr(static_cast<int64_t>(layout)));
  return arith::OrIOp::create(b, arith::ExtUIOp::create(b, b.getI64Type(), units), high);
}

Value FunctionLowering::advance(Value descriptor, int64_t bytes) {
  if (bytes == 0) {
    return descriptor;
  }
  Value units = arith::ConstantOp::create(b, b.getI64IntegerAttr(bytes >> 4));
  return arith::AddIOp::create(b, descriptor, units);
}

/// A statement of inline PTX that reads and writes `values` in place and only reads `inputs`.
static SmallVector<Value> inlinePtx(ImplicitLocOpBuilder &b, const std::string &text, ArrayRef<Value> values,
                                    ArrayRef<Value> inputs, bool readsValues) {
  auto letter = [&](Value value) {
    return value.getType().isF32() ? "f" : value.getType().isInteger(64) ? "l" : "r";
  };
  std::string constraints;
  auto add = [&](const std::string &constraint) { constraints += (constraints.empty() ? "" : ",") + constraint; };
  SmallVector<Type> types;
  SmallVector<Value> operands;
  for (Value value : values) {
    add(std::string("=") + letter(value));
    types.push_back(value.getType());
  }
  if (readsValues) {
    for (size_t i = 0; i < values.size(); ++i) {
      add(std::to_string(i));
    }
    operands.append(values.begin(), values.end());
  }
  for (Value input : inputs) {
    add(letter(input));
    operands.push_back(input);
  }
  auto result = LLVM::LLVMStructType::getLiteral(b.getContext(), types);
  auto dialect = LLVM::AsmDialectAttr::get(b.getContext(), LLVM::AsmDialect::AD_ATT);
  auto op = LLVM::InlineAsmOp::create(b, result, operands, text, constraints, /*has_side_effects=*/true,
                                      /*is_align_stack=*/false, LLVM::tailcallkind::TailCallKind::None, dialect,
                                      ArrayAttr());
  SmallVector<Value> after;
  for (size_t i = 0; i < values.size(); ++i) {
    after.push_back(LLVM::ExtractValueOp::create(b, op->getResult(0), ArrayRef<int64_t>{static_cast<int64_t>(i)}));
  }
  return after;
}

/// "{$first, ..., $(first + count - 1)}"
static std::string registerList(size_t first, size_t count) {
  std::string text = "{";
  for (size_t i = 0; i < count; ++i) {
    text += (i == 0 ? "$" : ", $") + std::to_string(first + i);
  }
  return text + "}";
}

/// One wgmma.m64nNk16. `a` is a descriptor, or the four registers of a fragment.
void FunctionLowering::multiply(SmallVectorImpl<Value> &acc, bool fromZero, ArrayRef<Value> a, Value descriptor,
                                Type element, bool transB) {
  const size_t count = acc.size();
  const std::string type = element.isBF16() ? "bf16" : "f16";
  size_t next = fromZero ? count : 2 * count;
  std::string text = "wgmma.mma_async.sync.aligned.m64n" + std::to_string(2 * count) + "k16.f32." + type + "." + type +
                     " " + registerList(0, count) + ", ";
  const bool inRegisters = a.size() == 4;
  text += inRegisters ? registerList(next, 4) : "$" + std::to_string(next);
  text += ", $" + std::to_string(next + a.size()) + ", " + (fromZero ? "0" : "1") + ", 1, 1" +
          (inRegisters ? "" : ", 0") + (transB ? ", 0;" : ", 1;");
  SmallVector<Value> inputs(a);
  inputs.push_back(descriptor);
  acc = inlinePtx(b, text, acc, inputs, /*readsValues=*/!fromZero);
}

void FunctionLowering::startProduct(Value a, Value right, Value accumulator, bool transB, Value result) {
  const SharedBuffer buffer = sharedBuffers.find(right)->second;
  Type element = cast<tile::SharedType>(right.getType()).getElementType();
  SmallVector<Value> acc(fragmentOf(accumulator));
  const bool fromZero = matchPattern(accumulator, m_PosZeroFloat());
  SmallVector<Value> registers;
  NVVM::WgmmaFenceAlignedOp::create(b);
  // K-major operands advance along the depth within a box and then to the next; V, stored with its depth as rows, by
  // sixteen rows.
  Value rightStart = matrixDescriptor(buffer, Value(), transB ? 16 : buffer.boxBytes);
  auto along = [](const SharedBuffer &matrix, int64_t k) {
    return k / kTmaBoxColumns * matrix.boxBytes + k % kTmaBoxColumns * 2;
  };
  Value leftStart, laterStart;
  const bool leftShared = isa<tile::SharedType>(a.getType());
  int64_t depth = transB ? gpuSharedColumns(buffer.cols) : buffer.rows;
  // Columns whose places are computed ahead of a loop: uniform registers have room for no more, and with three groups
  // a thread has fewer registers of its own to help out.
  const int64_t columnsAhead = warps <= 8 ? 128 : depth <= 64 ? 64 : 0;
  if (leftShared) {
    // 64 rows a warpgroup.
    Value group = arith::ShRUIOp::create(b, warp, i32(2));
    Value byte = arith::MulIOp::create(b, group, i32(64 * kBoxBytes));
    const SharedBuffer &left = sharedBuffers.find(a)->second;
    leftStart = laterStart = matrixDescriptor(left, byte, 16);
    if (depth > columnsAhead && buffer.hiddenZero) {
      // Else the assembler computes all of them ahead, 64 bits each, and spills them.
      laterStart = matrixDescriptor(left, arith::AddIOp::create(b, byte, buffer.hiddenZero), 16);
    }
  } else {
    registers.assign(fragmentOf(a).begin(), fragmentOf(a).end());
  }
  for (int64_t k = 0; k < depth; k += 16) {
    SmallVector<Value> left;
    if (leftShared) {
      left.push_back(advance(k < columnsAhead ? leftStart : laterStart, along(sharedBuffers.find(a)->second, k)));
    } else {
      left.append(registers.begin() + k / 4, registers.begin() + k / 4 + 4);
    }
    Value rightPlace = advance(rightStart, transB ? along(buffer, k) : k * kBoxBytes);
    multiply(acc, fromZero && k == 0, left, rightPlace, element, transB);
  }
  NVVM::WgmmaGroupSyncAlignedOp::create(b);
  fragments[result] = Fragment{std::move(acc), false};
  pendingInputs[result] = std::move(registers);
}

/// The accumulators pass through the wait, so that nothing reads them ahead of it; a left operand's registers are read
/// by it, so that nothing overwrites them.
void FunctionLowering::awaitProduct(Value started, int64_t pending, Value result) {
  std::string text = kAwaitProducts.str() + std::to_string(pending) + ";";
  SmallVector<Value> acc = inlinePtx(b, text, fragmentOf(started), pendingInputs.lookup(started), /*readsValues=*/true);
  fragments[result] = Fragment{std::move(acc), false};
}
