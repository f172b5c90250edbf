// SPDX-License-Identifier: Apache-2.0
//
// Internal to convert-tile-to-nvvm: the state of lowering one kernel function. As on the CPU, the old function is
// walked once and the new one emitted.
#ifndef TILEWRIGHT_CONVERSION_TILETONVVM_LOWERING_H
#define TILEWRIGHT_CONVERSION_TILETONVVM_LOWERING_H

#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "tilewright/Target/GpuTarget.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/bit.h"
#include <functional>

namespace tilewright::tile2nvvm {

/// A tile's elements that one thread holds. Of a rank-2 tile: for each slab, for each group of 8 columns, the four
/// elements (row l/4, row l/4, row l/4 + 8, row l/4 + 8) by (column 2(l%4), +1, 2(l%4), +1). Of a rank-1 tile over
/// rows: for each slab, rows l/4 and l/4 + 8. A tile of 16-bit floats is packed: one i32 holds the two columns of a
/// row.
struct Fragment {
  llvm::SmallVector<mlir::Value> elements;
  bool packed = false;
};

/// A buffer in shared memory, or a ring of them.
///
/// Swizzle: let 2^t, at most 8, be the largest power of two that divides the 16-byte units of a row. Unit x of row r
/// lies at unit x ^ f(r) of that row, with f(r) = (r mod 8) / 2^(3 - t). ldmatrix reads one unit of eight consecutive
/// rows at once: unswizzled they would lie in only 2^(3 - t) of the eight groups of banks, and f spreads them over all.
/// Of elements of 4 bytes half a warp reads pairs of units of four consecutive rows at once: f(r) is 2 ((r mod 4) /
/// 2^(3 - t)).
struct SharedBuffer {
  int64_t offset = 0;
  int64_t rows = 0, cols = 0;
  int64_t elementBytes = 2;
  int64_t paddedCols = 0; ///< columns rounded up to 16: what a matrix instruction may touch
  int64_t pitch = 0;      ///< bytes from row to row; not of boxes
  mlir::Value slotBytes;  ///< i32: where the slot of a ring starts; null for one buffer
  /// Of a ring that TMA fills (WarpRoles.cpp): boxes of 64 columns, one after the other; 0 where a row is in one piece.
  int64_t boxBytes = 0;
  int64_t stages = 1;
  mlir::Value hiddenZero; ///< of a fill: i32, 0 (its number's sign bit), which no compiler knows
  int64_t barriers = 0; ///< offset of the ring's full barriers; the empty ones follow

  int64_t boxes() const { return (cols + kTmaBoxColumns - 1) / kTmaBoxColumns; }
  int64_t bytes() const { return boxBytes == 0 ? rows * pitch : boxes() * boxBytes; } ///< of one buffer

  /// t above; at least 1, as rows are multiples of 32 bytes.
  int64_t swizzleBits() const { return std::min<int64_t>(llvm::countr_zero(static_cast<uint64_t>(pitch / 16)), 3); }
};

inline int64_t elementBytesOf(mlir::Type element) { return (element.getIntOrFloatBitWidth() + 7) / 8; }

/// The pointer arguments of tensors that `tile.fill` copies from, and `tile.bulk_store` to, in the order of arguments:
/// the kernel takes a tensor map for each, behind its other parameters.
llvm::SmallVector<mlir::BlockArgument> mappedTensors(mlir::func::FuncOp func);

inline constexpr int64_t kBoxBytes = gpuBoxedPitch(kTmaBoxColumns); ///< of a row of a ring's box
inline constexpr int64_t kWarpgroup = 128;                          ///< threads
/// Named barriers: 0 is the whole block's, then one for each of up to three groups' turns, then one for each group's
/// stores.
inline constexpr int64_t kFirstTurnBarrier = 1, kFirstStoreBarrier = 4;

/// Begins the inline PTX of a wait for products, which accumulators pass through: nvvm-order-rows knows them by it.
inline constexpr llvm::StringLiteral kAwaitProducts = "wgmma.wait_group.sync.aligned ";

/// Whether blocks run one program after the other: behind all other parameters the kernel then takes the address of a
/// counter (i32 in global memory, 0 before the launch and after it) and the number of programs (i32).
bool isPersistent(mlir::func::FuncOp func);

/// Refuses, with a diagnostic on the operation, what the lowering or LLVM's backend has no code for.
mlir::LogicalResult verifyProgram(mlir::func::FuncOp func, tile::GpuScheduleAttr schedule, tile::GpuTargetAttr target);

class FunctionLowering {
public:
  FunctionLowering(mlir::func::FuncOp func, tile::GpuScheduleAttr schedule, tile::GpuTargetAttr target)
      : func(func), warps(schedule.getWarps()), roles(target.getFamily() == tile::kSm90aFamily),
        rowByRow(schedule.getRowByRow()), perSm(schedule.getPerSm()), b(func.getLoc(), func.getContext()) {}

