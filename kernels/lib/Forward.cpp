// SPDX-License-Identifier: Apache-2.0
//
// The forward tile program: online softmax over key blocks (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018; blocked as in FlashAttention). For a block of query rows it keeps the row maximum m, the row sum l of
// exp(L - m) and the unnormalised output, and rescales the latter two when m grows.
//
// Score tiles stand in either orientation. With queries as rows the program is S = Q K^T, O += P V; with keys as rows
// it is S^T = K Q^T, O^T += V^T P^T, and Q and O are transposed once a program. Statistics are rank-1 tiles over
// queries in both, so nothing else differs.
#include "../stages/Dropout.h"
#include "tilewright/kernels/Programs.h"
#include "tilewright/kernels/ScoreStage.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include <limits>
#include <numbers>
#include <optional>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::kernels;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

/// Partial sums of a row that a block loop carries where matrix instructions multiply: the width of their fragments.
constexpr int64_t kPartialSums = 8;

/// Loop-carried state of a row block. Scores here are L of semantics A1, or, where nothing but the scale stands between
/// the product and L, the product itself: the maximum of one is where the maximum of the other is, and the scale joins
/// the factor log2(e) of the exponent, a multiplication an element less.
///
/// With matrix instructions m is the row's reference instead: a number near the maximum, see stepMatrix.
struct Softmax {
  Value m;   ///< row maximum of the scores so far, (block_m), -inf before any
  Value l;   ///< row sum of exp(L - max L), (block_m); with matrix instructions (block_m, 8) partial sums
  Value acc; ///< unnormalised output: (block_m, head_dim_v), or transposed
};

/// The keys of a step: tiles that were loaded ahead of it, or nulls where the step loads them itself.
struct KeyBlock {
  Value firstKey; ///< index: the column of the first
  Value keys, values;
};

/// What is known of a block's padding.
struct PaddingOfBlock {
  Value padded; ///< i1: there is padding between real keys; null without a padding mask
  Value real;   ///< i1: there are real keys; null where nobody looked
};

/// What a loop over key blocks does about the mask.
struct Masking {
  bool possible = false; ///< some of its blocks are partial
  Value when;            ///< i1, which ones: null if all are
  PaddingOfBlock padding;
  /// i1: the block has keys before some row's start, or behind some row's end, or both, which few have. Null where
  /// partial blocks are cut on both sides alike.
  Value starts = {}, ends = {};
  /// i1: only one half of the program's rows sees keys of the block, and whether it is the second one. Nulls where
  /// nobody asks.
  Value oneHalf = {}, upperHalf = {};
};

class Forward {
public:
  Forward(ProgramBuilder &b, const ForwardProgram &p, const ProgramShape &shape)
      : b(b), p(p), blockM(shape.blockM), blockN(shape.blockN),
        stages(makeStages(b, p)), context(b, shape), dropout(p.dropout) {}

  void build();

private:
  Value headsAtOnce();
  /// Intervals of rows come from documents, not from padding.
  bool documentsAlone() const { return p.rowBounds && !p.keyPadding; }
  void placeProgram();
  Value operand(Value tile);
  Value makeExponentFactor();
  Value loadQueries();
  Value loadKeyBlock(Value view, Value firstKey, int64_t width, bool masked);
  Value loadValueBlock(Value firstKey, const Masking &masking);
  PaddingOfBlock lookAtPadding(Value block, bool passes);
  Value firstKeyOf(Value block);
  Value scores(Value queries, const KeyBlock &block, const Masking &masking);
  Value hide(const ScoreTile &tile, const Masking &masking);
  using MakeValues = llvm::function_ref<SmallVector<Value>()>;
  SmallVector<Value> branch(Value condition, TypeRange types, MakeValues then, MakeValues otherwise);
  Value valueIf(Value condition, Value otherwise, llvm::function_ref<Value()> then);
  Softmax step(const Softmax &state, Value queries, const KeyBlock &block, const Masking &masking);
  Softmax stepMatrix(const Softmax &state, Value queries, const KeyBlock &block, const Masking &masking);
  Softmax stepOfRing(const Softmax &state, Value queries, Value firstKey, const Masking &masking);
  Softmax partialStep(const Softmax &state, Value queries, const KeyBlock &block, const Masking &masking);
  Softmax stepIfReal(const Softmax &state, Value queries, const KeyBlock &block, const Masking &masking);
  Softmax choose(Value condition, const Softmax &state, llvm::function_ref<Softmax()> then,
                 llvm::function_ref<Softmax()> otherwise);
  /// Of a block, and what the loop knows of its padding (else nulls).
  using MakeMasking = llvm::function_ref<Masking(Value block, PaddingOfBlock padding)>;
  Softmax loop(const Softmax &state, Value queries, IrInt begin, IrInt end, MakeMasking masking);
  /// The probabilities that products take: some dropped.
  Value dropped(Value probabilities, Value firstKey);
  Value finiteReference(Value m);
  void makeViews();
  void findHalves();
  void store(const Softmax &state, Value empty, Value inverse);
  void storeProbs(const Softmax &state, Value inverse, Value queries);
  Value logSumExp(const Softmax &state);

