// SPDX-License-Identifier: Apache-2.0
//
// attn-expand: an attn operation becomes the tile program that kernels/ builds for it. What is left to do here is the
// function's signature: an !attn.tensor argument becomes a pointer and its strides.
#include "tilewright/Conversion/Passes.h"
#include "tilewright/Dialect/Attn/IR/Attn.h"
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/kernels/Programs.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace tilewright {
#define GEN_PASS_DEF_ATTNEXPAND
#include "tilewright/Conversion/Passes.h.inc"
} // namespace tilewright

#define DEBUG_TYPE "attn-expand"

using namespace mlir;
using namespace tilewright;
using kernels::ProgramBuilder;
using kernels::TensorArg;

namespace {

/// The new function's arguments, looked up by the old function's.
class Arguments {
public:
  Arguments(ProgramBuilder &b, Block *entry, Block::BlockArgListType old) : b(b) {
    unsigned next = 0;
    for (BlockArgument argument : old) {
      first[argument] = next;
      auto tensor = dyn_cast<attn::TensorType>(argument.getType());
      next += tensor ? 1 + tensor.getRank() : 1;
    }
    values.append(entry->args_begin(), entry->args_end());
  }

  TensorArg tensor(Value old) {
    if (!old) {
      return {};
    }
    auto type = cast<attn::TensorType>(old.getType());
    unsigned index = first.lookup(old);
    TensorArg arg;
    arg.base = values[index];
    arg.unit = type.getAlign() != attn::AlignClass::Strided;
    auto bytes = static_cast<unsigned>(type.getAlign());
    arg.align = bytes > type.getElementType().getIntOrFloatBitWidth() / 8 ? bytes : 0;
    for (unsigned i = 0; i < type.getRank(); ++i) {
      arg.strides.push_back(b.toIndex(values[index + 1 + i]));
    }
    return arg;
  }
  Value scalar(Value old) { return values[first.lookup(old)]; }
  Value index(Value old) { return b.toIndex(scalar(old)); }

private:
  ProgramBuilder &b;
  DenseMap<Value, unsigned> first;
  SmallVector<Value> values;
};

SmallVector<Type> flattenedTypes(func::FuncOp func) {
  SmallVector<Type> types;
  for (Type type : func.getArgumentTypes()) {
    auto tensor = dyn_cast<attn::TensorType>(type);
    if (!tensor) {
      types.push_back(type);
      continue;
    }
    types.push_back(tile::PtrType::get(func.getContext(), tensor.getElementType()));
    types.append(tensor.getRank(), IntegerType::get(func.getContext(), 64));
  }
  return types;
}

template <typename OpT> kernels::SequenceArgs sequences(OpT op, Arguments &args) {
  kernels::SequenceArgs s;
  s.cuSeqlensQ = args.tensor(op.getCuSeqlensQ());
  s.cuSeqlensK = args.tensor(op.getCuSeqlensK());
  s.seqUsedK = args.tensor(op.getSeqUsedK());
  if (Value bottomRight = op.getBottomRight()) {
    s.bottomRight = args.index(bottomRight);
  }
  return s;
}

kernels::DropoutArgs dropout(attn::ForwardOp op, Arguments &args) {
  if (!op.getRngState()) {
    return {};
  }
  SmallVector<Value, 4> numbers;
  for (Value number : op.getDropoutNumbers()) {
    numbers.push_back(args.scalar(number));
  }
  return {args.tensor(op.getRngState()), numbers[0], numbers[1], numbers[2], numbers[3],
          args.scalar(op.getKeepScale())};
}

void expand(ProgramBuilder &b, attn::ForwardOp op, Arguments &args, const kernels::ProgramShape &shape) {
  kernels::ForwardProgram p;
  p.q = args.tensor(op.getQ());
  p.k = args.tensor(op.getK());
  p.v = args.tensor(op.getV());
  p.out = args.tensor(op.getOut());
  p.lse = args.tensor(op.getLse());
  p.limits = args.tensor(op.getLimits());
  p.scale = args.scalar(op.getScale());
  p.seqlenQ = args.index(op.getSeqlenQ());
  p.seqlenK = args.index(op.getSeqlenK());
  p.heads = args.index(op.getHeads());
  p.headsPerKv = args.index(op.getHeadsPerKv());
  p.causalOffset = args.index(op.getCausalOffset());
  p.writeLse = args.index(op.getWriteLse());
  p.headDim = static_cast<int64_t>(op.getHeadDim());
  p.headDimV = static_cast<int64_t>(op.getHeadDimV());
  p.features = kernels::featuresOf(op);
  p.rowBounds = args.tensor(op.getRowBounds());
  p.keyPadding = args.tensor(op.getKeyPadding());
  p.probs = args.tensor(op.getProbs());
  p.sequences = sequences(op, args);
  p.dropout = dropout(op, args);
  p.bias = args.tensor(op.getBias());
  p.attnMask = args.tensor(op.getAttnMask());
  p.alibi = args.tensor(op.getAlibi());
  if (op.getAlibi()) {
    p.positionOffset = args.index(op.getPositionOffset());
  }
  if (op.getWindowOffset()) {
    p.windowOffset = args.index(op.getWindowOffset());
  }
  if (op.getSoftcap()) {
    p.softcap = args.scalar(op.getSoftcap());
  }
  p.evenM = op.getEvenM();
  p.evenN = op.getEvenN();
  kernels::buildForward(b, p, shape);
}

void expand(ProgramBuilder &b, attn::RowLimitsOp op, Arguments &args, const kernels::ProgramShape &shape) {
  kernels::RowLimitsProgram p;
  p.pairs = args.tensor(op.getPairs());
  p.limits = args.tensor(op.getLimits());
  p.seqlenQ = args.index(op.getSeqlenQ());
  p.seqlenK = args.index(op.getSeqlenK());
  p.causalOffset = args.index(op.getCausalOffset());
  p.count = args.index(op.getCount());
  p.sequences = sequences(op, args);
  p.evenM = op.getEvenM();
  kernels::buildRowLimits(b, p, shape);
}

void expand(ProgramBuilder &b, attn::RowBoundsOp op, Arguments &args, const kernels::ProgramShape &shape) {
  kernels::RowBoundsProgram p;
  p.bounds = args.tensor(op.getBounds());
  p.documents = args.tensor(op.getDocuments());
  p.keyPadding = args.tensor(op.getKeyPadding());
  p.seqlenQ = args.index(op.getSeqlenQ());
  p.seqlenK = args.index(op.getSeqlenK());
  p.positionOffset = args.index(op.getPositionOffset());
  p.sequences = sequences(op, args);
  p.evenM = op.getEvenM();
  kernels::buildRowBounds(b, p, shape);
}

class AttnExpandPass : public tilewright::impl::AttnExpandBase<AttnExpandPass> {
public:
  void runOnOperation() override {
    SmallVector<func::FuncOp> functions(getOperation().getOps<func::FuncOp>());
    for (func::FuncOp func : functions) {
      if (failed(runOnFunction(func))) {
        return signalPassFailure();
      }
    }
  }

private:
  LogicalResult runOnFunction(func::FuncOp func) {
    SmallVector<Operation *> ops;
    func.walk([&](Operation *op) {
      if (isa<attn::ForwardOp, attn::RowLimitsOp, attn::RowBoundsOp>(op)) {
        ops.push_back(op);
      }
    });
    if (ops.empty()) {
      return success();
    }
    if (ops.size() != 1 || !llvm::hasSingleElement(func.getBody())) {
      return func.emitOpError("expected one attn operation in one block, got ") << ops.size() << " operations";
    }
    std::optional<kernels::ProgramShape> shape = kernels::ProgramShape::of(func->getAttr(tile::kScheduleAttr));
    if (!shape) {
      return func.emitOpError("expected the attribute ")
             << tile::kScheduleAttr << " (#tile.schedule or #tile.gpu_schedule)";
    }
    Operation *op = ops.front();
    for (Value operand : op->getOperands()) {
      if (!isa<BlockArgument>(operand)) {
        return op->emitOpError("expected every operand to be an argument of the function");
      }
    }

    Block *old = &func.getBody().front();
    SmallVector<Type> types = flattenedTypes(func);
    auto *entry = new Block();
    func.getBody().push_front(entry);
    entry->addArguments(types, SmallVector<Location>(types.size(), func.getLoc()));
    ProgramBuilder b(func.getLoc(), func.getContext());
    b.setInsertionPointToStart(entry);
    Arguments args(b, entry, old->getArguments());
    if (auto forward = dyn_cast<attn::ForwardOp>(op)) {
      expand(b, forward, args, *shape);
    } else if (auto limits = dyn_cast<attn::RowLimitsOp>(op)) {
      expand(b, limits, args, *shape);
    } else {
      expand(b, cast<attn::RowBoundsOp>(op), args, *shape);
    }
    func::ReturnOp::create(b);
    old->dropAllReferences();
    old->erase();
    func.setFunctionType(b.getFunctionType(types, {}));
    func.setAllArgAttrs(ArrayRef<DictionaryAttr>{});
    func->setAttr(tile::kKernelAttr, b.getUnitAttr());
    return success();
  }
};

} // namespace
