// SPDX-License-Identifier: Apache-2.0
#include "tilewright/kernels/ProgramBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/TypeUtilities.h"
#include <limits>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

std::optional<ProgramShape> ProgramShape::of(Attribute schedule) {
  if (auto cpu = dyn_cast_or_null<tile::ScheduleAttr>(schedule)) {
    return ProgramShape{cpu.getOrientation(), cpu.getBlockM(), cpu.getBlockN(), false};
  }
  if (auto gpu = dyn_cast_or_null<tile::GpuScheduleAttr>(schedule)) {
    // Where a block has as many keys as a program rows, hardly any is seen by one half of them alone.
    const bool halves = gpu.getBodies() == 2 && gpu.getBlockM() % (32 * gpu.getWarps()) == 0 &&
                        gpu.getBlockN() < gpu.getBlockM();
    return ProgramShape{tile::Orientation::QueriesByKeys, gpu.getBlockM(), gpu.getBlockN(), true,
                        gpu.getPersistent() != 0, gpu.getStages() > 1, gpu.getBodies() == 2, halves};
  }
  return std::nullopt;
}

static bool isFloat(Value value) { return isa<FloatType>(getElementTypeOrSelf(value.getType())); }

Value ProgramBuilder::indexConstant(int64_t value) { return arith::ConstantIndexOp::create(*this, value); }

Value ProgramBuilder::fill(ArrayRef<int64_t> shape, float value) {
  auto type = tileType(shape, getF32Type());
  return arith::ConstantOp::create(*this, DenseElementsAttr::get(type, value));
}

Value ProgramBuilder::intLike(Type type, int64_t value) {
  if (auto tile = dyn_cast<RankedTensorType>(type)) {
    return arith::ConstantOp::create(
        *this, cast<TypedAttr>(DenseElementsAttr::get(tile, getIntegerAttr(tile.getElementType(), value))));
  }
  return arith::ConstantOp::create(*this, getIntegerAttr(type, value));
}

Value ProgramBuilder::toIndex(Value integer) {
  return integer.getType().isIndex() ? integer
                                     : createOrFold<arith::IndexCastOp>(getIndexType(), integer);
}

Value ProgramBuilder::toI32(Value index) {
  return index.getType().isInteger(32) ? index : createOrFold<arith::IndexCastOp>(getI32Type(), index);
}

Value ProgramBuilder::add(Value a, Value b) {
  return isFloat(a) ? createOrFold<arith::AddFOp>(a, b) : createOrFold<arith::AddIOp>(a, b);
}
Value ProgramBuilder::sub(Value a, Value b) {
  return isFloat(a) ? createOrFold<arith::SubFOp>(a, b) : createOrFold<arith::SubIOp>(a, b);
}
Value ProgramBuilder::mul(Value a, Value b) {
  return isFloat(a) ? createOrFold<arith::MulFOp>(a, b) : createOrFold<arith::MulIOp>(a, b);
}

Value ProgramBuilder::maxKeepSecond(Value a, Value b) {
  Value greater = arith::CmpFOp::create(*this, arith::CmpFPredicate::OGT, a, b);
  return arith::SelectOp::create(*this, greater, a, b);
}
Value ProgramBuilder::divF(Value a, Value b) { return arith::DivFOp::create(*this, a, b); }
Value ProgramBuilder::divideFast(Value a, Value b) {
  return arith::DivFOp::create(*this, a, b, arith::FastMathFlags::afn | arith::FastMathFlags::arcp);
}
Value ProgramBuilder::equalF(Value a, Value b) {
  return arith::CmpFOp::create(*this, arith::CmpFPredicate::OEQ, a, b);
}
Value ProgramBuilder::greaterF(Value a, Value b) {
  return arith::CmpFOp::create(*this, arith::CmpFPredicate::OGT, a, b);
}
Value ProgramBuilder::lessI(Value a, Value b) {
  return arith::CmpIOp::create(*this, arith::CmpIPredicate::slt, a, b);
}
Value ProgramBuilder::andI(Value a, Value b) { return createOrFold<arith::AndIOp>(a, b); }
Value ProgramBuilder::select(Value condition, Value a, Value b) {
  return arith::SelectOp::create(*this, condition, a, b);
}

Value ProgramBuilder::hideUnless(Value visible, Value scores) {
  ArrayRef<int64_t> shape = cast<RankedTensorType>(scores.getType()).getShape();
  return select(visible, scores, fill(shape, -std::numeric_limits<float>::infinity()));
}

Value ProgramBuilder::widen(Value tile) {
  auto type = cast<RankedTensorType>(tile.getType());
  if (type.getElementType().isF32()) {
    return tile;
  }
  return arith::ExtFOp::create(*this, tileType(type.getShape(), getF32Type()), tile);
}

Value ProgramBuilder::narrow(Value tile, Type element) {
  auto type = cast<RankedTensorType>(tile.getType());
  if (type.getElementType() == element) {
    return tile;
  }
  return arith::TruncFOp::create(*this, tileType(type.getShape(), element), tile);
}

Value ProgramBuilder::splat(Value scalar, ArrayRef<int64_t> shape) {
  return tile::SplatOp::create(*this, tileType(shape, scalar.getType()), scalar);
}

