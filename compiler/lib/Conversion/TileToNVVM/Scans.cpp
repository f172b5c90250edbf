// SPDX-License-Identifier: Apache-2.0
//
// What is neither elementwise work nor a product: random bits of fragments, and which of a view's elements are set.
#include "../PhiloxEmitter.h"
#include "Lowering.h"
#include <array>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2nvvm;

/// One Philox call serves rows i, i + 8 by columns j, j + 8, j + 16, j + 24, all of one thread. The tile's first row
/// and column are multiples of 16, as positions of blocks are. Of 16 columns that are the first or second half of their
/// 32, which is known when the kernel runs, half of each word is used.
LogicalResult FunctionLowering::lowerRandomBits(tile::RandomBitsOp op) {
  auto type = cast<RankedTensorType>(op.getType());
  const int64_t cols = type.getDimSize(1);
  if (op.getTransposed() || cols % 16 != 0) {
    return op.emitOpError("expected queries as rows, and a multiple of 16 columns, got ") << type;
  }
  auto at = [&](Value old) { return scalars.lookup(old); };
  PhiloxEmitter philox(b, at(op.getKey0()), at(op.getKey1()));
  const int64_t slabs = slabsOf(type.getDimSize(0)), groups = groupsOf(cols), step = cols % 32 == 0 ? 4 : 2;
  SmallVector<Value> elements(countOf(type));
  Value ownRow = warpRow();
  for (int64_t slab = 0; slab < slabs; ++slab) {
    Value first = arith::AddIOp::create(b, at(op.getRow()), i32(slab * 16 * warps));
    Value firstRow = arith::AddIOp::create(b, first, ownRow);
    // Of row 16 a + 8 s + r the group is 8 a + r, and a thread's r is its laneRow; of columns likewise.
    Value row = arith::AddIOp::create(b, arith::ShRUIOp::create(b, firstRow, i32(1)), laneRow);
    for (int64_t group = 0; group < groups; group += step) {
      Value firstCol = arith::AddIOp::create(b, at(op.getCol()), i32(8 * group));
      Value firstGroup = arith::ShLIOp::create(b, arith::ShRUIOp::create(b, firstCol, i32(5)), i32(3));
      Value second = step == 2 ? philox.part(firstCol) : Value();
      for (int64_t e = 0; e < 2; ++e) {
        Value col = arith::AddIOp::create(b, firstGroup, arith::AddIOp::create(b, laneCol, i32(e)));
        PhiloxEmitter::Words words = philox({row, col, at(op.getHead()), at(op.getOffset())});
        for (int64_t rowHalf = 0; rowHalf < 2; ++rowHalf) {
          for (int64_t next = 0; next < step; ++next) { // the columns 8 apart
            Value word = words[2 * rowHalf + next % 2];
            if (step == 2) {
              word = arith::SelectOp::create(b, second, philox.lowerPart(word), word);
            } else if (next / 2 == 1) {
              word = philox.lowerPart(word);
            }
            elements[(slab * groups + group + next) * 4 + 2 * rowHalf + e] = word;
          }
        }
      }
    }
  }
  fragments[op.getResult()] = Fragment{std::move(elements), false};
  return success();
}