  mlir::LogicalResult run();

private:
  //===- TileToNVVM.cpp: function, blocks, loops ------------------------------------------------------------------===//
  mlir::LogicalResult lowerBlock(mlir::Block &block);
  mlir::LogicalResult lowerOp(mlir::Operation &op);
  mlir::LogicalResult lowerOther(mlir::Operation &op);
  mlir::LogicalResult lowerFor(mlir::scf::ForOp op);
  mlir::LogicalResult lowerIf(mlir::scf::IfOp op);
  mlir::LogicalResult lowerWhile(mlir::scf::WhileOp op);
  mlir::LogicalResult lowerOnHalf(tile::OnHalfOp op);
  void findNumbers(); ///< of blocks and rows: sets `numbers`
  void narrow(mlir::Value value);
  /// What this thread holds of tiles, and scalars, in order.
  llvm::SmallVector<mlir::Value> elementsOf(mlir::ValueRange values);
  /// The reverse.
  void bind(mlir::ValueRange olds, mlir::ValueRange elements);

  //===- Fragments.cpp: elementwise work, rows, global memory of fragments ----------------------------------------===//
  mlir::LogicalResult lowerElementwise(mlir::Operation &op);
  mlir::LogicalResult lowerTruncate(mlir::arith::TruncFOp op);
  mlir::LogicalResult lowerReduce(tile::ReduceOp op);
  mlir::LogicalResult lowerFold(tile::FoldOp op);
  mlir::LogicalResult lowerRescale(tile::RescaleOp op);
  void lowerHide(tile::HideOp op);
  mlir::LogicalResult lowerScaledDifference(tile::ScaledDifferenceOp op);
  /// `condition ? then() : otherwise()` for as many values as both return, of `type`, as a branch.
  llvm::SmallVector<mlir::Value> choose(mlir::Value condition, mlir::Type type, size_t count,
                                        llvm::function_ref<llvm::SmallVector<mlir::Value>()> then,
                                        llvm::function_ref<llvm::SmallVector<mlir::Value>()> otherwise);
  mlir::LogicalResult lowerExtend(mlir::arith::ExtFOp op);
  mlir::LogicalResult lowerLoad(tile::LoadOp op);
  mlir::LogicalResult loadMatrixElements(tile::LoadOp op, tile::ViewOp view);
  mlir::LogicalResult lowerStore(tile::StoreOp op);
  mlir::LogicalResult lowerLoadScalar(tile::LoadScalarOp op);
  void storeVector(tile::StoreOp op, tile::ViewOp view);
  void storeMatrix(tile::StoreOp op, tile::ViewOp view);
  void storeRows(tile::StoreOp op, tile::ViewOp view);
  void storeUnits(tile::StoreOp op, tile::ViewOp view);
  void transposeQuads(llvm::MutableArrayRef<mlir::Value> pieces);
  /// Elements of a tile; constants are materialised.
  llvm::ArrayRef<mlir::Value> fragmentOf(mlir::Value tile);

