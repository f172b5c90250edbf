// SPDX-License-Identifier: Apache-2.0
//
// Tiles in registers: elementwise work is scalar code on the elements a thread holds; rows are reduced over the four
// lanes that share them.
#include "Lowering.h"
#include <cmath>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2nvvm;

/// Which of a thread's rows element `i` of a rank-2 fragment belongs to.
static int64_t rowIndex(size_t i, int64_t groups) {
  auto position = static_cast<int64_t>(i);
  return position / (groups * 4) * 2 + position % 4 / 2;
}

static RankedTensorType tileTypeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

ArrayRef<Value> FunctionLowering::fragmentOf(Value tile) { return fragments.find(tile)->second.elements; }

static Value callIntrinsic(ImplicitLocOpBuilder &b, Type type, StringRef name, ValueRange args) {
  return LLVM::CallIntrinsicOp::create(b, type, b.getStringAttr(name), args).getResult(0);
}

LogicalResult FunctionLowering::lowerElementwise(Operation &op) {
  RankedTensorType type = tileTypeOf(op.getResult(0));
  Type element = type.getElementType();
  bool rank2 = type.getRank() == 2;
  if (type.getDimSize(0) % (16 * warps) != 0) {
    return op.emitOpError("expected rows to be a multiple of 16 a warp, got ") << type;
  }
  int64_t slabs = slabsOf(type.getDimSize(0));
  int64_t groups = rank2 ? groupsOf(type.getDimSize(1)) : 0;
  size_t count = countOf(type);
  SmallVector<Value> elements;

  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    auto splat = dyn_cast<SplatElementsAttr>(constant.getValue());
    if (!splat) {
      return op.emitOpError("expected a splat: tile programs have no other tile constants");
    }
    elements.assign(count, arith::ConstantOp::create(b, cast<TypedAttr>(splat.getSplatValue<Attribute>())));
  } else if (auto splat = dyn_cast<tile::SplatOp>(op)) {
    elements.assign(count, scalars.lookup(splat.getScalar()));
  } else if (auto indexOp = dyn_cast<tile::IndexOp>(op)) {
    Value base = scalars.lookup(indexOp.getBase());
    Value firstCol = rank2 && indexOp.getAxis() == 1 ? sharedColumn(base) : Value();
    for (int64_t slab = 0; slab < slabs; ++slab) {
      if (!rank2) {
        elements.push_back(arith::AddIOp::create(b, base, rowInStep(slab, 0)));
        elements.push_back(arith::AddIOp::create(b, base, rowInStep(slab, 1)));
        continue;
      }
      for (int64_t group = 0; group < groups; ++group) {
        for (int64_t e = 0; e < 4; ++e) {
          elements.push_back(firstCol ? columnFrom(firstCol, group, e)
                                      : Value(arith::AddIOp::create(b, base, rowOf(slab, e / 2))));
        }
      }
    }
  } else if (auto broadcast = dyn_cast<tile::BroadcastOp>(op)) {
    if (broadcast.getAxis() != 1) {
      return op.emitOpError("expected rows to be repeated along columns: score tiles have queries as rows");
    }
    ArrayRef<Value> source = fragmentOf(broadcast.getSource());
    for (int64_t slab = 0; slab < slabs; ++slab) {
      for (int64_t group = 0; group < groups; ++group) {
        for (int64_t e = 0; e < 4; ++e) {
          elements.push_back(source[2 * slab + e / 2]);
        }
      }
    }
  } else if (auto truncate = dyn_cast<arith::TruncFOp>(op)) {
    return lowerTruncate(truncate);
  } else if (auto extend = dyn_cast<arith::ExtFOp>(op); extend && rank2) {
    return lowerExtend(extend);
  } else if (op.hasTrait<OpTrait::Elementwise>()) {
    for (size_t i = 0; i < count; ++i) {
      SmallVector<Value> operands;
      for (Value operand : op.getOperands()) {
        operands.push_back(isa<RankedTensorType>(operand.getType()) ? fragmentOf(operand)[i]
                                                                    : scalars.lookup(operand));
      }
      if (isa<tile::Exp2Op>(op)) {
        elements.push_back(callIntrinsic(b, element, "llvm.nvvm.ex2.approx.ftz.f", operands));
      } else if (isa<tile::Log2Op>(op)) {
        elements.push_back(callIntrinsic(b, element, "llvm.nvvm.lg2.approx.ftz.f", operands));
      } else {
        OperationState state(op.getLoc(), op.getName(), operands, element, op.getAttrs());
        elements.push_back(b.create(state)->getResult(0));
      }
    }
  } else {
    return op.emitOpError("has no lowering to a GPU");
  }
  fragments[op.getResult(0)] = Fragment{std::move(elements), false};
  return success();
}