  bool keysAreRows() const { return context.keysAreRows(); }
  /// Where this program's batch entry and head begin in a tensor of queries, whose dimensions of heads and rows these
  /// are.
  SmallVector<std::pair<unsigned, Value>> place(unsigned headDim, unsigned rowDim) const {
    SmallVector<std::pair<unsigned, Value>> coordinates{{0, context.batch}, {headDim, head}};
    if (sequence.beginQ) {
      coordinates.emplace_back(rowDim, sequence.beginQ);
    }
    return coordinates;
  }
  SmallVector<int64_t, 2> outputShape() const {
    return keysAreRows() ? SmallVector<int64_t, 2>{p.headDimV, blockM} : SmallVector<int64_t, 2>{blockM, p.headDimV};
  }

  ProgramBuilder &b;
  const ForwardProgram &p;
  int64_t blockM, blockN;
  StageList stages;
  ProgramContext context;
  Dropout dropout;
  Sequence sequence;
  Value zero, head, kvHead, keys, values;
  std::optional<HoleBlocks<IrInt>> holes; ///< blocks that may have padding between real keys; none without such a mask
  VisitedKeys visited; ///< by this program
  std::optional<HalfBlocks<IrInt>> halves; ///< blocks that one half of its rows sees; none where nobody asks
  Value exponentFactor; ///< f32: exp(L - max L) is exp2((score - m) * exponentFactor)
};

/// How many heads' programs of the same rows start one after the other: as many as have keys and values that fit in a
/// part of the L2 cache.
Value Forward::headsAtOnce() {
  auto keysIn = [&](int64_t bytes) { return std::max<int64_t>(bytes / (2 * (p.headDim + p.headDimV)), 1); };
  if (context.shape.persistent) {
    constexpr int64_t bytes = 16 << 20; // of an H100's 50 MiB, of which an SM has half nearby
    Value heads = arith::DivUIOp::create(b, b.indexConstant(keysIn(bytes)), p.seqlenK);
    return maxOf({&b, heads}, {&b, b.indexConstant(1)}).value;
  }
  // A power of two, found without dividing: each block does this ahead of everything else, and divides by it. Rows of
  // documents see few of a head's keys, and how much work they have follows no order: the more heads, the better.
  const int64_t keys = keysIn(documentsAlone() ? 128 << 20 : 32 << 20);
  Value seqlenK = b.toI32(p.seqlenK), exponent = b.intLike(seqlenK.getType(), 0);
  for (int64_t most = 2; most <= 64; most *= 2) {
    Value fits = b.lessI(seqlenK, b.intLike(seqlenK.getType(), keys / most + 1));
    exponent = b.add(exponent, arith::ExtUIOp::create(b, seqlenK.getType(), fits));
  }
  Value one = b.indexConstant(1);
  return arith::ShLIOp::create(b, one, b.toIndex(exponent));
}

void Forward::placeProgram() {
  zero = b.indexConstant(0);
  Value blocks = ceilDiv({&b, p.seqlenQ}, blockM).value;
  SmallVector<Type> types(3, b.getIndexType());
  // Later rows see more under every mask but none, where the order is free. Of documents nobody knows; their rows take
  // the same order, for the sake of many heads at once: no few rows with much work are left for the end.
  const bool heavyLast = p.features.mask != attn::MaskKind::None || documentsAlone();
  auto coords = tile::CoordsOp::create(b, types, ValueRange{blocks, p.heads},
                                       heavyLast && context.shape.storageOperands ? headsAtOnce() : Value(), heavyLast);
  head = coords.getResult(1);
  kvHead = arith::DivUIOp::create(b, head, p.headsPerKv);

  Value one = b.indexConstant(1);
  context.batch = coords.getResult(2);
  context.head = head;
  context.firstRow = b.mul(coords.getResult(0), b.indexConstant(blockM));
  sequence = sequenceOf(b, p.sequences, context.batch, p.seqlenQ, p.seqlenK);
  context.finalRow = b.sub(sequence.lengthQ, one);
  context.seqlenQ = sequence.lengthQ;
  context.seqlenK = sequence.lengthK;
  context.extentQ = p.seqlenQ;
  context.extentK = p.seqlenK;
  if (sequence.beginQ) {
    // Rows past this sequence's end, where a longer one has rows: without keys their program visits no block and stores
    // nothing. Tables are still read at some row, which must be one of theirs.
    context.finalRow = maxOf({&b, context.finalRow}, {&b, zero}).value;
    Value some = b.lessI(context.firstRow, sequence.lengthQ);
    context.seqlenK = b.select(some, sequence.lengthK, zero);
  }
  IrInt blockEnd = IrInt{&b, context.firstRow} + (blockM - 1);
  context.lastRow = p.evenM ? blockEnd.value : minOf(blockEnd, {&b, context.finalRow}).value;
  auto moved = [&](Value offset) { return offset && sequence.offset ? b.add(offset, sequence.offset) : offset; };
  context.causalOffset = moved(p.causalOffset);
  context.windowOffset = moved(p.windowOffset);
  context.positionOffset = moved(p.positionOffset);
  context.rowBounds = p.rowBounds;
  context.scale = p.scale;
  context.limits = p.limits;
  context.evenM = p.evenM;
}

