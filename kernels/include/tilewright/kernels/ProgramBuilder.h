// SPDX-License-Identifier: Apache-2.0
//
// The builder that tile programs are written with: an MLIR builder with short names for the operations of a tile
// program, and integers (IrInt) that the templates of BlockRanges.h compute with inside generated code.
#ifndef TILEWRIGHT_KERNELS_PROGRAMBUILDER_H
#define TILEWRIGHT_KERNELS_PROGRAMBUILDER_H

#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace tilewright::kernels {

/// A tensor argument of a kernel: base pointer and one stride (index, in elements) a dimension. `unit`: the innermost
/// stride is 1, as the type of the argument promised.
struct TensorArg {
  mlir::Value base;
  llvm::SmallVector<mlir::Value, 4> strides;
  bool unit = false;
  unsigned align = 0; ///< bytes to which every innermost row is aligned, where that is more than an element's; else 0

  explicit operator bool() const { return static_cast<bool>(base); }
};

/// What a schedule fixes of a tile program before it is built. Everything else of a schedule is applied later.
struct ProgramShape {
  tile::Orientation orientation = tile::Orientation::KeysByQueries;
  int64_t blockM = 0; ///< query rows of a program
  int64_t blockN = 0; ///< keys of a block
  /// Products take the tensors' own element type, and probabilities are rounded to it (GPU: that is what its matrix
  /// instructions multiply). Otherwise all arithmetic is float32.
  bool storageOperands = false;
  bool persistent = false; ///< a GPU's block runs many programs, and may choose in which order
  bool ring = false;      ///< blocks of keys and values have arrived when a step begins: it may branch around products
  bool twoBodies = false; ///< key blocks that a mask cuts have a step of their own, in a loop with the others
  bool halves = false;    ///< and where one half of the rows sees none of their keys, the other's work alone

  /// The shape that the attribute `tile.schedule` asks for; nothing if it is of another kind.
  static std::optional<ProgramShape> of(mlir::Attribute schedule);
};

class ProgramBuilder : public mlir::ImplicitLocOpBuilder {
public:
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;

  mlir::RankedTensorType tileType(llvm::ArrayRef<int64_t> shape, mlir::Type element) {
    return mlir::RankedTensorType::get(shape, element);
  }

  mlir::Value indexConstant(int64_t value);
  /// `value` in every element of a tile of float32, or a tile of i32.
  mlir::Value fill(llvm::ArrayRef<int64_t> shape, float value);
  /// An integer of `type`: index, i32, i64, or a tile of i32 filled with it.
  mlir::Value intLike(mlir::Type type, int64_t value);
  mlir::Value toIndex(mlir::Value integer);
  mlir::Value toI32(mlir::Value index);

  mlir::Value add(mlir::Value a, mlir::Value b); ///< integers or floats, scalars or tiles
  mlir::Value sub(mlir::Value a, mlir::Value b);
  mlir::Value mul(mlir::Value a, mlir::Value b);
  /// Larger of two float tiles; where `a` is NaN the result is `b`.
  mlir::Value maxKeepSecond(mlir::Value a, mlir::Value b);
  mlir::Value divF(mlir::Value a, mlir::Value b);
  mlir::Value divideFast(mlir::Value a, mlir::Value b); ///< to a few units in the last place
  mlir::Value equalF(mlir::Value a, mlir::Value b);   ///< ordered
  mlir::Value greaterF(mlir::Value a, mlir::Value b); ///< ordered
  mlir::Value lessI(mlir::Value a, mlir::Value b);  ///< signed
  mlir::Value andI(mlir::Value a, mlir::Value b);
  mlir::Value select(mlir::Value condition, mlir::Value a, mlir::Value b);
  mlir::Value widen(mlir::Value tile);                      ///< to float32; float32 tiles stay as they are
  mlir::Value narrow(mlir::Value tile, mlir::Type element); ///< from float32, to nearest even