/// Two columns of a row at a time: one conversion instruction makes both halves of a register.
LogicalResult FunctionLowering::lowerTruncate(arith::TruncFOp op) {
  Type element = tileTypeOf(op.getResult()).getElementType();
  ArrayRef<Value> source = fragmentOf(op.getIn());
  Type pair = VectorType::get({2}, element);
  StringRef name = element.isBF16() ? "llvm.nvvm.ff2bf16x2.rn" : "llvm.nvvm.ff2f16x2.rn";
  Fragment result;
  result.packed = true;
  for (size_t i = 0; i + 1 < source.size(); i += 2) {
    Value both = callIntrinsic(b, pair, name, ValueRange{source[i + 1], source[i]});
    result.elements.push_back(LLVM::BitcastOp::create(b, b.getI32Type(), both));
  }
  fragments[op.getResult()] = std::move(result);
  return success();
}

/// The two columns of each register of a packed fragment.
LogicalResult FunctionLowering::lowerExtend(arith::ExtFOp op) {
  Type element = tileTypeOf(op.getIn()).getElementType(), f32 = b.getF32Type();
  SmallVector<Value> elements;
  for (Value both : fragmentOf(op.getIn())) {
    if (element.isBF16()) {
      // A bfloat16 is the upper half of the float32 of the same value.
      for (Value bits : {Value(arith::ShLIOp::create(b, both, i32(16))),
                         Value(arith::AndIOp::create(b, both, i32(static_cast<int32_t>(0xffff0000))))}) {
        elements.push_back(arith::BitcastOp::create(b, f32, bits));
      }
      continue;
    }
    Value pair = LLVM::BitcastOp::create(b, VectorType::get({2}, element), both);
    for (int64_t e = 0; e < 2; ++e) {
      Value half = LLVM::ExtractElementOp::create(b, pair, i32(e));
      elements.push_back(LLVM::FPExtOp::create(b, f32, half));
    }
  }
  fragments[op.getResult()] = Fragment{std::move(elements), false};
  return success();
}

LogicalResult FunctionLowering::lowerReduce(tile::ReduceOp op) {
  if (op.getAxis() != 1) {
    return op.emitOpError("expected a reduction along rows: score tiles have queries as rows");
  }
  RankedTensorType type = tileTypeOf(op.getSource());
  if (type.getDimSize(1) % 8 != 0) {
    return op.emitOpError("expected a multiple of 8 columns, got ") << type;
  }
  ArrayRef<Value> source = fragmentOf(op.getSource());
  int64_t slabs = slabsOf(type.getDimSize(0)), groups = groupsOf(type.getDimSize(1));
  auto combine = [&](Value x, Value y) -> Value {
    return op.getKind() == tile::ReduceKind::Max ? Value(arith::MaxNumFOp::create(b, x, y))
                                                 : Value(arith::AddFOp::create(b, x, y));
  };
  Fragment result;
  for (int64_t slab = 0; slab < slabs; ++slab) {
    for (int64_t half = 0; half < 2; ++half) {
      // The two columns of a group in chains of their own, where a thread has few rows to work on side by side.
      std::array<Value, 2> chains;
      for (int64_t group = 0; group < groups; ++group) {
        for (int64_t e = 0; e < 2; ++e) {
          Value x = source[(slab * groups + group) * 4 + 2 * half + e];
          Value &chain = chains[roles ? e : 0];
          chain = chain ? combine(chain, x) : x;
        }
      }
      Value total = chains[1] ? combine(chains[0], chains[1]) : chains[0];
      for (int64_t mask : {1, 2}) {
        Value other = NVVM::ShflOp::create(b, b.getF32Type(), i32(-1), total, i32(mask), i32(31),
                                           NVVM::ShflKind::bfly, UnitAttr());
        total = combine(total, other);
      }
      result.elements.push_back(total);
    }
  }
  fragments[op.getResult()] = std::move(result);
  return success();
}