  //===- Scans.cpp ------------------------------------------------------------------------------------------------===//
  mlir::LogicalResult lowerRandomBits(tile::RandomBitsOp op);
  mlir::LogicalResult lowerHull(tile::HullOp op);
  /// Whether all or any of so many elements of a view from `position` on are not 0, by a vote of a warp's lanes.
  mlir::Value voteOnElements(mlir::Value viewed, mlir::Value position, uint64_t elements,
                             mlir::NVVM::VoteSyncKind kind);
  void lowerHideUnset(tile::HideUnsetOp op);
  /// What a lane saw of a view's elements.
  struct LookedAt {
    mlir::Block *block = nullptr; ///< in which it looked
    mlir::Value view, position;
    int64_t count = 0;
    llvm::SmallVector<mlir::Value> asked, set; ///< i1, of each of the lane's elements
  };
  LookedAt lookAtElements(mlir::Value viewed, mlir::Value position, int64_t count);

  //===- Copies.cpp -----------------------------------------------------------------------------------------------===//
  mlir::LogicalResult lowerAsyncLoad(tile::AsyncLoadOp op);
  void lowerClearRows(tile::ClearRowsOp op);
  /// Of a chunk that cp.async or a thread copies: 0 where elements are apart.
  int64_t chunkBytesOf(tile::AsyncLoadOp op);
  void copyByThreads(const SharedBuffer &buffer, tile::AsyncLoadOp op, mlir::Type memory);
  using Pieces = llvm::SmallVector<std::function<void()>>; ///< of code, each emitted when it is called
  /// Copies whose code is still to be emitted, each with what must be true for it to copy anything (i1, or null).
  struct HeldCopies {
    llvm::SmallVector<std::pair<tile::AsyncLoadOp, mlir::Value>> copies;
    bool commit = false; ///< as a group, behind the last one
  };
  /// Their code: what branches, and the rest in pieces that fit between products.
  struct CopySteps {
    Pieces first, then;
    size_t done = 0; ///< of `then`
    bool commit = false;
  };
  void findRoomForCopies(); ///< sets mayHoldCopies
  /// Whether `op` asks for no more than whether a ring has a next block.
  bool onlyStartsCopies(mlir::scf::IfOp op);
  mlir::LogicalResult holdCopies(mlir::scf::IfOp op);
  bool mayStandAheadOfProduct(mlir::Operation &op);
  /// Each of its branches starts what is held, if a product stands in one; else it stays held behind them.
  HeldCopies copiesForBranchesOf(mlir::scf::IfOp op);
  CopySteps takeHeldCopies();
  /// Emits pieces until so many are done; with the last one, the group ends. Their addresses wait for `behind` (i32).
  void finishCopies(CopySteps &steps, size_t upTo, mlir::Value behind = {});
  void releaseCopies();
  Pieces copyPieces(tile::AsyncLoadOp op, mlir::Value condition, Pieces &branching);
  Pieces copyChunks(tile::AsyncLoadOp op, mlir::Value condition, mlir::Value threadRow, mlir::Value chunk,
                    int64_t rowStep);

  //===- SharedMemory.cpp: buffers and products -------------------------------------------------------------------===//
  void lowerAllocShared(tile::AllocSharedOp op);
  void lowerSlot(tile::SlotOp op);
  void lowerLoadShared(tile::LoadSharedOp op);
  mlir::LogicalResult lowerDot(tile::DotOp op);
  llvm::SmallVector<mlir::Value> loadMatrix(mlir::Value address, bool transposed);
  mlir::Value sharedAddress(const SharedBuffer &buffer, mlir::Value bytes, int64_t constantBytes);
  /// 16 f(row) of the buffer's swizzle, i32: what a byte's position in its row is xor-ed with.
  mlir::Value swizzleOf(const SharedBuffer &buffer, mlir::Value row);
  /// Where byte `byte` of row `row` (both i32) lies in a buffer.
  mlir::Value placeOf(const SharedBuffer &buffer, mlir::Value row, mlir::Value byte);
  /// The matrix row that this lane names to ldmatrix, or reads itself, of matrices in one buffer.
  struct LanePlaces {
    SharedBuffer buffer;
    mlir::Value row;  ///< i32: the lane's row within a matrix, or pair of matrices
    mlir::Value unit; ///< i32: the byte within a pair of units
    llvm::SmallVector<mlir::Value> places; ///< i32, by the swizzled bits of the matrix's position; made when needed
  };
  mlir::Value matrixAddress(LanePlaces &lanes, int64_t row, int64_t byte);

