// SPDX-License-Identifier: Apache-2.0
#include "BlockLoads.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile;

static bool feedsDots(LoadOp load) {
  return !load->use_empty() &&
         llvm::all_of(load->getUsers(), [](Operation *user) { return isa<DotOp>(user); });
}

SmallVector<LoadOp> tile::stagedLoads(Block &block) {
  SmallVector<LoadOp> loads;
  for (auto load : block.getOps<LoadOp>()) {
    if (feedsDots(load)) {
      loads.push_back(load);
    }
  }
  return loads;
}

static bool canRecompute(Value value, scf::ForOp loop) {
  if (value == loop.getInductionVar() || value.getParentBlock() != loop.getBody()) {
    return true;
  }
  Operation *def = value.getDefiningOp();
  return def && def->getNumResults() == 1 && isPure(def) &&
         llvm::all_of(def->getOperands(), [&](Value operand) { return canRecompute(operand, loop); });
}

LogicalResult tile::checkStagedLoads(scf::ForOp loop) {
  for (LoadOp load : stagedLoads(*loop.getBody())) {
    if (load.getView().getParentBlock() == loop.getBody()) {
      return load.emitOpError("expected the view of a product's operand to be made outside the loop");
    }
    if (llvm::any_of(load->getUsers(), [&](Operation *user) { return user->getBlock() != loop.getBody(); })) {
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
