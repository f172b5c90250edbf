// SPDX-License-Identifier: Apache-2.0
//
// tile-fuse-rowwise: runs of row-wise operations over one iteration space become tile.fused. See Passes.td.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/SetVector.h"

namespace tilewright::tile {
#define GEN_PASS_DEF_TILEFUSEROWWISE
#include "tilewright/Dialect/Tile/Transforms/Passes.h.inc"
} // namespace tilewright::tile

#define DEBUG_TYPE "tile-fuse-rowwise"

using namespace mlir;
using namespace tilewright::tile;

namespace {

/// Recomputed wherever they are read.
bool isFree(Operation *op) { return isRepeatable(op); }

/// A free operation that a product, a transposition or a loop reads: these read memory, so it becomes a member of a
/// group. Constants stay free: such readers fill their own.
bool isReadAsMemory(Operation *op) {
  return isa<SplatOp, IndexOp, BroadcastOp>(op) && llvm::any_of(op->getUsers(), [](Operation *user) {
           return !isFree(user) && rowwiseShape(user).empty();
         });
}

/// A group under construction.
struct Group {
  SmallVector<int64_t> shape;
  llvm::SetVector<Operation *> ops;

  /// Reductions and (through scalars or vectors derived from them) nothing else of this group may feed `op`.
  bool canTake(Operation *op, ArrayRef<int64_t> opShape) const {
    return ops.empty() || (ArrayRef<int64_t>(shape) == opShape && !dependsOnReduction(op));
  }

private:
  bool dependsOnReduction(Operation *op) const {
    for (Value operand : op->getOperands()) {
      Operation *def = operand.getDefiningOp();
      if (!def) {
        continue;
      }
      if (ops.contains(def) && isa<ReduceOp>(def)) {
        return true;
      }
      if (isFree(def) && dependsOnReduction(def)) {
        return true;
      }
    }
    return false;
  }
};

/// Fuses the operations of one block; nested blocks are the pass's to visit.
class Fuser {
public:
  unsigned run(Block &block) {
    SmallVector<Operation *> ops;
    for (Operation &op : block.without_terminator()) {
      ops.push_back(&op);
    }
    for (Operation *op : ops) {
      bool member = isReadAsMemory(op);
      if (isFree(op) && !member) {
        continue;
      }
      ArrayRef<int64_t> shape =
          member ? cast<RankedTensorType>(op->getResult(0).getType()).getShape() : rowwiseShape(op);
      if (shape.empty()) {
        // Scalars may stay between the members of a group unless they read memory that the group writes, which
        // no tile program does. Anything that reads a member's tile, or holds a region, ends the group.
        if (op->getNumRegions() != 0 || readsGroup(op)) {
          flush();
        }
        continue;
      }
      if (!group.canTake(op, shape)) {
        flush();
      }
      group.shape.assign(shape.begin(), shape.end());
      group.ops.insert(op);
    }
    flush();
    return groups;
  }

private:
  bool readsGroup(Operation *op) const {
    return llvm::any_of(op->getOperands(), [&](Value operand) {
      Operation *def = operand.getDefiningOp();
      return def && group.ops.contains(def);
    });
  }

  /// Copies `value`, a free operation's result, to the builder's place, and what it is made of.
  Value materialize(OpBuilder &b, Value value, IRMapping &inside) {
    Operation *def = value.getDefiningOp();
    if (!def || !isFree(def) || inside.contains(value)) {
      return inside.lookupOrDefault(value);
    }
    for (Value operand : def->getOperands()) {
      Value copy = materialize(b, operand, inside);
      inside.map(operand, copy);
    }
    return b.clone(*def, inside)->getResult(0);
  }

  void flush() {
    if (group.ops.empty()) {
      return;
    }
    Operation *last = group.ops.back();
    // Results: tiles that somebody outside reads. Free operations outside that read a member count too.
    SmallVector<Value> results;
    SmallVector<Type> types;
    for (Operation *op : group.ops) {
      for (Value result : op->getResults()) {
        bool outside = llvm::any_of(result.getUsers(), [&](Operation *user) { return !group.ops.contains(user); });
        if (outside) {
          results.push_back(result);
          types.push_back(result.getType());
        }
      }
    }
    OpBuilder b(last->getBlock(), std::next(last->getIterator()));
    auto fused = FusedOp::create(b, last->getLoc(), types, group.shape);
    Block *body = b.createBlock(&fused.getBody());
    IRMapping inside;
    b.setInsertionPointToEnd(body);
    for (Operation *op : group.ops) {
      for (Value operand : op->getOperands()) {
        inside.map(operand, materialize(b, operand, inside));
      }
      b.clone(*op, inside);
    }
    SmallVector<Value> yielded;
    for (Value result : results) {
      yielded.push_back(inside.lookup(result));
    }
    YieldOp::create(b, last->getLoc(), yielded);
    for (auto [result, replacement] : llvm::zip(results, fused.getResults())) {
      result.replaceUsesWithIf(replacement,
                               [&](OpOperand &use) { return !group.ops.contains(use.getOwner()); });
    }
    for (Operation *op : llvm::reverse(group.ops.getArrayRef())) {
      op->erase();
    }
    for (Value replacement : fused.getResults()) {
      moveReadersBehind(fused, replacement);
    }
    group = Group();
    ++groups;
  }

  /// The group sits where its last member was. A free operation that stood between its members and reads one of them
  /// would now come before its operand.
  static void moveReadersBehind(FusedOp fused, Value value) {
    for (Operation *user : llvm::make_early_inc_range(value.getUsers())) {
      if (user->getBlock() == fused->getBlock() && user->isBeforeInBlock(fused)) {
        assert(isFree(user) && "any other reader ends the group");
        user->moveAfter(fused);
        moveReadersBehind(fused, user->getResult(0));
      }
    }
  }

  Group group;
  unsigned groups = 0;
};

class TileFuseRowwisePass : public tilewright::tile::impl::TileFuseRowwiseBase<TileFuseRowwisePass> {
public:
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    if (!func->hasAttr(kKernelAttr)) {
      return;
    }
    numGroups += fuseBlocks(func.getBody());
    eraseDeadFreeOps(func);
  }

private:
  unsigned fuseBlocks(Region &region) {
    unsigned made = 0;
    for (Block &block : region) {
      SmallVector<Operation *> nested;
      for (Operation &op : block) {
        if (op.getNumRegions() != 0) {
          nested.push_back(&op);
        }
      }
      for (Operation *op : nested) {
        for (Region &inner : op->getRegions()) {
          made += fuseBlocks(inner);
        }
      }
      made += Fuser().run(block);
    }
    return made;
  }

  static void eraseDeadFreeOps(func::FuncOp func) {
    SmallVector<Operation *> ops;
    func.walk([&](Operation *op) {
      if (isFree(op)) {
        ops.push_back(op);
      }
    });
    for (Operation *op : llvm::reverse(ops)) {
      if (op->use_empty()) {
        op->erase();
      }
    }
  }
};

} // namespace
