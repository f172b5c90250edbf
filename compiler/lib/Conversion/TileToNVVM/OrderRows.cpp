// SPDX-License-Identifier: Apache-2.0
//
// nvvm-order-rows: one row's softmax behind the other's, element by element. See Passes.td.
#include "Lowering.h"
#include "tilewright/Conversion/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace tilewright {
#define GEN_PASS_DEF_NVVMORDERROWS
#include "tilewright/Conversion/Passes.h.inc"
} // namespace tilewright

using namespace mlir;

namespace {

/// What may stand anywhere behind its operands in its block. Votes and exchanges among a warp's lanes touch no memory,
/// and all lanes run a block's operations in the same order, whichever it is.
bool isMovable(Operation *op) {
  if (isa<NVVM::ShflOp, NVVM::VoteSyncOp>(op)) {
    return true;
  }
  if (auto call = dyn_cast<LLVM::CallIntrinsicOp>(op)) {
    return call.getIntrin().starts_with("llvm.nvvm.ex2.") || call.getIntrin().starts_with("llvm.nvvm.lg2.");
  }
  return isPure(op) && !op->hasTrait<OpTrait::IsTerminator>();
}

/// Of accumulators that a product leaves behind a wait, a struct of a thread's elements in a fragment's order: which of
/// the thread's two rows an element is of. -1 for other values.
int64_t rowOfElement(Operation *op) {
  auto extract = dyn_cast<LLVM::ExtractValueOp>(op);
  auto wait = extract ? extract.getContainer().getDefiningOp<LLVM::InlineAsmOp>() : LLVM::InlineAsmOp();
  if (!wait || !wait.getAsmString().starts_with(tilewright::tile2nvvm::kAwaitProducts)) {
    return -1;
  }
  return extract.getPosition()[0] / 2 % 2;
}

/// Operations that compute what `op`, or one inside of it, takes.
SmallVector<Operation *> definersOf(Operation *op) {
  SmallVector<Operation *> definers;
  op->walk([&](Operation *inner) {
    for (Value operand : inner->getOperands()) {
      if (Operation *def = operand.getDefiningOp(); def && !op->isProperAncestor(def)) {
        definers.push_back(def);
      }
    }
  });
  return definers;
}

class Orderer {
public:
  void order(Block &block) {
    SmallVector<Operation *> run;
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (isMovable(&op)) {
        run.push_back(&op);
        continue;
      }
      orderRun(run, &op);
      run.clear();
    }
  }

private:
  using Operations = llvm::SmallPtrSet<Operation *, 32>;

  /// The operations between two that stay where they are; `end` is the second one.
  void orderRun(ArrayRef<Operation *> run, Operation *end) {
    Operations waiting(run.begin(), run.end());
    bool ofSecondRow = false;
    for (Operation *op : run) {
      int64_t row = rowOfElement(op);
      for (Operation *def : definersOf(op)) {
        auto found = rows.find(def);
        row = std::max(row, found == rows.end() ? -1 : found->second);
      }
      rows[op] = row;
      ofSecondRow |= row == 1;
    }
    if (!ofSecondRow) {
      return;
    }
    // What is taken behind the run, first that of the first row. Of a row's the last goes first: it is a sum, which
    // takes its elements one by one.
    SmallVector<Operation *> taken;
    for (Operation *op : llvm::reverse(run)) {
      if (llvm::any_of(op->getUsers(), [&](Operation *user) {
            return !waiting.contains(op->getBlock()->findAncestorOpInBlock(*user));
          })) {
        taken.push_back(op);
      }
    }
    llvm::stable_sort(taken, [&](Operation *a, Operation *b) { return rows[a] < rows[b]; });
    for (Operation *op : taken) {
      place(op, end, waiting);
    }
    for (Operation *op : run) {
      place(op, end, waiting); // what nobody takes
    }
  }

  /// Moves what `op` takes and then `op` in front of `end`, if it waits. As deep as a row's sum is long.
  void place(Operation *op, Operation *end, Operations &waiting) {
    if (!waiting.erase(op)) {
      return;
    }
    for (Operation *def : definersOf(op)) {
      place(def, end, waiting);
    }
    op->moveBefore(end);
  }

  /// The last row that an operation's results depend on; -1 if none.
  llvm::DenseMap<Operation *, int64_t> rows;
};

class NvvmOrderRowsPass : public tilewright::impl::NvvmOrderRowsBase<NvvmOrderRowsPass> {
public:
  void runOnOperation() override {
    LLVM::LLVMFuncOp func = getOperation();
    if (!func->removeAttr(tilewright::tile::kRowByRowAttr)) {
      return;
    }
    Orderer orderer;
    func->walk<WalkOrder::PreOrder>([&](Block *block) { orderer.order(*block); });
  }
};

} // namespace