  mlir::Value splat(mlir::Value scalar, llvm::ArrayRef<int64_t> shape);
  mlir::Value broadcast(mlir::Value vector, int64_t axis, llvm::ArrayRef<int64_t> shape);
  mlir::Value reduce(tile::ReduceKind kind, mlir::Value source, int64_t axis);
  mlir::Value fold(mlir::Value source, mlir::Value acc) {
    return tile::FoldOp::create(*this, acc.getType(), source, acc);
  }
  mlir::Value scaledDifference(mlir::Value source, mlir::Value reference, mlir::Value factor) {
    return tile::ScaledDifferenceOp::create(*this, source.getType(), source, reference, factor);
  }
  mlir::Value rescale(mlir::Value source, mlir::Value factors) {
    return tile::RescaleOp::create(*this, source.getType(), source, factors);
  }
  /// -inf in columns (the first is `column`, i32) from a row's limit on, or before it; for matrix instructions.
  mlir::Value hide(mlir::Value scores, mlir::Value limits, mlir::Value column, bool before) {
    return tile::HideOp::create(*this, scores.getType(), scores, limits, column, before);
  }
  /// -inf in columns whose element of a view, from `index` on, is 0; for matrix instructions.
  mlir::Value hideUnset(mlir::Value scores, mlir::Value view, mlir::Value index) {
    return tile::HideUnsetOp::create(*this, scores.getType(), scores, view, index);
  }
  /// -inf where `visible` is not.
  mlir::Value hideUnless(mlir::Value visible, mlir::Value scores);
  mlir::Value dot(mlir::Value a, mlir::Value b, mlir::Value acc, bool transA, bool transB);
  mlir::Value transpose(mlir::Value source);
  mlir::Value exp2(mlir::Value source) { return tile::Exp2Op::create(*this, source.getType(), source); }
  mlir::Value log2(mlir::Value source) { return tile::Log2Op::create(*this, source.getType(), source); }

  /// The view of `arg` in which `fixed` leading-order coordinates are set: dimension dims[0] (and dims[1]) of the
  /// tensor become the view's, `coordinates` (dimension, index) pairs fix the others.
  mlir::Value view(const TensorArg &arg, llvm::ArrayRef<unsigned> dims, mlir::ValueRange sizes,
                   llvm::ArrayRef<std::pair<unsigned, mlir::Value>> coordinates);
  /// With `where`, a rank-1 view of i8, rows whose element is 0 are 0; there may be such only where `when` (i1) is
  /// true.
  mlir::Value load(mlir::Value view, mlir::ValueRange indices, llvm::ArrayRef<bool> bounds,
                   llvm::ArrayRef<int64_t> shape, mlir::Value where = {}, mlir::Value when = {});
  /// As load, but elements past a bound may have any value.
  mlir::Value loadAny(mlir::Value view, mlir::ValueRange indices, llvm::ArrayRef<bool> bounds,
                      llvm::ArrayRef<int64_t> shape);
  void store(mlir::Value tile, mlir::Value view, mlir::ValueRange indices, llvm::ArrayRef<bool> bounds);
  mlir::Value loadScalar(mlir::Value view, mlir::ValueRange indices);
};

/// An integer in generated code, with the operators that BlockRanges.h needs: an index, or a tile of i32 on which the
/// same formula works element by element.
struct IrInt {
  ProgramBuilder *builder;
  mlir::Value value;
};

IrInt operator+(IrInt a, IrInt b);
IrInt operator+(IrInt a, int64_t b);
IrInt operator-(IrInt a, IrInt b);
IrInt minOf(IrInt a, IrInt b);
IrInt maxOf(IrInt a, IrInt b);
IrInt floorDiv(IrInt a, int64_t divisor);
IrInt ceilDiv(IrInt a, int64_t divisor);
IrInt alignDown(IrInt a, int64_t step);

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_PROGRAMBUILDER_H
