// SPDX-License-Identifier: Apache-2.0
//
// Copies into shared memory, and products that read it.
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
  buffer.elementBytes = (type.getElementType().getIntOrFloatBitWidth() + 7) / 8;
  buffer.pitch = gpuSharedPitch(buffer.cols, buffer.elementBytes);
  buffer.offset = sharedBytes;
  buffer.stages = type.getStages();
  if (roles) {
    buffer.boxBytes = buffer.rows * gpuBoxedPitch(kTmaBoxColumns);
    ringOrder.push_back(op.getBuffer());
  }
  sharedBytes += buffer.bytes() * type.getStages();
  sharedBuffers[op.getBuffer()] = buffer;
}

void FunctionLowering::lowerSlot(tile::SlotOp op) {
  SharedBuffer buffer = sharedBuffers.find(op.getRing())->second;
  Value slot = arith::IndexCastOp::create(b, b.getI32Type(), scalars.lookup(op.getIndex()));
  buffer.slotBytes = arith::MulIOp::create(b, slot, i32(buffer.rows * buffer.pitch));
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

int64_t FunctionLowering::chunkBytesOf(tile::AsyncLoadOp op) {
  tile::ViewType type = op.getView().getType();
  int64_t elementBytes = sharedBuffers.find(op.getBuffer())->second.elementBytes;
  return type.getUnit() ? std::max<int64_t>(type.getAlign(), elementBytes) : 0;
}

SmallVector<tile::AsyncLoadOp> FunctionLowering::copiesBeside(tile::AsyncLoadOp op) {
  auto rowsOf = [&](tile::AsyncLoadOp copy) {
    return std::tuple{scalars.lookup(copy.getIndices()[0]),
                      scalars.lookup(copy.getView().getDefiningOp<tile::ViewOp>().getSizes()[0]),
                      sharedBuffers.find(copy.getBuffer())->second.rows};
  };
  SmallVector<tile::AsyncLoadOp> copies;
  for (auto next = dyn_cast_or_null<tile::AsyncLoadOp>(op->getNextNode()); next && next.getBounds()[0];
       next = dyn_cast_or_null<tile::AsyncLoadOp>(next->getNextNode())) {
    if (chunkBytesOf(next) < 4 || sharedBuffers.find(next.getBuffer())->second.elementBytes != 2 ||
        rowsOf(next) != rowsOf(op)) {
      break;
    }
    copies.push_back(next);
  }
  return copies;
}

LogicalResult FunctionLowering::lowerAsyncLoad(tile::AsyncLoadOp op) {
  if (loweredCopies.contains(op)) {
    return success();
  }
  tile::ViewType type = op.getView().getType();
  const SharedBuffer &buffer = sharedBuffers.find(op.getBuffer())->second;
  int64_t chunkBytes = chunkBytesOf(op);
  if (buffer.elementBytes != 2 && (!type.getElementType().isF32() || chunkBytes == 0)) {
    return op.emitOpError("expected 16-bit floats, or float32 in rows without gaps, on a GPU, got ") << type;
  }
  if (op.getBounds()[1] && chunkBytes < 4) {
    return op.emitOpError("expected no bound on columns where rows are not aligned to 4 bytes");
  }
  if (chunkBytes >= 4 && op.getBounds()[0]) {
    // All threads agree on whether the block reaches out of the view. Most do not, and a comparison and a selection for
    // each chunk would cost them several percent of a step.
    Value first = scalars.lookup(op.getIndices()[0]), end = arith::AddIOp::create(b, first, index(buffer.rows));
    Value size = scalars.lookup(op.getView().getDefiningOp<tile::ViewOp>().getSizes()[0]);
    Value begins = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, first, index(0));
    Value ends = arith::CmpIOp::create(b, arith::CmpIPredicate::sle, end, size);
    auto inside = scf::IfOp::create(b, arith::AndIOp::create(b, begins, ends), /*withElseRegion=*/true);
    SmallVector<tile::AsyncLoadOp> copies = copiesBeside(op);
    loweredCopies.insert_range(copies);
    copies.insert(copies.begin(), op);
    OpBuilder::InsertionGuard guard(b);
    for (auto [block, rowBound] : {std::pair{inside.thenBlock(), false}, {inside.elseBlock(), true}}) {
      b.setInsertionPointToStart(block);
      for (tile::AsyncLoadOp copy : copies) {
        copyAsync(sharedBuffers.find(copy.getBuffer())->second, copy, chunkBytesOf(copy), rowBound);
      }
    }
  } else if (chunkBytes >= 4) {
    copyAsync(buffer, op, chunkBytes, /*rowBound=*/false);
  } else {
    copyByThreads(buffer, op, b.getIntegerType(16));
  }
  return success();
}

