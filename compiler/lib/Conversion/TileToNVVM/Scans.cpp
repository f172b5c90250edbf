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
            elements[(slab * groups + pair + colHalf) * 4 + 2 * rowHalf + e] = philox.upper(words[2 * rowHalf + colHalf]);
          }
        }
      }
    }
  }
  fragments[op.getResult()] = Fragment{std::move(elements), false};
  return success();
}

/// Every warp looks at all elements, a lane at every 32nd, so that no shared memory is needed.
LogicalResult FunctionLowering::lowerHull(tile::HullOp op) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  Type i8 = b.getI8Type(), i32Type = b.getI32Type();
  constexpr int64_t kNone = std::numeric_limits<int32_t>::max();
  auto loop = scf::ForOp::create(b, toIndex(lane), scalars.lookup(view.getSizes()[0]), index(32),
                                 ValueRange{i32(kNone), i32(0)});
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    Value number = loop.getInductionVar();
    Value offset = arith::MulIOp::create(b, number, scalars.lookup(view.getStrides()[0]));
    offset = arith::AddIOp::create(b, offset, scalars.lookup(view.getOffset()));
    Value byte = LLVM::LoadOp::create(b, i8, globalAddress(scalars.lookup(view.getBase()), i8, offset), 1);
    Value given = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, byte,
                                        arith::ConstantOp::create(b, b.getIntegerAttr(i8, 0)));
    Value place = arith::IndexCastOp::create(b, i32Type, number);
    ValueRange carried = loop.getRegionIterArgs();
    Value first = arith::SelectOp::create(b, given, place, i32(kNone));
    Value end = arith::SelectOp::create(b, given, arith::AddIOp::create(b, place, i32(1)), i32(0));
    scf::YieldOp::create(b, ValueRange{arith::MinUIOp::create(b, carried[0], first),
                                       arith::MaxUIOp::create(b, carried[1], end)});
  }
  auto overLanes = [&](Value value, NVVM::ReduxKind kind) -> Value {
    return NVVM::ReduxOp::create(b, i32Type, value, kind, i32(-1));
  };
  Value end = overLanes(loop.getResult(1), NVVM::ReduxKind::UMAX);
  Value first = overLanes(loop.getResult(0), NVVM::ReduxKind::UMIN);
  scalars.map(op.getFirst(), toIndex(arith::MinUIOp::create(b, first, end)));
  scalars.map(op.getEnd(), toIndex(end));
  return success();
}