LogicalResult FunctionLowering::lowerFold(tile::FoldOp op) {
  RankedTensorType type = tileTypeOf(op.getSource());
  if (tileTypeOf(op.getAcc()).getDimSize(1) != 8) {
    return op.emitOpError("expected 8 columns in the result, a fragment's width, got ") << op.getAcc().getType();
  }
  ArrayRef<Value> source = fragmentOf(op.getSource());
  SmallVector<Value> sums(fragmentOf(op.getAcc()));
  int64_t groups = groupsOf(type.getDimSize(1));
  for (int64_t slab = 0; slab < slabsOf(type.getDimSize(0)); ++slab) {
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t e = 0; e < 4; ++e) {
        Value &sum = sums[slab * 4 + e];
        sum = arith::AddFOp::create(b, sum, source[(slab * groups + group) * 4 + e]);
      }
    }
  }
  fragments[op.getResult()] = Fragment{std::move(sums), false};
  return success();
}

SmallVector<Value> FunctionLowering::choose(Value condition, Type type, size_t count,
                                            function_ref<SmallVector<Value>()> then,
                                            function_ref<SmallVector<Value>()> otherwise) {
  if (roles) {
    // The whole warp takes the rarer side if a lane needs it: both give every lane what it wants, and a branch that
    // never parts a warp leaves the assembler free to move instructions.
    condition = NVVM::VoteSyncOp::create(b, b.getI1Type(), i32(-1), condition, NVVM::VoteSyncKind::any);
  }
  auto ifOp = scf::IfOp::create(b, SmallVector<Type>(count, type), condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  scf::YieldOp::create(b, then());
  b.setInsertionPointToStart(ifOp.elseBlock());
  scf::YieldOp::create(b, otherwise());
  return SmallVector<Value>(ifOp.getResults());
}

/// Groups of 8 columns of a row that are multiplied without asking.
static constexpr int64_t kFewGroups = 8;

/// A branch of each thread's own: the multiplications exchange nothing, so lanes may differ.
LogicalResult FunctionLowering::lowerRescale(tile::RescaleOp op) {
  SmallVector<Value> source(fragmentOf(op.getSource())), factors(fragmentOf(op.getFactors()));
  int64_t groups = groupsOf(tileTypeOf(op.getSource()).getDimSize(1));
  Value one = arith::ConstantOp::create(b, b.getF32FloatAttr(1.0f));
  auto any = [&] {
    Value any;
    for (Value factor : factors) {
      // Unordered: a NaN is no 1.
      Value moved = arith::CmpFOp::create(b, arith::CmpFPredicate::UNE, factor, one);
      any = any ? Value(arith::OrIOp::create(b, any, moved)) : moved;
    }
    return any;
  };
  auto scaled = [&] {
    SmallVector<Value> elements;
    for (auto [i, value] : llvm::enumerate(source)) {
      elements.push_back(arith::MulFOp::create(b, value, factors[rowIndex(i, groups)]));
    }
    return elements;
  };
  if (roles && groups <= kFewGroups) {
    // Fewer multiplications than a branch costs beside products that run on their own.
    fragments[op.getResult()] = Fragment{scaled(), false};
    return success();
  }
  auto unchanged = [&] { return source; };
  fragments[op.getResult()] = Fragment{choose(any(), b.getF32Type(), source.size(), scaled, unchanged), false};
  return success();
}

/// A branch for each slab, 16 of a warp's rows: of a block on a mask's edge some slabs have nothing to hide, and all
/// warps the same number of these. All lanes take it alike.
void FunctionLowering::lowerHide(tile::HideOp op) {
  SmallVector<Value> elements(fragmentOf(op.getSource())), limits(fragmentOf(op.getLimits()));
  RankedTensorType type = tileTypeOf(op.getSource());
  const int64_t slabs = slabsOf(type.getDimSize(0)), cols = type.getDimSize(1), groups = groupsOf(cols);
  const auto hides = op.getBefore() ? arith::CmpIPredicate::slt : arith::CmpIPredicate::sge;
  const auto shows = op.getBefore() ? arith::CmpIPredicate::sge : arith::CmpIPredicate::slt;
  Value column = scalars.lookup(op.getColumn()), lowest = arith::ConstantOp::create(b, b.getF32FloatAttr(-INFINITY));
  Value first = sharedColumn(column);
  Value outermost = op.getBefore() ? column : Value(arith::AddIOp::create(b, column, i32(cols - 1)));
  for (int64_t slab = 0; slab < slabs; ++slab) {
    MutableArrayRef<Value> own = MutableArrayRef(elements).slice(slab * groups * 4, groups * 4);
    const Value rows[] = {limits[2 * slab], limits[2 * slab + 1]};
    auto hidden = [&] {
      SmallVector<Value> columns, visible, chosen;
      for (int64_t i = 0; i < groups * 4; ++i) {
        columns.push_back(columnFrom(first, i / 4, i % 4));
      }
      for (int64_t i = 0; i < groups * 4; ++i) {
        visible.push_back(arith::CmpIOp::create(b, shows, columns[i], rows[i % 4 / 2]));
      }
      for (int64_t i = 0; i < groups * 4; ++i) {
        chosen.push_back(arith::SelectOp::create(b, visible[i], own[i], lowest));
      }
      return chosen;
    };
    if (roles) {
      llvm::copy(hidden(), own.begin());
      continue;
    }
    Value upper = arith::CmpIOp::create(b, hides, outermost, rows[0]);
    Value lower = arith::CmpIOp::create(b, hides, outermost, rows[1]);
    Value some = arith::OrIOp::create(b, upper, lower);
    some = NVVM::VoteSyncOp::create(b, b.getI1Type(), i32(-1), some, NVVM::VoteSyncKind::any);
    auto asTheyAre = [&] { return SmallVector<Value>(own); };
    llvm::copy(choose(some, b.getF32Type(), own.size(), hidden, asTheyAre), own.begin());
  }
  fragments[op.getResult()] = Fragment{std::move(elements), false};
}

/// A row's four lanes hold the same rows, so all take the same branch. One for all of a thread's rows, or, where the
/// next row's maximum is to run beside this one's exponentials, one for each.
LogicalResult FunctionLowering::lowerScaledDifference(tile::ScaledDifferenceOp op) {
  SmallVector<Value> source(fragmentOf(op.getSource())), references(fragmentOf(op.getReference()));
  int64_t groups = groupsOf(tileTypeOf(op.getSource()).getDimSize(1));
  Value factor = scalars.lookup(op.getFactor());
  Value limit = arith::ConstantOp::create(b, b.getF32FloatAttr(1024.0f));
  SmallVector<Value> elements(source.size());
  const auto rows = static_cast<int64_t>(references.size()), atOnce = rowByRow ? int64_t{1} : rows;
  for (int64_t first = 0; first < rows; first += atOnce) {
    Value small;
    SmallVector<Value> scaled;
    for (int64_t row = first; row < first + atOnce; ++row) {
      scaled.push_back(arith::MulFOp::create(b, references[row], factor));
      Value size = LLVM::FAbsOp::create(b, b.getF32Type(), scaled.back());
      Value below = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, size, limit);
      small = small ? Value(arith::AndIOp::create(b, small, below)) : below;
    }
    SmallVector<size_t> places; // of these rows' elements
    for (size_t i = 0; i < source.size(); ++i) {
      const int64_t row = rowIndex(i, groups);
      if (first <= row && row < first + atOnce) {
        places.push_back(i);
      }
    }
    // The rare case only replaces what the fused operation takes: differences, and references of 0.
    auto asTheyAre = [&] {
      SmallVector<Value> operands;
      for (size_t i : places) {
        operands.push_back(source[i]);
      }
      operands.append(scaled);
      return operands;
    };
    auto differences = [&] {
      SmallVector<Value> operands;
      for (size_t i : places) {
        operands.push_back(arith::SubFOp::create(b, source[i], references[rowIndex(i, groups)]));
      }
      Value zero = arith::ConstantOp::create(b, b.getF32FloatAttr(0.0f));
      operands.append(scaled.size(), zero);
      return operands;
    };
    const size_t count = places.size() + scaled.size();
    SmallVector<Value> operands;
    if (roles) { // the rarer side first: see choose
      Value large = arith::XOrIOp::create(b, small, arith::ConstantOp::create(b, b.getBoolAttr(true)));
      operands = choose(large, b.getF32Type(), count, differences, asTheyAre);
    } else {
      operands = choose(small, b.getF32Type(), count, asTheyAre, differences);
    }
    SmallVector<Value> negated;
    for (size_t i = places.size(); i < count; ++i) {
      negated.push_back(arith::NegFOp::create(b, operands[i]));
    }
    for (auto [number, i] : llvm::enumerate(places)) {
      elements[i] = LLVM::FMAOp::create(b, operands[number], factor, negated[rowIndex(i, groups) - first]);
    }
  }
  fragments[op.getResult()] = Fragment{std::move(elements), false};
  return success();
}