Value ProgramBuilder::broadcast(Value vector, int64_t axis, ArrayRef<int64_t> shape) {
  Type element = cast<RankedTensorType>(vector.getType()).getElementType();
  RankedTensorType type = tileType(shape, element);
  // What is uniform or an index tile already is made in its final shape: nothing has to be stored to be repeated.
  if (auto uniform = vector.getDefiningOp<tile::SplatOp>()) {
    return splat(uniform.getScalar(), shape);
  }
  if (auto index = vector.getDefiningOp<tile::IndexOp>()) {
    return tile::IndexOp::create(*this, type, index.getBase(), 1 - axis);
  }
  if (auto constant = vector.getDefiningOp<arith::ConstantOp>()) {
    auto value = cast<SplatElementsAttr>(constant.getValue()).getSplatValue<Attribute>();
    return arith::ConstantOp::create(*this, cast<TypedAttr>(DenseElementsAttr::get(type, value)));
  }
  return tile::BroadcastOp::create(*this, type, vector, axis);
}

Value ProgramBuilder::reduce(tile::ReduceKind kind, Value source, int64_t axis) {
  auto type = cast<RankedTensorType>(source.getType());
  return tile::ReduceOp::create(*this, tileType({type.getDimSize(1 - axis)}, type.getElementType()), kind, source,
                                axis);
}

Value ProgramBuilder::dot(Value a, Value b, Value acc, bool transA, bool transB) {
  return tile::DotOp::create(*this, acc.getType(), a, b, acc, transA, transB, DenseI64ArrayAttr());
}

Value ProgramBuilder::transpose(Value source) {
  auto type = cast<RankedTensorType>(source.getType());
  return tile::TransposeOp::create(*this, tileType({type.getDimSize(1), type.getDimSize(0)}, type.getElementType()),
                                   source);
}

Value ProgramBuilder::view(const TensorArg &arg, ArrayRef<unsigned> dims, ValueRange sizes,
                           ArrayRef<std::pair<unsigned, Value>> coordinates) {
  Value offset = indexConstant(0);
  for (const auto &[dim, coordinate] : coordinates) {
    offset = add(offset, mul(coordinate, arg.strides[dim]));
  }
  unsigned innermost = arg.strides.size() - 1;
  bool unit = arg.unit && dims.back() == innermost;
  SmallVector<Value> strides;
  for (unsigned dim : dims) {
    strides.push_back(unit && dim == innermost ? indexConstant(1) : arg.strides[dim]);
  }
  Type element = cast<tile::PtrType>(arg.base.getType()).getElementType();
  auto type = tile::ViewType::get(getContext(), static_cast<unsigned>(dims.size()), element, unit,
                                  unit ? arg.align : 0);
  return tile::ViewOp::create(*this, type, arg.base, offset, sizes, strides);
}

Value ProgramBuilder::load(Value view, ValueRange indices, ArrayRef<bool> bounds, ArrayRef<int64_t> shape,
                           Value where, Value when) {
  Type element = cast<tile::ViewType>(view.getType()).getElementType();
  return tile::LoadOp::create(*this, tileType(shape, element), view, indices, where, when, bounds,
                              /*any_past_end=*/false);
}

Value ProgramBuilder::loadAny(Value view, ValueRange indices, ArrayRef<bool> bounds, ArrayRef<int64_t> shape) {
  Type element = cast<tile::ViewType>(view.getType()).getElementType();
  return tile::LoadOp::create(*this, tileType(shape, element), view, indices, /*where=*/Value(), /*when=*/Value(),
                              bounds, /*any_past_end=*/true);
}

void ProgramBuilder::store(Value tile, Value view, ValueRange indices, ArrayRef<bool> bounds) {
  tile::StoreOp::create(*this, tile, view, indices, bounds, /*through=*/Value());
}

Value ProgramBuilder::loadScalar(Value view, ValueRange indices) {
  return tile::LoadScalarOp::create(*this, cast<tile::ViewType>(view.getType()).getElementType(), view, indices);
}

IrInt kernels::operator+(IrInt a, IrInt b) { return {a.builder, a.builder->add(a.value, b.value)}; }
IrInt kernels::operator+(IrInt a, int64_t b) {
  return {a.builder, a.builder->add(a.value, a.builder->intLike(a.value.getType(), b))};
}
IrInt kernels::operator-(IrInt a, IrInt b) { return {a.builder, a.builder->sub(a.value, b.value)}; }
IrInt kernels::minOf(IrInt a, IrInt b) {
  return {a.builder, a.builder->createOrFold<arith::MinSIOp>(a.value, b.value)};
}
IrInt kernels::maxOf(IrInt a, IrInt b) {
  return {a.builder, a.builder->createOrFold<arith::MaxSIOp>(a.value, b.value)};
}
IrInt kernels::floorDiv(IrInt a, int64_t divisor) {
  // Unsigned: operands are never negative (BlockRanges.h), and a power of two becomes a shift.
  Value d = a.builder->intLike(a.value.getType(), divisor);
  return {a.builder, a.builder->createOrFold<arith::DivUIOp>(a.value, d)};
}
IrInt kernels::ceilDiv(IrInt a, int64_t divisor) { return floorDiv(a + (divisor - 1), divisor); }
IrInt kernels::alignDown(IrInt a, int64_t step) {
  return {a.builder, a.builder->andI(a.value, a.builder->intLike(a.value.getType(), -step))};
}
