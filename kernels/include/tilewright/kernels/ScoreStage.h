// SPDX-License-Identifier: Apache-2.0
//
// Score stages: each feature's contribution to the score tile, one file and one class a feature (kernels/stages/).
// Every tile program walks the same list, in the order of the contract (semantics A1): scale first, masks last.
//
// A stage never assumes what the rows of a score tile are. It sees the scores and two index tiles of the same shape,
// and what belongs to a query is a rank-1 tile that the context broadcasts along the right axis.
#ifndef TILEWRIGHT_KERNELS_SCORESTAGE_H
#define TILEWRIGHT_KERNELS_SCORESTAGE_H

#include "tilewright/Dialect/Attn/IR/Attn.h"
#include "tilewright/kernels/BlockRanges.h"
#include "tilewright/kernels/ProgramBuilder.h"
#include "tilewright/kernels/Programs.h"
#include <memory>
#include <vector>

namespace tilewright::kernels {

/// What stages may read of the program they are part of. Scalars are of type index.
struct ProgramContext {
  ProgramContext(ProgramBuilder &builder, const ProgramShape &shape) : b(builder), shape(shape) {}

  ProgramBuilder &b;
  ProgramShape shape;
  mlir::Value batch, head;   ///< this program's batch entry and (query) head
  mlir::Value firstRow;      ///< its first query row
  mlir::Value lastRow;       ///< its last query row inside the sequence
  mlir::Value finalRow;      ///< the sequence's last query row: seqlen_q - 1
  mlir::Value seqlenQ, seqlenK; ///< of this program's batch entry; a program of rows past its end has no keys
  mlir::Value extentQ, extentK; ///< of tensors over scores: at least the longest entry's, where entries have their own
  mlir::Value causalOffset;
  mlir::Value windowOffset;  ///< null without a left window edge
  mlir::Value positionOffset; ///< o of semantics A2; null where no stage asks
  mlir::Value scale;         ///< f32
  TensorArg limits;          ///< break points or row limits, if the mask has them
  TensorArg rowBounds;       ///< (batch, 2 or 4, seqlen_q) i32: what each row's interval is cut to, and where
                             ///< padding has holes; may be absent
  bool evenM = false;
  mlir::Value visibleBegin; ///< index: the first key of the views of keys and values; null if it is 0
  mlir::Value realKeys;     ///< view of the padding mask that begins where keys and values do; null without one
  /// Where rows begin to see keys after the first, blocks of keys are counted from the first key that any row of the
  /// program sees, or from the last multiple of this number before it.
  int64_t keyStep = 1;

  /// Rows may begin to see keys after the first.
  bool hasStart() const { return windowOffset || rowBounds; }
  /// Slabs of a warp's rows are asked one by one whether they hide anything (tile.hide). That takes registers from the
  /// loads ahead of products, of which a step that has padding's bytes as well, in one body with full blocks, has none
  /// to spare (3 percent of the time at head dim 128).
  bool hidesBySlabs() const { return shape.storageOperands && (!realKeys || shape.twoBodies); }
  bool keysAreRows() const { return shape.orientation == tile::Orientation::KeysByQueries; }
  /// Axis of a score tile along which keys lie: the one that row statistics reduce.
  int64_t keyAxis() const { return keysAreRows() ? 0 : 1; }
  llvm::SmallVector<int64_t, 2> scoreShape() const {
    return keysAreRows() ? llvm::SmallVector<int64_t, 2>{shape.blockN, shape.blockM}
                         : llvm::SmallVector<int64_t, 2>{shape.blockM, shape.blockN};
  }
  /// A value a query, repeated for every key.
  mlir::Value broadcastQueries(mlir::Value perQuery) const { return b.broadcast(perQuery, keyAxis(), scoreShape()); }
  /// This program's query rows as a rank-1 tile of i32.
  mlir::Value queryRows() const {
    return tile::IndexOp::create(b, b.tileType({shape.blockM}, b.getI32Type()), b.toI32(firstRow), 0);
  }
  IrInt integer(mlir::Value value) const { return {&b, value}; }
  /// Below 0 in a block that the views of keys and values begin in: outside, like their end.
  mlir::Value fromView(mlir::Value firstKey) const { return visibleBegin ? b.sub(firstKey, visibleBegin) : firstKey; }
  /// An index scalar as a rank-1 i32 tile over this program's query rows.
  IrInt perQuery(mlir::Value scalar) const { return {&b, b.splat(b.toI32(scalar), {shape.blockM})}; }
};

/// A block of scores under construction.
struct ScoreTile {
  mlir::Value scores; ///< f32
  mlir::Value keys;   ///< key column of each element, i32
  mlir::Value firstKey; ///< index: key column of the first
  bool bounded = false; ///< columns may lie past the sequence
};

class ScoreStage {
public:
  virtual ~ScoreStage();
  virtual llvm::StringRef name() const = 0;
  /// Loads what the stage needs once a program, ahead of the block loops.
  virtual void begin(ProgramContext &context) {}
  /// The scores with this stage's contribution, in every block. Default: unchanged.
  virtual mlir::Value score(ProgramContext &context, const ScoreTile &tile) { return tile.scores; }
  /// Which elements are visible (i1 tile), in every block; null if the stage hides nothing.
  virtual mlir::Value visibleAnywhere(ProgramContext &context, const ScoreTile &tile) { return {}; }
  /// Which elements are visible (i1 tile), in partial blocks only; null if the stage hides nothing.
  virtual mlir::Value visible(ProgramContext &context, const ScoreTile &tile) { return {}; }
  /// The scores where they are visible, else -inf, in partial blocks. Default: what `visible` says.
  virtual mlir::Value hide(ProgramContext &context, const ScoreTile &tile, mlir::Value scores);
};

/// The keys that a program visits: block b holds those from firstKey + b * block_n on.
struct VisitedKeys {
  mlir::Value firstKey; ///< index: key column of block 0; null if it is 0
  mlir::Value endKey;   ///< index: the first key column that no row of the program sees any more
  KeyBlockRanges<IrInt> blocks;
};

/// A stage whose mask is, for each row, an interval of key columns: up to limit(row), and from 0 or, with a window, its
/// left edge; cut to the row's bounds, if there are any. There is exactly one in a program. Neither end decreases with
/// the row, so the extremes over a row block are those of its first and last row.
class IntervalMask : public ScoreStage {
public:
  /// First hidden key column of one row (an index inside the sequence), as an index.
  virtual IrInt limitOf(ProgramContext &context, mlir::Value row) = 0;
  /// The same for all rows of this program: rank-1 i32 tile. Rows past the sequence get any value.
  virtual mlir::Value limits(ProgramContext &context) = 0;