//===----------------------------------------------------------------------===//
// Global memory
//===----------------------------------------------------------------------===//

/// Per-row values: each thread reads those of its own rows.
LogicalResult FunctionLowering::lowerLoad(tile::LoadOp op) {
  RankedTensorType type = tileTypeOf(op.getTile());
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  if (type.getRank() != 1) {
    return loadMatrixElements(op, view);
  }
  Type element = type.getElementType();
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(element));
  Value first = scalars.lookup(op.getIndices()[0]);
  Fragment result;
  for (int64_t slab = 0; slab < slabsOf(type.getDimSize(0)); ++slab) {
    for (int64_t half = 0; half < 2; ++half) {
      Value row = arith::AddIOp::create(b, first, toIndex(rowInStep(slab, half)));
      auto read = [&] { return loadElement(view, row); };
      if (!op.getBounds()[0]) {
        result.elements.push_back(read());
        continue;
      }
      Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, row, scalars.lookup(view.getSizes()[0]));
      auto ifOp = scf::IfOp::create(b, TypeRange{element}, inside, /*withElseRegion=*/true);
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(ifOp.thenBlock());
      scf::YieldOp::create(b, read());
      b.setInsertionPointToStart(ifOp.elseBlock());
      scf::YieldOp::create(b, zero);
      result.elements.push_back(ifOp.getResult(0));
    }
  }
  fragments[op.getTile()] = std::move(result);
  return success();
}

