// SPDX-License-Identifier: Apache-2.0
//
// Buffers in shared memory, and products that read them. Copies into them are Copies.cpp.
#include "Lowering.h"
#include "tilewright/Target/GpuTarget.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2nvvm;

void FunctionLowering::lowerAllocShared(tile::AllocSharedOp op) {
  tile::SharedType type = op.getBuffer().getType();
  SharedBuffer buffer;
  buffer.rows = type.getRows();
  buffer.cols = type.getCols();
  buffer.paddedCols = gpuSharedColumns(buffer.cols);
  buffer.elementBytes = elementBytesOf(type.getElementType());
  buffer.pitch = gpuSharedPitch(buffer.cols, buffer.elementBytes);
  buffer.offset = sharedBytes;
  buffer.stages = type.getStages();
  if (roles) {
    buffer.boxBytes = buffer.rows * kBoxBytes;
    ringOrder.push_back(op.getBuffer());
  }
  sharedBytes += buffer.bytes() * type.getStages();
  sharedBuffers[op.getBuffer()] = buffer;
}

void FunctionLowering::lowerSlot(tile::SlotOp op) {
  SharedBuffer buffer = sharedBuffers.find(op.getRing())->second;
  buffer.slotBytes = arith::MulIOp::create(b, toI32(op.getIndex()), i32(buffer.rows * buffer.pitch));
  sharedBuffers[op.getBuffer()] = buffer;
}

Value FunctionLowering::swizzleOf(const SharedBuffer &buffer, Value row) {
  int64_t bits = buffer.swizzleBits();
  if (buffer.elementBytes == 4) { // rows of at least 64 bytes: bits is 2 or 3
    Value low = arith::AndIOp::create(b, row, i32(4 - (8 >> bits)));
    return arith::ShLIOp::create(b, low, i32(2 + bits));
  }
  Value low = arith::AndIOp::create(b, row, i32(8 - (8 >> bits)));
  // Shifted right by 3 - bits, then left by the 4 of a unit's size.
  return arith::ShLIOp::create(b, low, i32(1 + bits));
}

Value FunctionLowering::placeOf(const SharedBuffer &buffer, Value row, Value byte) {
  Value start = arith::MulIOp::create(b, row, i32(buffer.pitch));
  return arith::AddIOp::create(b, start, arith::XOrIOp::create(b, byte, swizzleOf(buffer, row)));
}

/// Address of the matrix row at `lanes.row + row`, byte `byte` plus the lane's unit. `row` is a multiple of 8, and
/// `byte` of 32, so the swizzle is the lane's own, and of `byte` only the bits that it reaches matter: a few addresses
/// serve all matrices, at constant distances.
Value FunctionLowering::matrixAddress(LanePlaces &lanes, int64_t row, int64_t byte) {
  const SharedBuffer &buffer = lanes.buffer;
  int64_t reach = 16 << buffer.swizzleBits(), low = byte % reach;
  lanes.places.resize(reach / 32);
  Value &place = lanes.places[low / 32];
  if (!place) {
    Value inRow = low == 0 ? lanes.unit : Value(arith::AddIOp::create(b, lanes.unit, i32(low)));
    place = placeOf(buffer, lanes.row, inRow);
  }
  return sharedAddress(buffer, place, row * buffer.pitch + byte - low);
}

Value FunctionLowering::sharedAddress(const SharedBuffer &buffer, Value bytes, int64_t constantBytes) {
  Value address = shared;
  if (buffer.slotBytes) {
    bytes = bytes ? arith::AddIOp::create(b, bytes, buffer.slotBytes) : buffer.slotBytes;
  }
  if (bytes) {
    address = LLVM::GEPOp::create(b, shared.getType(), b.getI8Type(), shared, ValueRange{bytes});
  }
  return LLVM::GEPOp::create(b, shared.getType(), b.getI8Type(), address,
                             ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(buffer.offset + constantBytes)});
}