  void begin(ProgramContext &context) override;
  /// What lies before each row's end; hideBeforeStart is the other side.
  mlir::Value visible(ProgramContext &context, const ScoreTile &tile) override;
  mlir::Value hide(ProgramContext &context, const ScoreTile &tile, mlir::Value scores) override;
  /// The scores with -inf before their row's start, where rows may begin to see keys after the first.
  mlir::Value hideBeforeStart(ProgramContext &context, const ScoreTile &tile, mlir::Value scores);
  /// First visible key column of one row, as an index, and the first hidden one after it (at most; or before it, where
  /// the row sees nothing).
  IrInt startOf(ProgramContext &context, mlir::Value row);
  IrInt endOf(ProgramContext &context, mlir::Value row);
  /// Key blocks that this program visits, by the one definition in BlockRanges.h.
  VisitedKeys visited(ProgramContext &context);

private:
  /// A bound (0 begins, 1 ends) of one row, as an index.
  IrInt boundOf(ProgramContext &context, int64_t which, mlir::Value row);

  mlir::Value ends_, starts_; ///< rank-1 tiles of i32; no starts if rows begin with the first key
  mlir::Value bounds_[2]; ///< views of this batch entry's row bounds
};

std::unique_ptr<ScoreStage> makeScaleStage();
std::unique_ptr<ScoreStage> makeSoftcap(mlir::Value cap);
std::unique_ptr<ScoreStage> makeAlibi(TensorArg slopes);
std::unique_ptr<ScoreStage> makeAddedTensor(llvm::StringRef name, TensorArg tensor, attn::ScoreOperand kind);
std::unique_ptr<ScoreStage> makeBoolMask(TensorArg tensor, attn::ScoreOperand kind);
std::unique_ptr<ScoreStage> makeKeyPadding(TensorArg tensor);
std::unique_ptr<IntervalMask> makeSequenceEndMask();
std::unique_ptr<IntervalMask> makeCausalMask();
std::unique_ptr<IntervalMask> makeGlmBreakMask();
std::unique_ptr<IntervalMask> makeGlmPackedMask();

/// The stages of a problem in the order of the contract, and the one among them that bounds the block loop.
struct StageList {
  std::vector<std::unique_ptr<ScoreStage>> stages;
  IntervalMask *interval = nullptr;
  /// No stage but the scale changes visible scores: L is scale * (q.k).
  bool onlyScaled = true;
};
StageList makeStages(ProgramBuilder &builder, const ForwardProgram &program);

} // namespace tilewright::kernels

#endif // TILEWRIGHT_KERNELS_SCORESTAGE_H