/// A matrix that joins the scores: each thread reads its own elements, pairs of neighbours as one where rows are
/// aligned to pairs. Indices past a bound are moved to the last one inside: a read that no branch guards, whose value
/// nobody uses. Four lanes read 8 columns of a row and the next group the 8 behind them, so lines are read in full,
/// from L1.
LogicalResult FunctionLowering::loadMatrixElements(tile::LoadOp op, tile::ViewOp view) {
  RankedTensorType type = tileTypeOf(op.getTile());
  tile::ViewType viewType = op.getView().getType();
  Type element = type.getElementType();
  bool bounded = op.getBounds()[0] || op.getBounds()[1];
  if (op.getWhere()) {
    return op.emitOpError("expected a load whose rows are chosen to feed products");
  }
  if (bounded && !op.getAnyPastEnd()) {
    return op.emitOpError("expected a bounded rank-2 load to feed products, or to leave elements past its bounds open");
  }
  if (type.getDimSize(1) % 8 != 0) {
    return op.emitOpError("expected a multiple of 8 columns, got ") << type;
  }
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  bool half = bytes == 2, pairs = viewType.getUnit() && viewType.getAlign() >= 2 * bytes && bytes > 1;
  Value base = scalars.lookup(view.getBase()), firstCol = scalars.lookup(op.getIndices()[1]);
  Value rowStride = scalars.lookup(view.getStrides()[0]), colStride = scalars.lookup(view.getStrides()[1]);
  auto clamped = [&](Value position, int64_t dim, int64_t last) -> Value {
    if (!op.getBounds()[dim]) {
      return position;
    }
    Value end = arith::SubIOp::create(b, scalars.lookup(view.getSizes()[dim]), index(1));
    if (last == 2) {
      // The pair that the last element is in, which is aligned like all pairs. Of an odd number of columns it reaches
      // one past them: rows that long are not the tensor's own, which have pairs only where their length is even.
      end = arith::AndIOp::create(b, end, index(-2));
    }
    return arith::MinSIOp::create(b, position, end);
  };
  int64_t groups = groupsOf(type.getDimSize(1));
  SmallVector<Value> columns; // offsets of each group's first column, and, if not in pairs, of its second
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t e = 0; e < (pairs ? 1 : 2); ++e) {
      Value col = arith::AddIOp::create(b, firstCol, toIndex(arith::AddIOp::create(b, colOf(group), i32(e))));
      col = clamped(col, 1, pairs ? 2 : 1);
      columns.push_back(viewType.getUnit() ? col : Value(arith::MulIOp::create(b, col, colStride)));
    }
  }
  Type word = half ? b.getIntegerType(16) : element;
  auto read = [&](Value start, Value column, Type what, int64_t align) -> Value {
    Value at = arith::AddIOp::create(b, start, column);
    return LLVM::LoadOp::create(b, what, globalAddress(base, word, at), align);
  };
  Fragment result;
  result.packed = half;
  for (int64_t slab = 0; slab < slabsOf(type.getDimSize(0)); ++slab) {
    SmallVector<Value> starts;
    for (int64_t upper = 0; upper < 2; ++upper) {
      Value row = arith::AddIOp::create(b, scalars.lookup(op.getIndices()[0]), toIndex(rowOf(slab, upper)));
      row = clamped(row, 0, 1);
      starts.push_back(arith::AddIOp::create(b, scalars.lookup(view.getOffset()),
                                             arith::MulIOp::create(b, row, rowStride)));
    }
    for (int64_t group = 0; group < groups; ++group) {
      for (Value start : starts) {
        if (pairs && half) {
          result.elements.push_back(read(start, columns[group], b.getI32Type(), 4));
          continue;
        }
        if (pairs) {
          Value both = read(start, columns[group], VectorType::get({2}, element), 8);
          result.elements.push_back(LLVM::ExtractElementOp::create(b, both, i32(0)));
          result.elements.push_back(LLVM::ExtractElementOp::create(b, both, i32(1)));
          continue;
        }
        Value first = read(start, columns[2 * group], word, bytes);
        Value second = read(start, columns[2 * group + 1], word, bytes);
        if (!half) {
          result.elements.push_back(first);
          result.elements.push_back(second);
          continue;
        }
        Value low = arith::ExtUIOp::create(b, b.getI32Type(), first);
        Value high = arith::ExtUIOp::create(b, b.getI32Type(), second);
        result.elements.push_back(arith::OrIOp::create(b, low, arith::ShLIOp::create(b, high, i32(16))));
      }
    }
  }
  fragments[op.getTile()] = std::move(result);
  return success();
}