/// Every warp looks at all elements, 32 at a time, so that no shared memory is needed; several loads are under way at
/// once, and a vote tells all lanes what each saw. Where an element is set and the one ahead of it is not, the elements
/// begin, or a hole ends; where it is the other way round, a hole begins, or the elements end. Mostly there is neither.
LogicalResult FunctionLowering::lowerHull(tile::HullOp op) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  Type i8 = b.getI8Type(), i32Type = b.getI32Type();
  constexpr int64_t kNone = std::numeric_limits<int32_t>::max(), kAtOnce = 16;
  Value none = arith::ConstantOp::create(b, b.getIntegerAttr(i8, 0)), zero = i32(0);
  Value size = toI32(view.getSizes()[0]), last = arith::SubIOp::create(b, size, i32(1));
  auto differs = [&](Value x, Value y) -> Value {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, x, y);
  };
  /// Where elements rise from 0, and fall to it: the first and the last place of each.
  struct Found {
    Value firstRise, lastRise, firstFall, lastFall;
  };
  // The last 32 elements are carried too. Numbers have 32 bits: so many keys that they wrap fit in no GPU's memory.
  const std::array<Value, 5> nothing{i32(kNone), zero, i32(kNone), zero, zero};
  auto loop = scf::ForOp::create(b, zero, size, i32(32 * kAtOnce), nothing);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    ValueRange carried = loop.getRegionIterArgs();
    Value start = loop.getInductionVar(), mine = arith::AddIOp::create(b, start, lane);
    SmallVector<Value> words;
    for (int64_t turn = 0; turn < kAtOnce; ++turn) {
      // Past the end the last element is read again: nothing changes there.
      Value number = arith::AddIOp::create(b, mine, i32(32 * turn));
      Value byte = loadElement(view, toIndex(arith::MinSIOp::create(b, number, last)));
      words.push_back(NVVM::VoteSyncOp::create(b, i32Type, i32(-1), differs(byte, none), NVVM::VoteSyncKind::ballot));
    }
    SmallVector<Value> ahead; // each element's predecessor, in its place
    Value before = carried[4], changes = zero;
    for (Value word : words) {
      Value moved = arith::ShLIOp::create(b, word, i32(1)), top = arith::ShRUIOp::create(b, before, i32(31));
      ahead.push_back(arith::OrIOp::create(b, moved, top));
      changes = arith::OrIOp::create(b, changes, arith::XOrIOp::create(b, word, ahead.back()));
      before = word;
    }
    auto asBefore = [&] { return SmallVector<Value>(carried.take_front(4)); };
    auto updated = [&] {
      Found found{carried[0], carried[1], carried[2], carried[3]};
      for (auto [turn, word, previous] : llvm::enumerate(words, ahead)) {
        Value base = arith::AddIOp::create(b, start, i32(32 * static_cast<int64_t>(turn)));
        Value kept = arith::AndIOp::create(b, word, previous);
        auto update = [&](Value of, Value &first, Value &end) {
          Value bits = arith::XOrIOp::create(b, of, kept), any = differs(bits, zero);
          Value lowest = LLVM::CountTrailingZerosOp::create(b, i32Type, bits, /*is_zero_poison=*/false);
          Value above = LLVM::CountLeadingZerosOp::create(b, i32Type, bits, /*is_zero_poison=*/false);
          Value highest = arith::SubIOp::create(b, i32(31), above);
          lowest = arith::SelectOp::create(b, any, arith::AddIOp::create(b, base, lowest), i32(kNone));
          highest = arith::SelectOp::create(b, any, arith::AddIOp::create(b, base, highest), zero);
          first = arith::MinUIOp::create(b, first, lowest);
          end = arith::MaxUIOp::create(b, end, highest);
        };
        update(word, found.firstRise, found.lastRise);
        update(previous, found.firstFall, found.lastFall);
      }
      return SmallVector<Value>{found.firstRise, found.lastRise, found.firstFall, found.lastFall};
    };
    SmallVector<Value> next = choose(differs(changes, zero), i32Type, 4, updated, asBefore);
    next.push_back(before);
    scf::YieldOp::create(b, next);
  }
  const Found found{loop.getResult(0), loop.getResult(1), loop.getResult(2), loop.getResult(3)};
  Value lastIsSet = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, loop.getResult(4), zero); // its highest bit
  Value end = arith::SelectOp::create(b, lastIsSet, size, found.lastFall);
  Value first = arith::MinUIOp::create(b, found.firstRise, end);
  // Without a hole the elements fall once, where they end, and rise no more behind that.
  Value any = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, found.firstFall, found.lastRise);
  Value holesBegin = arith::SelectOp::create(b, any, found.firstFall, zero);
  Value holesEnd = arith::SelectOp::create(b, any, found.lastRise, zero);
  const std::array<Value, 4> results{first, end, holesBegin, holesEnd};
  for (auto [result, value] : llvm::zip_equal(op.getResults(), results)) {
    scalars.map(result, toIndex(value));
  }
  return success();
}