/// A loaded tile as products take it: float32, or the tensors' own type where matrix instructions multiply that.
Value Forward::operand(Value tile) { return context.shape.storageOperands ? tile : b.widen(tile); }

/// The query block, transposed if keys are rows.
Value Forward::loadQueries() {
  Value view = b.view(p.q, {1, 3}, {context.seqlenQ, b.indexConstant(p.headDim)}, place(2, 1));
  Value queries = operand(b.load(view, {context.firstRow, zero}, {!p.evenM, false}, {blockM, p.headDim}));
  return keysAreRows() ? b.transpose(queries) : queries;
}

/// A block of keys or values. In masked blocks rows past the view's end read as 0, so that what lies there
/// (another sequence, NaN, nothing) never enters a product.
Value Forward::loadKeyBlock(Value view, Value firstKey, int64_t width, bool masked) {
  return operand(b.load(view, {context.fromView(firstKey), zero}, {masked, false}, {blockN, width}));
}

/// Values at padded keys read as 0 too.
Value Forward::loadValueBlock(Value firstKey, const Masking &masking) {
  return operand(b.load(values, {context.fromView(firstKey), zero}, {masking.possible, false}, {blockN, p.headDimV},
                        masking.padding.padded ? context.realKeys : Value(), masking.padding.padded));
}

/// Looks only where there may be padding between real keys, and for real keys only if a block without any is passed.
PaddingOfBlock Forward::lookAtPadding(Value block, bool passes) {
  Type i1 = b.getI1Type();
  auto look = [&] {
    Value first = context.fromView(firstKeyOf(block));
    Value all = tile::AllSetOp::create(b, i1, context.realKeys, first, b.getI64IntegerAttr(blockN));
    Value yes = arith::ConstantOp::create(b, b.getBoolAttr(true));
    SmallVector<Value> found{arith::XOrIOp::create(b, all, yes)};
    if (passes) {
      found.push_back(tile::AnySetOp::create(b, i1, context.realKeys, first, b.getI64IntegerAttr(blockN)));
    }
    return found;
  };
  auto known = [&] {
    SmallVector<Value> answers{arith::ConstantOp::create(b, b.getBoolAttr(false))};
    if (passes) {
      answers.push_back(arith::ConstantOp::create(b, b.getBoolAttr(true)));
    }
    return answers;
  };
  Value behindBegin = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, block, holes->begin.value);
  Value mayHaveHoles = b.andI(behindBegin, b.lessI(block, holes->end.value));
  SmallVector<Value> found = branch(mayHaveHoles, SmallVector<Type>(passes ? 2 : 1, i1), look, known);
  return {found[0], passes ? found[1] : Value()};
}

/// The column of a visited block's first key.
Value Forward::firstKeyOf(Value block) {
  Value key = b.mul(block, b.indexConstant(blockN));
  return visited.firstKey ? b.add(visited.firstKey, key) : key;
}

/// The scores with what is hidden at -inf: all of it, or, behind branches, only on the sides where the block has any.
Value Forward::hide(const ScoreTile &tile, const Masking &masking) {
  auto sides = [&] {
    Value scores = tile.scores;
    for (const auto &stage : stages.stages) {
      scores = stage->hide(context, tile, scores);
    }
    return scores;
  };
  auto fromStart = [&](Value scores) { return stages.interval->hideBeforeStart(context, tile, scores); };
  if (masking.starts) {
    Value scores = valueIf(masking.ends, tile.scores, sides);
    return valueIf(masking.starts, scores, [&] { return fromStart(scores); });
  }
  return context.hasStart() ? fromStart(sides()) : sides();
}