  //===- WarpRoles.cpp: producer and consumers, rings, products that overlap --------------------------------------===//
  mlir::LogicalResult lowerRoles(tile::RolesOp op);
  void lowerTake(tile::TakeOp op);
  void lowerRelease(tile::ReleaseOp op);
  void arrive(mlir::Value barrier);
  void claimProgram(tile::ClaimProgramOp op);
  void announceProgram(tile::AnnounceProgramOp op);
  void awaitProgram(tile::AwaitProgramOp op);
  mlir::Value programNumber(mlir::Value slot);
  /// A fill's buffer in its ring, and the parity of the phase in which it arrives: i32.
  struct RingPosition {
    mlir::Value slot, parity;
  };
  RingPosition positionOf(const SharedBuffer &ring, mlir::Value number);
  mlir::Value barrierOf(const SharedBuffer &ring, bool empty, mlir::Value slot);
  void waitBarrier(mlir::Value barrier, mlir::Value parity);
  void takeTurn();
  void passTurn();
  void startProduct(mlir::Value a, mlir::Value right, mlir::Value accumulator, bool transB, mlir::Value result);
  void awaitProduct(mlir::Value started, int64_t pending, mlir::Value result);
  mlir::Value matrixDescriptor(const SharedBuffer &buffer, mlir::Value byte, int64_t boxStride);
  mlir::Value advance(mlir::Value descriptor, int64_t bytes);
  void multiply(llvm::SmallVectorImpl<mlir::Value> &acc, bool fromZero, llvm::ArrayRef<mlir::Value> a,
                mlir::Value descriptor, mlir::Type element, bool transB);

  //===- TensorMaps.cpp: TMA --------------------------------------------------------------------------------------===//
  void prefetchTensorMaps(mlir::ValueRange maps);
  mlir::LogicalResult lowerFill(tile::FillOp op);
  mlir::LogicalResult lowerBulkStore(tile::BulkStoreOp op);
  /// Where a block begins in a tensor: its map, and a coordinate (i32) in each of the map's dimensions, columns and
  /// rows first.
  struct MapPlace {
    mlir::Value map;
    llvm::SmallVector<mlir::Value> coordinates;
    /// The coordinates of so many boxes of columns further on.
    llvm::SmallVector<mlir::Value> ofBox(mlir::ImplicitLocOpBuilder &b, int64_t box) const;
  };
  mlir::FailureOr<MapPlace> placeInMap(mlir::Value viewed, mlir::ValueRange indices);

