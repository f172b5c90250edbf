// SPDX-License-Identifier: Apache-2.0
#include "BlockLoads.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile;

bool tile::feedsDots(LoadOp load) {
  return !load->use_empty() &&
         llvm::all_of(load->getUsers(), [](Operation *user) { return isa<DotOp>(user); });
}

SmallVector<LoadOp> tile::operandLoads(Block &block) {
  SmallVector<LoadOp> loads;
  for (auto load : block.getOps<LoadOp>()) {
    if (feedsDots(load)) {
      loads.push_back(load);
    }
  }
  return loads;
}

bool tile::canRecompute(Value value, scf::ForOp loop) {
  if (value == loop.getInductionVar() || value.getParentBlock() != loop.getBody()) {
    return true;
  }
  Operation *def = value.getDefiningOp();
  return def && def->getNumResults() == 1 && isPure(def) &&
         llvm::all_of(def->getOperands(), [&](Value operand) { return canRecompute(operand, loop); });
}

LogicalResult tile::checkLoads(scf::ForOp loop, ArrayRef<LoadOp> loads, bool nested) {
  for (LoadOp load : loads) {
    if (load.getView().getParentBlock() == loop.getBody()) {
      return load.emitOpError("expected the view of a product's operand to be made outside the loop");
    }
    auto isElsewhere = [&](Operation *user) {
      return nested ? !loop.getBody()->findAncestorOpInBlock(*user) : user->getBlock() != loop.getBody();
    };
    if (feedsDots(load) && llvm::any_of(load->getUsers(), isElsewhere)) {
      return load.emitOpError("expected the products that read it in the same block");
    }
    for (Value index : load.getIndices()) {
      if (!canRecompute(index, loop)) {
        return load.emitOpError("expected its indices to be computed from the loop's number, without side effects");
      }
    }
  }
  return success();
}

Value tile::recompute(ImplicitLocOpBuilder &b, Value value, scf::ForOp loop, IRMapping &mapping) {
  if (mapping.contains(value) || value.getParentBlock() != loop.getBody()) {
    return mapping.lookupOrDefault(value);
  }
  Operation *def = value.getDefiningOp();
  for (Value operand : def->getOperands()) {
    mapping.map(operand, recompute(b, operand, loop, mapping));
  }
  return b.clone(*def, mapping)->getResult(0);
}