SmallVector<Value> FunctionLowering::loadMatrix(Value address, bool transposed) {
  auto result = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, b.getI32Type()));
  auto layout = transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row;
  Value four = NVVM::LdMatrixOp::create(b, result, address, 4, layout,
                                        NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8),
                                        NVVM::LdStMatrixEltType::B16);
  SmallVector<Value> registers;
  for (int64_t i = 0; i < 4; ++i) {
    registers.push_back(LLVM::ExtractValueOp::create(b, four, ArrayRef<int64_t>{i}));
  }
  return registers;
}

/// The fragment layout is that of ldmatrix, which reads two groups of columns of 16-bit elements at once; of 4-byte
/// elements each lane reads its own pairs.
void FunctionLowering::lowerLoadShared(tile::LoadSharedOp op) {
  auto type = cast<RankedTensorType>(op.getTile().getType());
  int64_t slabs = slabsOf(type.getDimSize(0)), groups = groupsOf(type.getDimSize(1));
  LanePlaces lanes;
  lanes.buffer = sharedBuffers.find(op.getBuffer())->second;
  Fragment result;
  result.packed = lanes.buffer.elementBytes == 2;
  Value firstRow = warpRow();
  if (result.packed) {
    lanes.row = arith::AddIOp::create(b, firstRow, arith::AndIOp::create(b, lane, i32(15)));
    lanes.unit = arith::MulIOp::create(b, arith::ShRUIOp::create(b, lane, i32(4)), i32(16));
  } else {
    lanes.row = arith::AddIOp::create(b, firstRow, laneRow);
    lanes.unit = arith::MulIOp::create(b, laneCol, i32(4));
  }
  Type pair = VectorType::get({2}, type.getElementType());
  for (int64_t slab = 0; slab < slabs; ++slab) {
    int64_t row = slab * 16 * warps;
    if (result.packed) {
      for (int64_t group = 0; group < groups; group += 2) {
        llvm::append_range(result.elements, loadMatrix(matrixAddress(lanes, row, group * 16), false));
      }
      continue;
    }
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t half = 0; half < 2; ++half) {
        Value both = LLVM::LoadOp::create(b, pair, matrixAddress(lanes, row + 8 * half, group * 32), 8);
        for (int64_t e = 0; e < 2; ++e) {
          result.elements.push_back(LLVM::ExtractElementOp::create(b, both, i32(e)));
        }
      }
    }
  }
  fragments[op.getTile()] = std::move(result);
}