LogicalResult FunctionLowering::lowerLoadScalar(tile::LoadScalarOp op) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  SmallVector<Value> indices;
  for (Value position : op.getIndices()) {
    indices.push_back(scalars.lookup(position));
  }
  scalars.map(op.getValue(), loadElement(view, indices));
  return success();
}

LogicalResult FunctionLowering::lowerStore(tile::StoreOp op) {
  auto view = op.getView().getDefiningOp<tile::ViewOp>();
  if (tileTypeOf(op.getTile()).getRank() == 1) {
    storeVector(op, view);
    return success();
  }
  if (!fragments.lookup(op.getTile()).packed) {
    return op.emitOpError("expected a tile of 16-bit floats");
  }
  tile::ViewType viewType = op.getView().getType();
  bool wholeUnits = viewType.getUnit() && viewType.getAlign() == 16 && !op.getBounds()[1] &&
                    tileTypeOf(op.getTile()).getDimSize(1) % 8 == 0;
  if (op.getThrough() && wholeUnits) {
    storeRows(op, view);
  } else if (roles && wholeUnits) {
    storeUnits(op, view);
  } else {
    storeMatrix(op, view);
  }
  return success();
}

/// Through shared memory: a warp puts its rows there and reads them back as whole rows, 16 bytes a lane, so that
/// neighbouring lanes write neighbouring bytes. Warps share no rows, so lanes of one warp wait for each other only.
void FunctionLowering::storeRows(tile::StoreOp op, tile::ViewOp view) {
  RankedTensorType type = tileTypeOf(op.getTile());
  ArrayRef<Value> values = fragmentOf(op.getTile());
  const SharedBuffer buffer = sharedBuffers.find(op.getThrough())->second;
  int64_t slabs = slabsOf(type.getDimSize(0)), groups = groupsOf(type.getDimSize(1));
  Value laneByte = arith::MulIOp::create(b, laneCol, i32(2));
  for (int64_t slab = 0; slab < slabs; ++slab) {
    for (int64_t half = 0; half < 2; ++half) {
      Value row = rowOf(slab, half);
      for (int64_t group = 0; group < groups; ++group) {
        Value byte = arith::AddIOp::create(b, laneByte, i32(16 * group));
        LLVM::StoreOp::create(b, values[(slab * groups + group) * 2 + half],
                              sharedAddress(buffer, placeOf(buffer, row, byte), 0), 4);
      }
    }
  }
  NVVM::SyncWarpOp::create(b, i32(-1));
  Value base = scalars.lookup(view.getBase()), rowStride = scalars.lookup(view.getStrides()[0]);
  Value origin = arith::AddIOp::create(b, scalars.lookup(view.getOffset()), scalars.lookup(op.getIndices()[1]));
  Type element = type.getElementType(), unit = VectorType::get({4}, b.getI32Type());
  Value warpRow = arith::MulIOp::create(b, warp, i32(16));
  for (int64_t slab = 0; slab < slabs; ++slab) {
    for (int64_t start = 0; start < 16 * groups; start += 32) {
      Value number = arith::AddIOp::create(b, lane, i32(start));
      Value inSlab = arith::DivUIOp::create(b, number, i32(groups));
      Value group = arith::RemUIOp::create(b, number, i32(groups));
      Value row = arith::AddIOp::create(b, arith::AddIOp::create(b, warpRow, inSlab), i32(slab * 16 * warps));
      Value globalRow = arith::AddIOp::create(b, scalars.lookup(op.getIndices()[0]), toIndex(row));
      auto write = [&] {
        Value place = placeOf(buffer, row, arith::MulIOp::create(b, group, i32(16)));
        Value data = LLVM::LoadOp::create(b, unit, sharedAddress(buffer, place, 0), 16);
        Value col = toIndex(arith::MulIOp::create(b, group, i32(8)));
        Value at = arith::AddIOp::create(b, origin, arith::MulIOp::create(b, globalRow, rowStride));
        at = arith::AddIOp::create(b, at, col);
        LLVM::StoreOp::create(b, data, globalAddress(base, element, at), 16);
      };
      Value inside;
      if (start + 32 > 16 * groups) {
        inside = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, number, i32(16 * groups));
      }
      if (op.getBounds()[0]) {
        Value inView = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, globalRow,
                                             scalars.lookup(view.getSizes()[0]));
        inside = inside ? Value(arith::AndIOp::create(b, inside, inView)) : inView;
      }
      if (inside) {
        ifThen(inside, write);
      } else {
        write();
      }
    }
  }
}