/// Every warp looks for itself, each of its lanes at every 32nd of the elements. What is not there, before the view or
/// past its end, reads as 0 and is not asked.
FunctionLowering::LookedAt FunctionLowering::lookAtElements(Value viewed, Value position, int64_t count) {
  auto view = viewed.getDefiningOp<tile::ViewOp>();
  Type i8 = b.getI8Type();
  Value none = arith::ConstantOp::create(b, b.getIntegerAttr(i8, 0));
  Value first = scalars.lookup(position), first32 = toI32(position), size = toI32(view.getSizes()[0]);
  LookedAt seen{b.getInsertionBlock(), viewed, position, count, {}, {}};
  for (int64_t start = 0; start < count; start += 32) {
    Value number = arith::AddIOp::create(b, lane, i32(start));
    // Unsigned: what lies before the view is outside of it too.
    Value asked = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, arith::AddIOp::create(b, first32, number), size);
    if (start + 32 > count) {
      Value counted = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, number, i32(count));
      asked = arith::AndIOp::create(b, asked, counted);
    }
    auto read = scf::IfOp::create(b, TypeRange{i8}, asked, /*withElseRegion=*/true);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(read.thenBlock());
      scf::YieldOp::create(b, loadElement(view, arith::AddIOp::create(b, first, toIndex(number)).getResult()));
      b.setInsertionPointToStart(read.elseBlock());
      scf::YieldOp::create(b, none);
    }
    seen.asked.push_back(asked);
    seen.set.push_back(arith::CmpIOp::create(b, arith::CmpIPredicate::ne, read.getResult(0), none));
  }
  return seen;
}

/// Whether all elements are set, or any is; a vote ahead in its block may have looked at them. Nobody writes them.
Value FunctionLowering::voteOnElements(Value viewed, Value position, uint64_t elements, NVVM::VoteSyncKind kind) {
  const auto count = static_cast<int64_t>(elements);
  if (looked.block != b.getInsertionBlock() || looked.view != viewed || looked.position != position ||
      looked.count != count) {
    looked = lookAtElements(viewed, position, count);
  }
  Value sum;
  for (auto [asked, set] : llvm::zip(looked.asked, looked.set)) {
    if (kind == NVVM::VoteSyncKind::any) {
      sum = sum ? Value(arith::OrIOp::create(b, sum, set)) : set;
      continue;
    }
    Value outside = arith::XOrIOp::create(b, asked, arith::ConstantOp::create(b, b.getBoolAttr(true)));
    Value fits = arith::OrIOp::create(b, set, outside);
    sum = sum ? Value(arith::AndIOp::create(b, sum, fits)) : fits;
  }
  return NVVM::VoteSyncOp::create(b, b.getI1Type(), i32(-1), sum, kind);
}

/// What each lane saw of its elements becomes 32 bits that all lanes have; of these each tests those of its columns.
void FunctionLowering::lowerHideUnset(tile::HideUnsetOp op) {
  SmallVector<Value> elements(fragmentOf(op.getSource()));
  const int64_t cols = cast<RankedTensorType>(op.getSource().getType()).getDimSize(1), groups = groupsOf(cols);
  SmallVector<Value> words; // of 32 columns each, the lowest bit that of the thread's first one
  for (Value set : lookAtElements(op.getView(), op.getIndex(), cols).set) {
    Value word = NVVM::VoteSyncOp::create(b, b.getI32Type(), i32(-1), set, NVVM::VoteSyncKind::ballot);
    words.push_back(arith::ShRUIOp::create(b, word, laneCol));
  }
  Value none = i32(0), lowest = arith::ConstantOp::create(b, b.getF32FloatAttr(-INFINITY));
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t e = 0; e < 2; ++e) {
      const int64_t column = 8 * group + e;
      Value bit = arith::AndIOp::create(b, words[column / 32], i32(int64_t{1} << column % 32));
      Value visible = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, bit, none);
      for (size_t i = group * 4 + e; i < elements.size(); i += groups * 4) {
        for (size_t half : {i, i + 2}) {
          elements[half] = arith::SelectOp::create(b, visible, elements[half], lowest);
        }
      }
    }
  }
  fragments[op.getResult()] = Fragment{std::move(elements), false};
}