/// mma.sync.m16n8k16 over slabs, groups of 8 columns, and steps of 16 along the depth.
LogicalResult FunctionLowering::lowerDot(tile::DotOp op) {
  auto accType = cast<RankedTensorType>(op.getAcc().getType());
  bool aShared = isa<tile::SharedType>(op.getA().getType());
  if (!isa<tile::SharedType>(op.getB().getType()) || op.getTransA()) {
    return op.emitOpError("expected b in shared memory and a not transposed: run tile-stage-loads first");
  }
  auto bType = cast<tile::SharedType>(op.getB().getType());
  const SharedBuffer rightBuffer = sharedBuffers.find(op.getB())->second;
  int64_t depth = op.getTransB() ? rightBuffer.paddedCols : rightBuffer.rows;
  int64_t slabs = slabsOf(accType.getDimSize(0)), groups = groupsOf(accType.getDimSize(1));
  auto precision = bType.getElementType().isBF16() ? NVVM::MMATypes::bf16 : NVVM::MMATypes::f16;
  SmallVector<Value> acc(fragmentOf(op.getAcc()));

  // Where this lane's row of each 8x8 matrix starts; see "ldmatrix" in the PTX ISA: lane l names row l % 8 of matrix
  // l / 8.
  Value low4 = arith::AndIOp::create(b, lane, i32(15));
  Value high = arith::ShRUIOp::create(b, lane, i32(4));
  LanePlaces left, right;
  right.buffer = rightBuffer;
  if (aShared) {
    left.buffer = sharedBuffers.find(op.getA())->second;
    left.row = arith::AddIOp::create(b, warpRow(), low4);
    left.unit = arith::MulIOp::create(b, high, i32(16));
  }
  if (op.getTransB()) {
    // Stored as columns of the product's B: matrices (n 0-7, k 0-7), (n 0-7, k 8-15), (n 8-15, k 0-7), (n 8-15, k
    // 8-15).
    right.row = arith::AddIOp::create(b, arith::AndIOp::create(b, lane, i32(7)),
                                      arith::MulIOp::create(b, high, i32(8)));
    Value k = arith::AndIOp::create(b, arith::ShRUIOp::create(b, lane, i32(3)), i32(1));
    right.unit = arith::MulIOp::create(b, k, i32(16));
  } else {
    // Stored as rows, transposed while loading: (k 0-7, n 0-7), (k 8-15, n 0-7), (k 0-7, n 8-15), (k 8-15, n 8-15).
    right.row = low4;
    right.unit = arith::MulIOp::create(b, high, i32(16));
  }

  // NVVM's operation takes pairs of f16 as such, pairs of bf16 as i32.
  auto matrixOperands = [&](ArrayRef<Value> registers) {
    SmallVector<Value> operands(registers);
    if (precision == NVVM::MMATypes::f16) {
      for (Value &value : operands) {
        value = LLVM::BitcastOp::create(b, VectorType::get({2}, b.getF16Type()), value);
      }
    }
    return operands;
  };

  CopySteps copies = takeHeldCopies();
  finishCopies(copies, 0);
  const size_t copySteps = copies.then.size();
  for (int64_t k = 0; k < depth; k += 16) {
    Value lastLoaded;
    SmallVector<SmallVector<Value>> a;
    for (int64_t slab = 0; slab < slabs; ++slab) {
      if (aShared) {
        a.push_back(loadMatrix(matrixAddress(left, slab * 16 * warps, k * 2), false));
        continue;
      }
      ArrayRef<Value> packed = fragmentOf(op.getA());
      int64_t aGroups = depth / 8;
      const Value *first = &packed[(slab * aGroups + k / 8) * 2];
      a.push_back({first[0], first[1], first[2], first[3]});
    }
    for (int64_t group = 0; group < groups; group += 2) {
      Value address = op.getTransB() ? matrixAddress(right, group * 8, k * 2) : matrixAddress(right, k, group * 16);
      SmallVector<Value> pair = loadMatrix(address, !op.getTransB());
      lastLoaded = pair.front();
      for (int64_t g = group; g < std::min(group + 2, groups); ++g) {
        for (int64_t slab = 0; slab < slabs; ++slab) {
          Value *c = &acc[(slab * groups + g) * 4];
          auto type = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(4, b.getF32Type()));
          Value d = NVVM::MmaOp::create(
              b, type, matrixOperands(a[slab]),
              matrixOperands({pair[2 * (g - group)], pair[2 * (g - group) + 1]}),
              ValueRange{c[0], c[1], c[2], c[3]}, ArrayRef<int64_t>{16, 8, 16}, std::nullopt, std::nullopt,
              std::array<NVVM::MMATypes, 2>{precision, precision},
              std::array<NVVM::MMALayout, 2>{NVVM::MMALayout::row, NVVM::MMALayout::col});
          for (int64_t e = 0; e < 4; ++e) {
            c[e] = LLVM::ExtractValueOp::create(b, d, ArrayRef<int64_t>{e});
          }
        }
      }
    }
    finishCopies(copies, copySteps * static_cast<size_t>(k / 16 + 1) / static_cast<size_t>((depth + 15) / 16),
                 lastLoaded);
  }
  fragments[op.getResult()] = Fragment{std::move(acc), false};
  return success();
}