/// Four neighbouring lanes hold four 16-byte units of a row, each a quarter of each unit: transposed, each holds one of
/// them. Without shared memory: with roles that belongs to the next program's copies by then.
void FunctionLowering::storeUnits(tile::StoreOp op, tile::ViewOp view) {
  RankedTensorType type = tileTypeOf(op.getTile());
  ArrayRef<Value> values = fragmentOf(op.getTile());
  int64_t slabs = slabsOf(type.getDimSize(0)), groups = groupsOf(type.getDimSize(1));
  Value inQuad = arith::AndIOp::create(b, lane, i32(3));
  Value base = scalars.lookup(view.getBase());
  Value origin = arith::AddIOp::create(b, scalars.lookup(view.getOffset()), scalars.lookup(op.getIndices()[1]));
  Type element = type.getElementType();
  for (int64_t slab = 0; slab < slabs; ++slab) {
    for (int64_t half = 0; half < 2; ++half) {
      SmallVector<Value> pieces;
      for (int64_t group = 0; group < groups; ++group) {
        pieces.push_back(values[(slab * groups + group) * 2 + half]);
      }
      for (int64_t group = 0; group + 4 <= groups; group += 4) {
        transposeQuads(MutableArrayRef(pieces).slice(static_cast<size_t>(group), 4));
      }
      Value row = arith::AddIOp::create(b, scalars.lookup(op.getIndices()[0]), toIndex(rowOf(slab, half)));
      auto write = [&] {
        Value start = arith::MulIOp::create(b, row, scalars.lookup(view.getStrides()[0]));
        start = arith::AddIOp::create(b, origin, start);
        for (int64_t group = 0; group < groups; ++group) {
          const bool whole = group / 4 * 4 + 4 <= groups;
          if (whole && group % 4 != 0) {
            continue;
          }
          // Column of the unit that this lane holds; of the units that are left over, of its quarter.
          Value col = colOf(group);
          if (whole) {
            col = arith::AddIOp::create(b, arith::MulIOp::create(b, inQuad, i32(8)), i32(8 * group));
          }
          Value data = pieces[static_cast<size_t>(group)];
          if (whole) {
            data = LLVM::UndefOp::create(b, VectorType::get({4}, b.getI32Type()));
            for (int64_t i = 0; i < 4; ++i) {
              data = LLVM::InsertElementOp::create(b, data, pieces[static_cast<size_t>(group + i)], i32(i));
            }
          }
          Value at = arith::AddIOp::create(b, start, toIndex(col));
          LLVM::StoreOp::create(b, data, globalAddress(base, element, at), whole ? 16 : 4);
        }
      };
      if (op.getBounds()[0]) {
        ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::slt, row, scalars.lookup(view.getSizes()[0])), write);
      } else {
        write();
      }
    }
  }
}