  //===- Shared emitters ------------------------------------------------------------------------------------------===//
  mlir::Value i32(int64_t value) { return mlir::arith::ConstantOp::create(b, b.getI32IntegerAttr(value)); }
  mlir::Value index(int64_t value) { return mlir::arith::ConstantIndexOp::create(b, value); }
  /// What became of a scalar of the program, an index, in 32 bits.
  mlir::Value toI32(mlir::Value old) {
    return mlir::arith::IndexCastOp::create(b, b.getI32Type(), scalars.lookup(old));
  }
  mlir::Value toIndex(mlir::Value i32Value) {
    return mlir::arith::IndexCastOp::create(b, b.getIndexType(), i32Value);
  }
  /// Within a loop: 0 (the sign of its number, which is at least 0), i32, which no compiler knows. What depends on it
  /// stays in the step.
  mlir::Value hiddenZero();
  mlir::Value globalAddress(mlir::Value base, mlir::Type element, mlir::Value elements);
  /// Address of an element of a view, and the element; one new index a dimension.
  mlir::Value addressOf(tile::ViewOp view, mlir::ValueRange indices);
  mlir::Value loadElement(tile::ViewOp view, mlir::ValueRange indices);
  /// The first of the warp's rows, i32; in a tile.on_half of that half.
  mlir::Value warpRow();
  /// Row of slab `slab`, lower (0) or upper (1) half, that this thread holds: i32.
  mlir::Value rowOf(int64_t slab, int64_t half);
  /// The same; within a loop LLVM does not compute it, and what is made of it, ahead of the loop (tile-sink-rows).
  mlir::Value rowInStep(int64_t slab, int64_t half);
  /// First of the two columns of group `group` that this thread holds: i32.
  mlir::Value colOf(int64_t group);
  /// Columns of this thread's elements, of a tile whose first column is `base` (i32): what they share, and from that
  /// the column of element `e` of a group.
  mlir::Value sharedColumn(mlir::Value base);
  mlir::Value columnFrom(mlir::Value shared, int64_t group, int64_t e);
  int64_t slabsOf(int64_t rows) const { return rows / (16 * warps) / (halfRow ? 2 : 1); }
  /// Elements of a tile that a thread holds, where they are not packed.
  size_t countOf(mlir::RankedTensorType tile) const {
    int64_t slabs = slabsOf(tile.getDimSize(0));
    return static_cast<size_t>(tile.getRank() == 2 ? slabs * groupsOf(tile.getDimSize(1)) * 4 : slabs * 2);
  }
  static bool isPacked(mlir::RankedTensorType tile) {
    return tile.getRank() == 2 && (tile.getElementType().isF16() || tile.getElementType().isBF16());
  }
  static int64_t groupsOf(int64_t cols) { return (cols + 7) / 8; }
  void ifThen(mlir::Value condition, llvm::function_ref<void()> body);
  int64_t threads() const { return 32 * warps; }

  mlir::func::FuncOp func;
  int64_t warps; ///< that share tiles: with roles, the consumers
  bool roles;    ///< of the sm_90a family
  bool rowByRow; ///< a thread computes one row's softmax after the other's
  int64_t perSm; ///< programs that are to fit an SM
  bool consuming = false; ///< in the consumers' region
  mlir::ImplicitLocOpBuilder b;
  mlir::Value thread, warp, lane, laneRow, laneCol; ///< i32; laneRow = lane / 4, laneCol = 2 (lane % 4)
  mlir::Value shared;                               ///< base of dynamic shared memory
  mlir::IRMapping scalars;
  llvm::DenseMap<mlir::Value, Fragment> fragments;
  llvm::DenseMap<mlir::Value, SharedBuffer> sharedBuffers;
  HeldCopies heldCopies;
  bool mayHoldCopies = false;
  mlir::Value halfRow; ///< i32: in a tile.on_half, where its rows begin; else null
  LookedAt looked; ///< by the last vote
  mlir::Value copiesBehind; ///< i32: copies that are emitted now wait for it; or null
  llvm::SmallVector<mlir::Value> loopNumbers; ///< of the loops around, i32
  llvm::DenseMap<mlir::Value, mlir::Value> tensorMaps; ///< by the tensor's pointer argument
  llvm::SmallVector<mlir::Value> ringOrder;
  SharedBuffer programRing;             ///< announcements of programs: its barriers, and numbers at `offset`
  mlir::Value programCounter, programs; ///< parameters, of persistent blocks
  llvm::DenseMap<mlir::Value, bool> numbers; ///< see findNumbers; true: at least 0
  /// Of started products: the registers that they read.
  llvm::DenseMap<mlir::Value, llvm::SmallVector<mlir::Value>> pendingInputs;
  int64_t sharedBytes = 0;
};

} // namespace tilewright::tile2nvvm

#endif // TILEWRIGHT_CONVERSION_TILETONVVM_LOWERING_H