/// A thread a row, or several: rows to clear are rare. The condition is the same for all threads, so they may wait for
/// each other inside.
void FunctionLowering::lowerClearRows(tile::ClearRowsOp op) {
  const SharedBuffer buffer = sharedBuffers.find(op.getBuffer())->second;
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  Type i8 = b.getI8Type(), unit = VectorType::get({4}, b.getI32Type());
  ifThen(scalars.lookup(op.getWhen()), [&] {
    auto loop = scf::ForOp::create(b, toIndex(thread), index(buffer.rows), index(threads()));
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      Value row = arith::IndexCastOp::create(b, b.getI32Type(), loop.getInductionVar());
      Value number = arith::AddIOp::create(b, scalars.lookup(op.getIndex()), loop.getInductionVar());
      Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, number, scalars.lookup(view.getSizes()[0]));
      ifThen(inside, [&] {
        Value byte = loadElement(view, number);
        Value zero = arith::ConstantOp::create(b, b.getIntegerAttr(i8, 0));
        ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, byte, zero), [&] {
          // A row's swizzle only permutes its units.
          Value start = arith::MulIOp::create(b, row, i32(buffer.pitch));
          Value zeros = arith::ConstantOp::create(b, b.getZeroAttr(unit));
          for (int64_t at = 0; at < buffer.pitch; at += 16) {
            LLVM::StoreOp::create(b, zeros, sharedAddress(buffer, start, at), 16);
          }
        });
      });
    }
    NVVM::Barrier0Op::create(b);
  });
}

/// cp.async, `chunkBytes` at a time: neighbouring threads take neighbouring chunks of a row. What lies past the row's
/// last column, or past the view's end, is filled with zeros by copying fewer bytes than the chunk has.
/// (compute-sanitizer counts the whole chunk all the same, and reports one that an allocation ends within.)
///
/// The block copies a power of two of rows at a time, so a thread has the same chunk of rows that are one step apart,
/// and its addresses follow from the first by additions of constants; threads that are too many for whole rows do not
/// copy. Rows' swizzles repeat every eight rows, and so every few steps.
void FunctionLowering::copyAsync(const SharedBuffer &buffer, tile::AsyncLoadOp op, int64_t chunkBytes,
                                 bool rowBound) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  Value firstRow = scalars.lookup(op.getIndices()[0]), firstCol = scalars.lookup(op.getIndices()[1]);
  int64_t chunks = buffer.pitch / chunkBytes; // of a row
  int64_t rowStep = 1;
  while (2 * rowStep * chunks <= threads() && buffer.rows % (2 * rowStep) == 0) {
    rowStep *= 2;
  }
  Type word = b.getIntegerType(8 * buffer.elementBytes);
  Value base = scalars.lookup(view.getBase()), rowStride = scalars.lookup(view.getStrides()[0]);
  Value size = scalars.lookup(view.getSizes()[0]);
  Value threadRow = arith::DivUIOp::create(b, thread, i32(chunks));
  Value chunk = arith::RemUIOp::create(b, thread, i32(chunks));

  auto copyChunk = [&](Value chunk) {
    Value byte = arith::MulIOp::create(b, chunk, i32(chunkBytes));
    Value firstCopied = arith::AddIOp::create(b, firstRow, toIndex(threadRow));
    Value origin = arith::AddIOp::create(b, scalars.lookup(view.getOffset()), firstCol);
    Value offset = arith::AddIOp::create(b, origin, arith::MulIOp::create(b, firstCopied, rowStride));
    Value col = arith::MulIOp::create(b, chunk, i32(chunkBytes / buffer.elementBytes));
    Value from = globalAddress(base, word, arith::AddIOp::create(b, offset, toIndex(col)));
    Value step = arith::IndexCastOp::create(b, b.getI64Type(), arith::MulIOp::create(b, rowStride, index(rowStep)));
    Value wanted;
    if (op.getBounds()[1] || buffer.cols != buffer.paddedCols) {
      Value inRow = i32(buffer.cols * buffer.elementBytes); // bytes
      if (op.getBounds()[1]) {
        Value inView = arith::SubIOp::create(b, scalars.lookup(view.getSizes()[1]), firstCol);
        inView = arith::MinSIOp::create(b, inView, index(buffer.cols));
        inView = arith::IndexCastOp::create(b, b.getI32Type(), inView);
        inRow = arith::MulIOp::create(b, inView, i32(buffer.elementBytes));
      }
      Value left = arith::SubIOp::create(b, inRow, byte);
      wanted = arith::MaxSIOp::create(b, arith::MinSIOp::create(b, left, i32(chunkBytes)), i32(0));
    }
    SmallVector<Value> places(std::max<int64_t>(1, 8 / rowStep)); // by the row modulo 8, which the swizzle depends on
    for (int64_t row = 0; row < buffer.rows; row += rowStep) {
      Value &place = places[row / rowStep % places.size()];
      int64_t placeRow = row / rowStep % places.size() * rowStep;
      if (!place) {
        place = placeOf(buffer, arith::AddIOp::create(b, threadRow, i32(placeRow)), byte);
      }
      Value bytes = wanted;
      if (rowBound) {
        Value globalRow = arith::AddIOp::create(b, firstCopied, index(row));
        Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, globalRow, size);
        bytes = arith::SelectOp::create(b, inside, bytes ? bytes : i32(chunkBytes), i32(0));
      }
      Value to = sharedAddress(buffer, place, (row - placeRow) * buffer.pitch);
      // .cg bypasses L1 and exists for 16 bytes only.
      auto cache = chunkBytes == 16 ? NVVM::LoadCacheModifierKind::CG : NVVM::LoadCacheModifierKind::CA;
      NVVM::CpAsyncOp::create(b, to, from, static_cast<uint32_t>(chunkBytes), cache, bytes);
      if (row + rowStep < buffer.rows) {
        from = LLVM::GEPOp::create(b, from.getType(), word, from, ValueRange{step});
      }
    }
  };

  if (chunks > threads()) {
    // Rows longer than the block has threads, one at a time: a thread has several chunks of each.
    threadRow = i32(0);
    for (int64_t start = 0; start < chunks; start += threads()) {
      Value next = arith::AddIOp::create(b, thread, i32(start));
      if (start + threads() <= chunks) {
        copyChunk(next);
      } else {
        ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::slt, next, i32(chunks)), [&] { copyChunk(next); });
      }
    }
  } else if (rowStep * chunks < threads()) {
    Value copies = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, thread, i32(rowStep * chunks));
    ifThen(copies, [&] { copyChunk(chunk); });
  } else {
    copyChunk(chunk);
  }
}