/// A branch of all threads.
SmallVector<Value> Forward::branch(Value condition, TypeRange types, MakeValues then, MakeValues otherwise) {
  auto ifOp = scf::IfOp::create(b, types, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  for (auto [block, make] : {std::pair{ifOp.thenBlock(), then}, {ifOp.elseBlock(), otherwise}}) {
    b.setInsertionPointToStart(block);
    SmallVector<Value> values = make();
    scf::YieldOp::create(b, values);
  }
  return SmallVector<Value>(ifOp.getResults());
}

Value Forward::valueIf(Value condition, Value otherwise, llvm::function_ref<Value()> then) {
  return branch(
             condition, otherwise.getType(), [&] { return SmallVector<Value>{then()}; },
             [&] { return SmallVector<Value>{otherwise}; })
      .front();
}

Value Forward::scores(Value queries, const KeyBlock &block, const Masking &masking) {
  Value firstKey = block.firstKey;
  Value keyTile = block.keys ? block.keys : loadKeyBlock(keys, firstKey, p.headDim, masking.possible);
  SmallVector<int64_t, 2> shape = context.scoreShape();
  Value product = keysAreRows() ? b.dot(keyTile, queries, b.fill(shape, 0.0f), false, false)
                                : b.dot(queries, keyTile, b.fill(shape, 0.0f), false, true);
  Value columns = tile::IndexOp::create(b, b.tileType(shape, b.getI32Type()), b.toI32(firstKey), context.keyAxis());
  ScoreTile tile{product, columns, firstKey, masking.possible};
  if (!stages.onlyScaled) {
    for (const auto &stage : stages.stages) {
      tile.scores = stage->score(context, tile);
    }
  }
  for (const auto &stage : stages.stages) {
    if (Value visible = stage->visibleAnywhere(context, tile)) {
      tile.scores = b.hideUnless(visible, tile.scores);
    }
  }
  if (!masking.possible) {
    return tile.scores;
  }
  if (!masking.when || masking.starts) {
    return hide(tile, masking);
  }
  return valueIf(masking.when, tile.scores, [&] { return hide(tile, masking); });
}

Value Forward::dropped(Value probabilities, Value firstKey) {
  if (!dropout) {
    return probabilities;
  }
  return b.select(dropout.keeps(context, firstKey), probabilities, b.fill(context.scoreShape(), 0.0f));
}

/// What scores are subtracted from: m, or 0 in rows that have seen nothing, whose m is -inf: -inf - -inf would be NaN.
Value Forward::finiteReference(Value m) {
  Value unseen = b.equalF(m, b.fill({blockM}, -kInf));
  return b.select(unseen, b.fill({blockM}, 0.0f), m);
}

Softmax Forward::step(const Softmax &state, Value queries, const KeyBlock &block, const Masking &masking) {
  SmallVector<int64_t, 2> shape = context.scoreShape();
  Value s = scores(queries, block, masking);

  // One operation a statement: in which order a call's arguments are evaluated, and so the order of operations in the
  // IR, is otherwise the host compiler's choice.
  Value m = b.maxKeepSecond(b.reduce(tile::ReduceKind::Max, s, context.keyAxis()), state.m);
  Value safe = finiteReference(m);
  Value decrease = b.sub(state.m, safe);
  Value alpha = b.exp2(b.mul(decrease, b.splat(exponentFactor, {blockM})));
  Value rescaledSum = b.mul(state.l, alpha);
  // Subtract before scaling: finite scores of any size keep finite differences (semantics A1).
  Value difference = b.sub(s, context.broadcastQueries(safe));
  Value probabilities = b.exp2(b.mul(difference, b.splat(exponentFactor, shape)));
  Value l = b.add(rescaledSum, b.reduce(tile::ReduceKind::Sum, probabilities, context.keyAxis()));

  probabilities = dropped(probabilities, block.firstKey);
  Value valueTile = loadValueBlock(block.firstKey, masking);
  // Each block's product is summed from zero: one chain of additions through all keys would lose a digit of float32
  // by a few thousand of them.
  Value none = b.fill(outputShape(), 0.0f);
  Value product = keysAreRows() ? b.dot(valueTile, probabilities, none, true, false)
                                : b.dot(probabilities, valueTile, none, false, false);
  Value kept = b.mul(state.acc, b.broadcast(alpha, keysAreRows() ? 0 : 1, outputShape()));
  return {m, l, b.add(kept, product)};
}

/// The step for matrix instructions, where every operation on an element counts.
///
/// The reference m need not be the maximum: any number near it divides out again. So it moves only when the maximum's
/// weight would exceed 2^8, which after a row's first blocks is rare, and the accumulator's rescaling is skipped else.
/// Weights stay far inside the range of float16.
Softmax Forward::stepMatrix(const Softmax &state, Value queries, const KeyBlock &block, const Masking &masking) {
  Value s = scores(queries, block, masking);

  Value factor = b.splat(exponentFactor, {blockM});
  Value top = b.reduce(tile::ReduceKind::Max, s, context.keyAxis());
  Value rise = b.mul(b.sub(top, state.m), factor);
  // Ordered: a row of NaN keeps its reference, and its weights are NaN all the same; so does one that has seen nothing.
  Value m = b.select(b.greaterF(rise, b.fill({blockM}, 8.0f)), top, state.m);
  Value reference = finiteReference(m);
  // Exactly 1 where the reference stays.
  Value alpha = b.exp2(b.mul(b.sub(state.m, reference), factor));
  // Before the weights: their exponentials can then run beside the products that take them.
  Value kept = b.rescale(state.acc, alpha);
  Value keptSum = b.mul(state.l, b.broadcast(alpha, 1, {blockM, kPartialSums}));
  Value probabilities = b.exp2(b.scaledDifference(s, reference, exponentFactor));
  Value l = b.fold(probabilities, keptSum);

  // The products add to the rescaled accumulator: another set of registers for the block's own would not fit, and
  // 16-bit operands round far more than the chain of additions does.
  probabilities = dropped(probabilities, block.firstKey);
  Value valueTile = block.values ? block.values : loadValueBlock(block.firstKey, masking);
  Value weights = b.narrow(probabilities, cast<RankedTensorType>(valueTile.getType()).getElementType());
  return {m, l, b.dot(weights, valueTile, kept, false, false)};
}

/// The step, or nothing where all keys of the block are padding: its weights would be 0, and the reference and the sums
/// stay what they are.
Softmax Forward::stepIfReal(const Softmax &state, Value queries, const KeyBlock &block, const Masking &masking) {
  if (!masking.padding.real) {
    return stepMatrix(state, queries, block, masking);
  }
  return choose(
      masking.padding.real, state, [&] { return stepMatrix(state, queries, block, masking); }, [&] { return state; });
}

/// A branch of all threads, between what two steps make of `state`.
Softmax Forward::choose(Value condition, const Softmax &state, llvm::function_ref<Softmax()> then,
                        llvm::function_ref<Softmax()> otherwise) {
  auto values = [](const Softmax &made) { return SmallVector<Value>{made.m, made.l, made.acc}; };
  SmallVector<Value> old = values(state);
  SmallVector<Value> chosen = branch(
      condition, ValueRange(old).getTypes(), [&] { return values(then()); }, [&] { return values(otherwise()); });
  return {chosen[0], chosen[1], chosen[2]};
}

/// The step of a block that the mask cuts: where only one half of the rows sees some of its keys, that half's work.
Softmax Forward::partialStep(const Softmax &state, Value queries, const KeyBlock &block, const Masking &masking) {
  if (!masking.oneHalf) {
    return stepIfReal(state, queries, block, masking);
  }
  auto half = [&] {
    SmallVector<Value> kept{state.m, state.l, state.acc};
    auto op = tile::OnHalfOp::create(b, ValueRange(kept).getTypes(), masking.upperHalf, kept);
    OpBuilder::InsertionGuard guard(b);
    b.createBlock(&op.getBody());
    Softmax next = stepMatrix(state, queries, block, masking);
    tile::YieldOp::create(b, ValueRange{next.m, next.l, next.acc});
    return Softmax{op.getResult(0), op.getResult(1), op.getResult(2)};
  };
  return choose(masking.oneHalf, state, half, [&] { return stepMatrix(state, queries, block, masking); });
}

/// The step of a ring's block: keys and values are loaded ahead of its branches.
Softmax Forward::stepOfRing(const Softmax &state, Value queries, Value firstKey, const Masking &masking) {
  Masking ahead = masking;
  const auto [padded, real] = masking.padding;
  if (real) {
    ahead.padding.padded = arith::AndIOp::create(b, padded, real); // nobody reads the values of a passed block
  }
  KeyBlock block{firstKey, loadKeyBlock(keys, firstKey, p.headDim, /*masked=*/true), loadValueBlock(firstKey, ahead)};
  if (!context.shape.twoBodies) {
    return stepIfReal(state, queries, block, masking);
  }
  return choose(
      masking.when, state,
      [&] {
        Masking partial = masking;
        partial.when = {};
        return partialStep(state, queries, block, partial);
      },
      [&] { return stepMatrix(state, queries, block, Masking{}); });
}

Softmax Forward::loop(const Softmax &state, Value queries, IrInt begin, IrInt end, MakeMasking makeMasking) {
  SmallVector<Value> start{state.m, state.l, state.acc};
  // Whether a block has padding is found out at the end of the step before, where threads wait for each other anyway:
  // nothing of its own step could run beside the look into the mask.
  const bool looksAhead = holes && context.shape.storageOperands;
  // A bias or mask tensor is copied ahead too, but only where it is read outside of branches.
  const bool tensor =
      p.features.bias != attn::ScoreOperand::None || p.features.attnMask != attn::ScoreOperand::None;
  const bool passes = looksAhead && !tensor && (context.shape.twoBodies || context.shape.ring);
  auto carry = [&](SmallVector<Value> &values, Value block) {
    PaddingOfBlock found = lookAtPadding(block, passes);
    values.push_back(found.padded);
    if (passes) {
      values.push_back(found.real);
    }
  };
  if (looksAhead) {
    carry(start, begin.value);
  }
  Value one = b.indexConstant(1);
  auto loop = scf::ForOp::create(b, begin.value, end.value, one, start);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value firstKey = firstKeyOf(loop.getInductionVar());
  ValueRange carried = loop.getRegionIterArgs();
  Softmax before{carried[0], carried[1], carried[2]};
  PaddingOfBlock padding;
  if (looksAhead) {
    padding = {carried[3], passes ? carried[4] : Value()};
  }
  Masking masking = makeMasking(loop.getInductionVar(), padding);
  const bool branches = passes || (masking.when && !tensor && context.shape.twoBodies);
  Softmax next = branches                        ? stepOfRing(before, queries, firstKey, masking)
                 : context.shape.storageOperands ? stepMatrix(before, queries, {firstKey, {}, {}}, masking)
                                                 : step(before, queries, {firstKey, {}, {}}, masking);
  SmallVector<Value> after{next.m, next.l, next.acc};
  if (looksAhead) {
    carry(after, b.add(loop.getInductionVar(), one));
  }
  scf::YieldOp::create(b, after);
  return {loop.getResult(0), loop.getResult(1), loop.getResult(2)};
}

/// The probabilities of all keys, hidden ones too (0), row by row and block by block: scores once more, now that the
/// statistics are known. Past the end of a shorter sequence all is 0.
void Forward::storeProbs(const Softmax &state, Value inverse, Value queries) {
  SmallVector<int64_t, 2> shape = context.scoreShape();
  std::pair<unsigned, Value> place[] = {{0, context.batch}, {1, head}};
  Value view = keysAreRows() ? b.view(p.probs, {3, 2}, {p.seqlenK, p.seqlenQ}, place)
                             : b.view(p.probs, {2, 3}, {p.seqlenQ, p.seqlenK}, place);
  if (sequence.beginQ) {
    Value inside = b.lessI(context.queryRows(), context.perQuery(context.seqlenQ).value);
    inverse = b.select(inside, inverse, b.fill({blockM}, 0.0f));
  }
  Value reference = finiteReference(state.m);
  Value blocks = ceilDiv({&b, p.seqlenK}, blockN).value;
  auto loop = scf::ForOp::create(b, zero, blocks, b.indexConstant(1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value firstKey = b.mul(loop.getInductionVar(), b.indexConstant(blockN));
  Value s = scores(queries, {firstKey, {}, {}}, Masking{true, {}, {}});
  Value difference = b.sub(s, context.broadcastQueries(reference));
  Value weights = b.exp2(b.mul(difference, b.splat(exponentFactor, shape)));
  Value probabilities = b.mul(weights, context.broadcastQueries(inverse));
  if (dropout) {
    Value negative = b.sub(b.fill(shape, 0.0f), probabilities);
    probabilities = b.select(dropout.keeps(context, firstKey), probabilities, negative);
  }
  probabilities = b.narrow(probabilities, cast<tile::ViewType>(view.getType()).getElementType());
  if (keysAreRows()) {
    b.store(probabilities, view, {firstKey, context.firstRow}, {true, true});
  } else {
    b.store(probabilities, view, {context.firstRow, firstKey}, {true, true});
  }
}

void Forward::store(const Softmax &state, Value empty, Value inverse) {
  if (dropout) {
    inverse = b.mul(inverse, b.splat(dropout.scale(), {blockM}));
  }
  Value out = b.mul(state.acc, b.broadcast(inverse, keysAreRows() ? 0 : 1, outputShape()));
  if (keysAreRows()) {
    out = b.transpose(out);
  }
  Value view = b.view(p.out, {1, 3}, {context.seqlenQ, b.indexConstant(p.headDimV)}, place(2, 1));
  out = b.narrow(out, cast<tile::ViewType>(view.getType()).getElementType());
  b.store(out, view, {context.firstRow, zero}, {!p.evenM, false});

  Value wanted = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, p.writeLse, zero);
  auto ifOp = scf::IfOp::create(b, wanted, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  Value lse = b.select(empty, b.fill({blockM}, -kInf), logSumExp(state));
  Value lseView = b.view(p.lse, {2}, {context.seqlenQ}, place(1, 2));
  b.store(lse, lseView, {context.firstRow}, {!p.evenM});
}

/// Natural logarithm of the sum of exp(L), (block_m), for rows that saw something; `state.l` is the whole sum.
Value Forward::logSumExp(const Softmax &state) {
  Value logSum = b.mul(b.log2(state.l), b.fill({blockM}, std::numbers::ln2_v<float>));
  Value maximum = stages.onlyScaled ? b.mul(state.m, b.splat(p.scale, {blockM})) : state.m;
  return b.add(maximum, logSum);
}

/// A scale of 0 must not meet the -inf of a hidden entry in a product: 0 * -inf is NaN. With the smallest positive
/// number instead, hidden entries still weigh nothing, and visible ones the same: times any finite difference it is
/// below 1e-6. The smallest normal number would not do: times 1e37 it is 0.1.
Value Forward::makeExponentFactor() {
  auto f32 = [&](float value) { return arith::ConstantOp::create(b, b.getF32FloatAttr(value)).getResult(); };
  Value log2e = f32(std::numbers::log2e_v<float>);
  if (!stages.onlyScaled) {
    return log2e;
  }
  Value factor = b.mul(p.scale, log2e);
  return arith::MaximumFOp::create(b, factor, f32(std::numeric_limits<float>::denorm_min()));
}

/// Views of this head's keys and values hold what some row of the sequence sees, from where its first row begins to
/// where its last one ends: the rest is never read (semantics A5). Where blocks are counted from the first key that the
/// program's own rows see, views hold what those see, and there is less to find out and to keep.
void Forward::makeViews() {
  SmallVector<std::pair<unsigned, Value>> where{{0, context.batch}, {2, kvHead}};
  const bool start = context.hasStart(), ownKeys = start && context.keyStep == 1;
  IrInt visibleEnd = ownKeys ? IrInt{&b, visited.endKey} : stages.interval->endOf(context, context.finalRow);
  if (start) {
    context.visibleBegin = ownKeys ? visited.firstKey : stages.interval->startOf(context, zero).value;
    visibleEnd = maxOf(visibleEnd - IrInt{&b, context.visibleBegin}, {&b, zero});
    where.emplace_back(1, context.visibleBegin);
  }
  if (sequence.beginK) {
    where.emplace_back(1, sequence.beginK);
  }
  keys = b.view(p.k, {1, 3}, {visibleEnd.value, b.indexConstant(p.headDim)}, where);
  values = b.view(p.v, {1, 3}, {visibleEnd.value, b.indexConstant(p.headDimV)}, where);
  if (p.keyPadding) {
    context.realKeys = b.view(p.keyPadding, {1}, {visibleEnd.value}, {{0, context.batch}, {1, context.visibleBegin}});
    auto bound = [&](int64_t which) -> IrInt {
      Value view = b.view(p.rowBounds, {2}, {context.seqlenQ}, {{0, context.batch}, {1, b.indexConstant(which)}});
      return {&b, b.toIndex(b.loadScalar(view, {context.firstRow}))};
    };
    IrInt begin = bound(2), end = bound(3);
    holes = holeBlocks(begin, end, {&b, visited.firstKey ? visited.firstKey : zero}, blockN);
  }
}

/// Of blocks on a mask's edge one half of the rows may see nothing. Where such blocks have a step of their own, it
/// asks. Padding cuts all rows alike. With more than masks no schedule of the table has two bodies, and nobody has
/// measured what a third one would bring.
void Forward::findHalves() {
  const bool rowsDiffer = p.features.mask != attn::MaskKind::None || context.hasStart();
  const bool masksAlone = stages.onlyScaled && !dropout && !p.keyPadding;
  if (!context.shape.halves || !rowsDiffer || !masksAlone) {
    return;
  }
  const int64_t half = blockM / 2;
  IrInt first{&b, context.firstRow}, last{&b, context.lastRow};
  IrInt lowerEnd = stages.interval->endOf(context, minOf(first + (half - 1), last).value);
  IrInt upperStart = stages.interval->startOf(context, minOf(first + half, last).value);
  halves = halfBlocks(lowerEnd, upperStart, {&b, visited.firstKey ? visited.firstKey : zero}, blockN);
}

void Forward::build() {
  placeProgram();
  exponentFactor = makeExponentFactor();
  for (const auto &stage : stages.stages) {
    stage->begin(context);
  }
  if (dropout) {
    dropout.begin(context, p.heads);
  }
  // What lies over scores is copied and drawn in units: 16 bytes of a row, 32 columns of random bits.
  context.keyStep = stages.onlyScaled && !dropout ? 1 : 32;
  visited = stages.interval->visited(context);
  const KeyBlockRanges<IrInt> &ranges = visited.blocks;
  makeViews();
  findHalves();

  Value queries = loadQueries();
  Value noSum = context.shape.storageOperands ? b.fill({blockM, kPartialSums}, 0.0f) : b.fill({blockM}, 0.0f);
  Softmax state{b.fill({blockM}, -kInf), noSum, b.fill(outputShape(), 0.0f)};
  const bool start = context.hasStart();
  bool anyPartial = p.features.mask != attn::MaskKind::None || start || !p.evenN;
  auto none = [](Value, PaddingOfBlock) { return Masking{}; };
  if (!anyPartial) {
    state = loop(state, queries, ranges.begin, ranges.end, none);
  } else if (context.shape.storageOperands) {
    // One loop, which asks in every block: around the mask alone or, with two bodies, around the whole step. A branch
    // within the step ends the overlap of a block's products with the maxima of its scores (up to 6 percent of the time
    // at head dim 64, nothing at 128); a second body costs code and compile time, and at 128 registers, which blocks
    // that one half of the rows sees pay back where rows see few keys. A branch around scores and maxima and no more
    // was slower than either, and loops of their own for full and partial blocks would be one body more.
    auto masking = [&](Value block, PaddingOfBlock padding) {
      Value partial = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, block, ranges.fullEnd.value);
      if (!start) {
        return Masking{true, padding.padded ? arith::OrIOp::create(b, padding.padded, partial) : partial, padding};
      }
      Value starts = b.lessI(block, ranges.fullBegin.value);
      partial = arith::OrIOp::create(b, starts, partial);
      if (padding.padded) {
        return Masking{true, arith::OrIOp::create(b, padding.padded, partial), padding};
      }
      Value ends = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, block, ranges.cutFrom.value);
      return Masking{true, partial, padding, starts, ends};
    };
    state = loop(state, queries, ranges.begin, ranges.end, [&](Value block, PaddingOfBlock padding) {
      Masking of = masking(block, padding);
      if (halves) {
        of.upperHalf = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, block, halves->upperFrom.value);
        of.oneHalf = of.upperHalf;
        if (start) {
          of.oneHalf = arith::OrIOp::create(b, of.upperHalf, b.lessI(block, halves->lowerUpTo.value));
        }
      }
      return of;
    });
  } else {
    Value anyHoles = holes ? b.lessI(zero, holes->end.value) : Value();
    auto all = [&](Value, PaddingOfBlock) { return Masking{true, {}, {anyHoles, {}}}; };
    if (holes) {
      state = loop(state, queries, ranges.begin, ranges.end, all);
    } else if (start) {
      state = loop(state, queries, ranges.begin, ranges.fullBegin, all);
    }
    if (!holes) {
      state = loop(state, queries, ranges.fullBegin, ranges.fullEnd, none);
      state = loop(state, queries, ranges.fullEnd, ranges.end, all);
    }
  }

  if (context.shape.storageOperands) {
    state.l = b.reduce(tile::ReduceKind::Sum, state.l, 1);
  }
  // l is 0 exactly for rows that saw nothing: output 0 and LSE -inf (semantics A5).
  Value empty = b.equalF(state.l, b.fill({blockM}, 0.0f));
  Value one = b.fill({blockM}, 1.0f);
  // With 16-bit outputs behind it: a correctly rounded division has a rare branch of its own for each of a thread's
  // rows, one after the other.
  Value reciprocal = context.shape.storageOperands ? b.divideFast(one, state.l) : b.divF(one, state.l);
  Value inverse = b.select(empty, b.fill({blockM}, 0.0f), reciprocal);
  if (p.probs) {
    storeProbs(state, inverse, queries); // before the output, whose store may take the queries' memory
  }
  store(state, empty, inverse);
}

} // namespace

ForwardFeatures kernels::featuresOf(attn::ForwardOp op) {
  ForwardFeatures features;
  features.mask = op.getMask();
  features.bias = op.getBiasKind();
  features.attnMask = op.getMaskKind();
  features.alibi = static_cast<bool>(op.getAlibi());
  features.softcap = static_cast<bool>(op.getSoftcap());
  features.windowLeft = static_cast<bool>(op.getWindowOffset());
  features.rowBounds = static_cast<bool>(op.getRowBounds());
  features.keyPadding = static_cast<bool>(op.getKeyPadding());
  features.varlen = static_cast<bool>(op.getCuSeqlensQ());
  features.seqUsedK = static_cast<bool>(op.getSeqUsedK());
  features.dropout = static_cast<bool>(op.getRngState());
  features.probs = static_cast<bool>(op.getProbs());
  return features;
}

void kernels::buildForward(ProgramBuilder &builder, const ForwardProgram &program, const ProgramShape &shape) {
  Forward(builder, program, shape).build();
}