/// Lane i of each four gets piece i of all four, in the lanes' order.
void FunctionLowering::transposeQuads(MutableArrayRef<Value> pieces) {
  for (int64_t bit : {1, 2}) {
    Value upper = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, arith::AndIOp::create(b, lane, i32(bit)), i32(0));
    for (size_t low = 0; low < 4; ++low) {
      if ((low & static_cast<size_t>(bit)) != 0) {
        continue;
      }
      Value &first = pieces[low], &second = pieces[low + static_cast<size_t>(bit)];
      Value sent = arith::SelectOp::create(b, upper, first, second);
      Value got = NVVM::ShflOp::create(b, b.getI32Type(), i32(-1), sent, i32(bit), i32(31), NVVM::ShflKind::bfly,
                                       UnitAttr());
      first = arith::SelectOp::create(b, upper, got, first);
      second = arith::SelectOp::create(b, upper, second, got);
    }
  }
}

/// Four lanes hold a row's value; the first of them writes it.
void FunctionLowering::storeVector(tile::StoreOp op, tile::ViewOp view) {
  ArrayRef<Value> values = fragmentOf(op.getTile());
  Value first = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, laneCol, i32(0));
  for (size_t i = 0; i < values.size(); ++i) {
    Value row = arith::AddIOp::create(b, scalars.lookup(op.getIndices()[0]),
                                      toIndex(rowOf(static_cast<int64_t>(i) / 2, i % 2)));
    Value write = first;
    if (op.getBounds()[0]) {
      Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, row, scalars.lookup(view.getSizes()[0]));
      write = arith::AndIOp::create(b, write, inside);
    }
    ifThen(write, [&] { LLVM::StoreOp::create(b, values[i], addressOf(view, row), 4); });
  }
}

void FunctionLowering::storeMatrix(tile::StoreOp op, tile::ViewOp view) {
  RankedTensorType type = tileTypeOf(op.getTile());
  ArrayRef<Value> values = fragmentOf(op.getTile());
  Type i16 = b.getIntegerType(16);
  int64_t cols = type.getDimSize(1), groups = groupsOf(cols);
  tile::ViewType viewType = view.getView().getType();
  bool pairs = viewType.getUnit() && viewType.getAlign() >= 4;
  Value base = scalars.lookup(view.getBase());
  Value colStride = scalars.lookup(view.getStrides()[1]);
  for (int64_t slab = 0; slab < slabsOf(type.getDimSize(0)); ++slab) {
    for (int64_t half = 0; half < 2; ++half) {
      Value row = arith::AddIOp::create(b, scalars.lookup(op.getIndices()[0]), toIndex(rowOf(slab, half)));
      auto writeRow = [&] {
        Value start = arith::AddIOp::create(
            b, scalars.lookup(view.getOffset()),
            arith::MulIOp::create(b, row, scalars.lookup(view.getStrides()[0])));
        start = arith::AddIOp::create(
            b, start, arith::MulIOp::create(b, scalars.lookup(op.getIndices()[1]), colStride));
        for (int64_t group = 0; group < groups; ++group) {
          Value both = values[(slab * groups + group) * 2 + half];
          Value col = colOf(group);
          auto writeOne = [&](int64_t e) {
            Value c = arith::AddIOp::create(b, col, i32(e));
            Value inside;
            if (8 * group + 8 > cols) {
              inside = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, c, i32(cols));
            }
            if (op.getBounds()[1]) {
              Value globalCol = arith::AddIOp::create(b, scalars.lookup(op.getIndices()[1]), toIndex(c));
              Value inView = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, globalCol,
                                                   scalars.lookup(view.getSizes()[1]));
              inside = inside ? Value(arith::AndIOp::create(b, inside, inView)) : inView;
            }
            auto write = [&] {
              Value at = arith::AddIOp::create(b, start, arith::MulIOp::create(b, toIndex(c), colStride));
              Value bits = e == 0 ? both : Value(arith::ShRUIOp::create(b, both, i32(16)));
              LLVM::StoreOp::create(b, arith::TruncIOp::create(b, i16, bits), globalAddress(base, i16, at), 2);
            };
            if (inside) {
              ifThen(inside, write);
            } else {
              write();
            }
          };
          if (!pairs || cols % 2 != 0 || op.getBounds()[1]) {
            writeOne(0);
            writeOne(1);
            continue;
          }
          auto writePair = [&] {
            Value at = arith::AddIOp::create(b, start, toIndex(col));
            LLVM::StoreOp::create(b, both, globalAddress(base, i16, at), 4);
          };
          if (8 * group + 8 <= cols) {
            writePair();
          } else {
            ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::slt, col, i32(cols)), writePair);
          }
        }
      };
      if (op.getBounds()[0]) {
        ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::slt, row, scalars.lookup(view.getSizes()[0])),
               writeRow);
      } else {
        writeRow();
      }
    }
  }
}
