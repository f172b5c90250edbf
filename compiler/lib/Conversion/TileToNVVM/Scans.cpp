// SPDX-License-Identifier: Apache-2.0
//
// What is neither elementwise work nor a product: random bits of fragments, and where a view's elements begin and end.
#include "../PhiloxEmitter.h"
#include "Lowering.h"
#include <limits>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2nvvm;

/// One Philox call serves rows i, i + 8 by columns j, j + 8: four elements of two neighbouring groups of a slab, all of
/// one thread. The tile's first row and column are multiples of 16, as positions of blocks are.
LogicalResult FunctionLowering::lowerRandomBits(tile::RandomBitsOp op) {
  auto type = cast<RankedTensorType>(op.getType());
  if (op.getTransposed() || type.getDimSize(1) % 16 != 0) {
    return op.emitOpError("expected queries as rows, and a multiple of 16 columns, got ") << type;
  }
  auto at = [&](Value old) { return scalars.lookup(old); };
  PhiloxEmitter philox(b, at(op.getKey0()), at(op.getKey1()));
  // Of row 16 a + 8 s + r the group is 8 a + r, and a thread's r is its laneRow; of columns likewise.
  auto groupOf = [&](Value first, Value within) -> Value {
    return arith::AddIOp::create(b, arith::ShRUIOp::create(b, first, i32(1)), within);
  };
  const int64_t slabs = slabsOf(type.getDimSize(0)), groups = groupsOf(type.getDimSize(1));
  SmallVector<Value> elements(countOf(type));
  Value warpRow = arith::MulIOp::create(b, warp, i32(16));
  for (int64_t slab = 0; slab < slabs; ++slab) {
    Value first = arith::AddIOp::create(b, at(op.getRow()), i32(slab * 16 * warps));
    Value row = groupOf(arith::AddIOp::create(b, first, warpRow), laneRow);
    for (int64_t pair = 0; pair < groups; pair += 2) {
      Value firstCol = arith::AddIOp::create(b, at(op.getCol()), i32(8 * pair));
      for (int64_t e = 0; e < 2; ++e) {
        Value col = groupOf(firstCol, arith::AddIOp::create(b, laneCol, i32(e)));
        PhiloxEmitter::Words words = philox({row, col, at(op.getHead()), at(op.getOffset())});
        for (int64_t rowHalf = 0; rowHalf < 2; ++rowHalf) {
          for (int64_t colHalf = 0; colHalf < 2; ++colHalf) {
            elements[(slab * groups + pair + colHalf) * 4 + 2 * rowHalf + e] = words[2 * rowHalf + colHalf];
          }
        }
      }
    }
  }
  fragments[op.getResult()] = Fragment{std::move(elements), false};
  return success();
}

/// Every warp looks at all elements, a lane at every 32nd, so that no shared memory is needed; several loads are under
/// way at once.
LogicalResult FunctionLowering::lowerHull(tile::HullOp op) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  Type i8 = b.getI8Type(), i32Type = b.getI32Type();
  constexpr int64_t kNone = std::numeric_limits<int32_t>::max(), kAtOnce = 16;
  Value size = scalars.lookup(view.getSizes()[0]);
  auto loop = scf::ForOp::create(b, toIndex(lane), size, index(32 * kAtOnce), ValueRange{i32(kNone), i32(0), i32(0)});
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    Value start = loop.getInductionVar(), none = arith::ConstantOp::create(b, b.getIntegerAttr(i8, 0));
    SmallVector<std::pair<Value, Value>> elements; // index, and whether it is one that is not 0
    for (int64_t turn = 0; turn < kAtOnce; ++turn) {
      // Past the end the first of them is read again, and counts for nothing.
      Value number = arith::AddIOp::create(b, start, index(32 * turn));
      Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, number, size);
      Value place = arith::SelectOp::create(b, inside, number, start);
      Value offset = arith::MulIOp::create(b, place, scalars.lookup(view.getStrides()[0]));
      offset = arith::AddIOp::create(b, offset, scalars.lookup(view.getOffset()));
      Value byte = LLVM::LoadOp::create(b, i8, globalAddress(scalars.lookup(view.getBase()), i8, offset), 1);
      Value given = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, byte, none);
      Value number32 = arith::IndexCastOp::create(b, i32Type, number);
      elements.emplace_back(number32, arith::AndIOp::create(b, inside, given));
    }
    Value first = loop.getRegionIterArgs()[0], end = loop.getRegionIterArgs()[1], count = loop.getRegionIterArgs()[2];
    for (const auto &[number, given] : elements) {
      first = arith::MinUIOp::create(b, first, arith::SelectOp::create(b, given, number, i32(kNone)));
      Value next = arith::AddIOp::create(b, number, i32(1));
      end = arith::MaxUIOp::create(b, end, arith::SelectOp::create(b, given, next, i32(0)));
      count = arith::AddIOp::create(b, count, arith::ExtUIOp::create(b, i32Type, given));
    }
    scf::YieldOp::create(b, ValueRange{first, end, count});
  }
  auto overLanes = [&](unsigned number, NVVM::ReduxKind kind) -> Value {
    return NVVM::ReduxOp::create(b, i32Type, loop.getResult(number), kind, i32(-1));
  };
  Value end = overLanes(1, NVVM::ReduxKind::UMAX);
  Value first = arith::MinUIOp::create(b, overLanes(0, NVVM::ReduxKind::UMIN), end);
  Value length = arith::SubIOp::create(b, end, first);
  Value count = overLanes(2, NVVM::ReduxKind::ADD);
  Value holes = arith::SubIOp::create(b, length, count);
  scalars.map(op.getFirst(), toIndex(first));
  scalars.map(op.getEnd(), toIndex(end));
  scalars.map(op.getHoles(), toIndex(holes));
  return success();
}