/// Element by element, for rows whose alignment or stride cp.async cannot serve.
void FunctionLowering::copyByThreads(const SharedBuffer &buffer, tile::AsyncLoadOp op, Type memory) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  Value firstRow = scalars.lookup(op.getIndices()[0]), firstCol = scalars.lookup(op.getIndices()[1]);
  Value base = scalars.lookup(view.getBase());
  Value rowStride = scalars.lookup(view.getStrides()[0]), colStride = scalars.lookup(view.getStrides()[1]);
  Value size = scalars.lookup(view.getSizes()[0]);
  Value columns = index(buffer.paddedCols);
  auto loop = scf::ForOp::create(b, toIndex(thread), index(buffer.rows * buffer.paddedCols), index(threads()));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value row = arith::DivUIOp::create(b, loop.getInductionVar(), columns);
  Value col = arith::RemUIOp::create(b, loop.getInductionVar(), columns);
  Value globalRow = arith::AddIOp::create(b, firstRow, row);
  Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, col, index(buffer.cols));
  if (op.getBounds()[0]) {
    inside = arith::AndIOp::create(b, inside,
                                   arith::CmpIOp::create(b, arith::CmpIPredicate::ult, globalRow, size));
  }
  auto ifOp = scf::IfOp::create(b, TypeRange{memory}, inside, /*withElseRegion=*/true);
  {
    OpBuilder::InsertionGuard inner(b);
    b.setInsertionPointToStart(ifOp.thenBlock());
    Value offset = arith::AddIOp::create(b, scalars.lookup(view.getOffset()),
                                         arith::MulIOp::create(b, globalRow, rowStride));
    Value globalCol = arith::AddIOp::create(b, firstCol, col);
    offset = arith::AddIOp::create(b, offset, arith::MulIOp::create(b, globalCol, colStride));
    scf::YieldOp::create(b, LLVM::LoadOp::create(b, memory, globalAddress(base, memory, offset), 2).getResult());
    b.setInsertionPointToStart(ifOp.elseBlock());
    scf::YieldOp::create(b, arith::ConstantOp::create(b, b.getZeroAttr(memory)).getResult());
  }
  Value row32 = arith::IndexCastOp::create(b, b.getI32Type(), row);
  Value byte = arith::IndexCastOp::create(b, b.getI32Type(), arith::MulIOp::create(b, col, index(2)));
  LLVM::StoreOp::create(b, ifOp.getResult(0), sharedAddress(buffer, placeOf(buffer, row32, byte), 0), 2);
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
  Value firstRow = arith::MulIOp::create(b, warp, i32(16));
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
    left.row = arith::AddIOp::create(b, arith::MulIOp::create(b, warp, i32(16)), low4);
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

  for (int64_t k = 0; k < depth; k += 16) {
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
  }
  fragments[op.getResult()] = Fragment{std::move(acc), false};
  return success();
}
