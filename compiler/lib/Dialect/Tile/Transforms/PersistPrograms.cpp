// SPDX-License-Identifier: Apache-2.0
//
// tile-persist-programs: a block runs one program after the other. See Passes.td.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Dialect/Tile/Transforms/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"

namespace tilewright::tile {
#define GEN_PASS_DEF_TILEPERSISTPROGRAMS
#include "tilewright/Dialect/Tile/Transforms/Passes.h.inc"
} // namespace tilewright::tile

#define DEBUG_TYPE "tile-persist-programs"

using namespace mlir;
using namespace tilewright::tile;

namespace {

class Persister {
public:
  Persister(func::FuncOp func, RolesOp roles) : func(func), roles(roles), b(func.getLoc(), func.getContext()) {}

  LogicalResult run() {
    if (failed(findFills())) {
      return failure();
    }
    findProgramWork();
    wrap(roles.getProducer().front(), /*produces=*/true);
    wrap(roles.getConsumer().front(), /*produces=*/false);
    for (Operation *op : llvm::reverse(work)) {
      op->erase();
    }
    return success();
  }

private:
  /// Which rings are filled once a program, and which in its loop over blocks.
  LogicalResult findFills() {
    for (Operation &op : roles.getProducer().front()) {
      if (auto fill = dyn_cast<FillOp>(op)) {
        once.insert(fill.getRing());
      } else if (auto found = dyn_cast<scf::ForOp>(op)) {
        if (begin || getConstantIntValue(found.getStep()) != 1) {
          return found.emitOpError("expected one loop over blocks in the producer, of step 1");
        }
        begin = found.getLowerBound();
        end = found.getUpperBound();
      }
    }
    return begin ? success() : roles.emitOpError("expected the producer to have a loop over blocks");
  }

  /// What stands ahead of the roles and follows from the program's number, in order.
  void findProgramWork() {
    for (Operation &op : func.getBody().front()) {
      if (&op == roles) {
        break;
      }
      bool follows = isa<ProgramOp>(op);
      op.walk([&](Operation *inner) {
        for (Value operand : inner->getOperands()) {
          follows |= work.contains(operand.getDefiningOp());
        }
      });
      if (follows) {
        work.insert(&op);
      }
    }
  }

  Value constant(int64_t value) { return arith::ConstantIndexOp::create(b, value); }

  /// Computes for `program` what stood ahead of the roles, in front of `region`'s operations.
  IRMapping recomputeWork(Value program) {
    IRMapping mapping;
    for (Operation *op : work) {
      if (isa<ProgramOp>(op)) {
        mapping.map(op->getResult(0), program);
      } else {
        b.clone(*op, mapping);
      }
    }
    return mapping;
  }

  /// Puts a role's operations into a loop over programs.
  void wrap(Block &role, bool produces) {
    SmallVector<Operation *> body;
    for (Operation &op : role) {
      body.push_back(&op);
    }
    b.setInsertionPointToEnd(&role);
    Value zero = constant(0), one = constant(1);
    Value count = ProgramCountOp::create(b, b.getIndexType());
    // Programs so far, and fills so far of the loop's rings; the producer also carries the next program.
    SmallVector<Value> init{zero, zero};
    if (produces) {
      init.push_back(ProgramOp::create(b, b.getIndexType()));
    }
    const SmallVector<Type> inside(3, b.getIndexType());
    auto programs = scf::WhileOp::create(b, inside, init);
    SmallVector<Location> locations(3, b.getLoc());
    Block *before = b.createBlock(&programs.getBefore(), {}, TypeRange(inside).take_front(init.size()),
                                  ArrayRef(locations).take_front(init.size()));
    Value turn = before->getArgument(0);
    Value program;
    if (produces) {
      program = before->getArgument(2);
      AnnounceProgramOp::create(b, program, turn);
    } else {
      program = AwaitProgramOp::create(b, b.getIndexType(), turn);
    }
    Value more = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, program, count);
    scf::ConditionOp::create(b, more, ValueRange{turn, before->getArgument(1), program});

    Block *after = b.createBlock(&programs.getAfter(), {}, inside, locations);
    turn = after->getArgument(0);
    Value fills = after->getArgument(1);
    IRMapping mapping = recomputeWork(after->getArgument(2));
    for (Operation *op : body) {
      op->moveBefore(after, after->end());
    }
    for (Operation *op : work) {
      for (Value result : op->getResults()) {
        result.replaceUsesWithIf(mapping.lookup(result),
                                 [&](OpOperand &use) { return programs->isProperAncestor(use.getOwner()); });
      }
    }
    sink(*after);
    countOn(*after, turn, fills);
    b.setInsertionPointToEnd(after);
    Value blocks = arith::SubIOp::create(b, mapping.lookupOrDefault(end), mapping.lookupOrDefault(begin));
    blocks = arith::MaxSIOp::create(b, blocks, zero);
    SmallVector<Value> next{arith::AddIOp::create(b, turn, one), arith::AddIOp::create(b, fills, blocks)};
    if (produces) {
      // Behind the fills, which run ahead of the consumers: who asks late takes what is left, and is done first.
      next.push_back(ClaimProgramOp::create(b, b.getIndexType()));
    }
    scf::YieldOp::create(b, next);
  }

  /// Moves what is computed of the program's number to where it is first needed: what only the outputs take would
  /// otherwise hold registers through the loop over blocks.
  void sink(Block &body) {
    SmallVector<Operation *> pure;
    for (Operation &op : body) {
      if (isPure(&op) && op.getNumRegions() == 0) {
        pure.push_back(&op);
      }
    }
    for (Operation *op : llvm::reverse(pure)) {
      Operation *first = nullptr;
      for (Operation *user : op->getUsers()) {
        Operation *here = body.findAncestorOpInBlock(*user);
        first = !first || here->isBeforeInBlock(first) ? here : first;
      }
      if (first) {
        op->moveBefore(first);
      }
    }
  }

  /// Numbers of fills were a program's own.
  void countOn(Block &body, Value turn, Value fills) {
    body.walk([&](Operation *op) {
      auto move = [&](auto access) {
        b.setInsertionPoint(access);
        if (once.contains(access.getRing())) {
          access.getNumberMutable().assign(turn);
          return;
        }
        Value number = arith::AddIOp::create(b, access.getNumber(), fills);
        access.getNumberMutable().assign(number);
      };
      llvm::TypeSwitch<Operation *>(op).Case<FillOp, TakeOp, ReleaseOp>(move);
    });
  }

  func::FuncOp func;
  RolesOp roles;
  ImplicitLocOpBuilder b;
  llvm::SetVector<Value> once;
  Value begin, end; ///< of the loop over blocks, ahead of the roles
  llvm::SetVector<Operation *> work;
};

class TilePersistProgramsPass : public tilewright::tile::impl::TilePersistProgramsBase<TilePersistProgramsPass> {
public:
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    auto schedule = func->getAttrOfType<GpuScheduleAttr>(kScheduleAttr);
    if (!schedule || schedule.getPersistent() == 0 || func.isExternal()) {
      return;
    }
    auto roles = func.getBody().front().getOps<RolesOp>();
    if (roles.empty()) {
      func.emitOpError("expected a tile.roles in a kernel whose blocks are persistent: run tile-specialize-warps "
                       "first");
      return signalPassFailure();
    }
    if (failed(Persister(func, *roles.begin()).run())) {
      signalPassFailure();
    }
  }
};

} // namespace
