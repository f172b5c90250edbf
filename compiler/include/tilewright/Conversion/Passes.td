// SPDX-License-Identifier: Apache-2.0
#ifndef TILEWRIGHT_CONVERSION_PASSES
#define TILEWRIGHT_CONVERSION_PASSES

include "mlir/Pass/PassBase.td"

def AttnExpand : Pass<"attn-expand", "::mlir::ModuleOp"> {
  let summary = "Turn attn operations into tile programs";
  let description = [{
    Replaces each function that holds an `attn` operation by the tile program that computes it: the function's
    `!attn.tensor` arguments become a pointer and one stride a dimension, its body the program that `kernels/` builds
    for the operation, with the score stages that its attributes ask for, in the order of the contract. The function
    must carry `tile.schedule`: tile shapes follow from it. Its `tile.target` is for later passes.

    First pass of every pipeline. Afterwards no `attn` operation or type is left. Changes no rounding by itself: it
    fixes the order of float32 operations that all later passes keep.

    Example:
    ```mlir
    func.func @k(%p: !attn.tensor<3 x i32, a4>, %l: !attn.tensor<2 x i32, a4>, ...) { attn.row_limits ... }
    // becomes
    func.func @k(%p: !tile.ptr<i32>, %p0: i64, %p1: i64, %p2: i64, %l: !tile.ptr<i32>, ...) attributes {tile.kernel} {
      %m, %b = tile.coords sizes(%row_blocks) : index, index
      ...
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect", "::mlir::scf::SCFDialect",
                           "::tilewright::tile::TileDialect"];
}

def ConvertTileToVector : Pass<"convert-tile-to-vector", "::mlir::ModuleOp"> {
  let summary = "Lower scheduled tile programs to row loops over native vectors (CPU)";
  let description = [{
    Gives every tile that outlives a `tile.fused` group or feeds a product a buffer in the program's scratch memory,
    reusing the buffer of a tile that dies (so a loop-carried accumulator is updated in place), and turns

    - `tile.fused` into one loop over rows, each row a handful of native vectors held in registers,
    - `tile.dot` into register-tiled loops of fused multiply-adds,
    - `tile.exp2` and `tile.log2` into polynomials,
    - views into 64-bit address arithmetic on the kernel's arguments.

    The function's signature becomes the CPU kernel ABI, `(slots: ptr, program: i64, scratch: ptr)`; the scratch size is
    left in the attribute `tile.scratch_bytes`. Runs after `tile-fuse-rowwise`. Afterwards no `tile` operation and no
    tensor is left: only func, scf, arith, vector and llvm loads, stores and address arithmetic.

    Numerical effect: products use fused multiply-adds where the target has them (from x86-64-v3 on). A sum over rows
    adds them in order, lane by lane; a sum over columns adds native vectors in order and then their lanes as a tree.
    Both orders are the same in every run.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect", "::mlir::LLVM::LLVMDialect"];
}

def ConvertTileToNVVM : Pass<"convert-tile-to-nvvm", "::mlir::ModuleOp"> {
  let summary = "Lower staged tile programs to NVVM for the sm_80 family";
  let description = [{
    Distributes every tile over the threads of a block by one layout, that of the accumulator of mma.sync.m16n8k16:
    thread `l` of a warp holds rows `l / 4` and `l / 4 + 8` of each 16-row slab, columns `2 (l % 4)` and `+ 1` of each
    group of 8. A rank-1 tile holds one value for each of the thread's rows. So elementwise operations are scalar code,
    a reduction along a row ends with two shuffles among four lanes, and an accumulator rounded to 16 bits is the next
    product's A operand as it stands. Products read the other operands from shared memory by ldmatrix; copies into
    shared memory are cp.async of as many bytes as the rows' alignment allows, or plain loads and stores where it
    allows less than four.

    The function becomes an `llvm.func` with `nvvm.kernel`; one program is one block. Runs after `tile-stage-loads`.
    Afterwards no `tile` operation and no tensor is left.

    Before anything is lowered the whole program is checked, and what a GPU has no code for is refused on its
    operation: float32 or float64 products, tiles of other elements than f32, i32 and i1 (16-bit floats only as
    operands of products and in stores), rows that the warps do not share equally, depths that are no multiple of 16,
    scalars wider than 64 bits or of f64, views and buffers that are carried or chosen, unknown operations, and buffers
    that together exceed the shared memory of the target's SM.

    Numerical effect: products accumulate in the order of the matrix instructions; exp2 and log2 are the hardware's
    approximations (ex2.approx, lg2.approx, flushing subnormals).
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::NVVM::NVVMDialect"];
}

def NvvmOrderRows : Pass<"nvvm-order-rows", "::mlir::LLVM::LLVMFuncOp"> {
  let summary = "Compute one row's softmax behind the other's";
  let description = [{
    In kernels with `tile.row_by_row`, whose schedule asks for it, orders what is computed of a product's accumulator
    by the thread's two rows: the first row's maximum, then, element by element, its weights and their sum, then the
    second row's. ptxas keeps close to the order that it is given: so the second row's maximum runs beside the first
    one's exponentials, where both rows' maxima would come first otherwise. Operations between two that have effects are
    ordered, each behind those whose results it takes; a branch without effects is moved as a whole.

    Runs after `convert-tile-to-nvvm`, which parts the branches of the rows, and removes the attribute. Changes no
    result: every value is computed from the same ones.

    Example, `%s0` and `%s1` of the first row, `%s2` and `%s3` of the second:
    ```mlir
    %m0 = llvm.intr.maxnum(%s0, %s1)          %m0 = llvm.intr.maxnum(%s0, %s1)
    %m1 = llvm.intr.maxnum(%s2, %s3)          %d0 = llvm.fsub %s0, %m0
    %d0 = llvm.fsub %s0, %m0           // to  %d1 = llvm.fsub %s1, %m0
    %d1 = llvm.fsub %s1, %m0                  %m1 = llvm.intr.maxnum(%s2, %s3)
    %d2 = llvm.fsub %s2, %m1                  %d2 = llvm.fsub %s2, %m1
    ```
  }];
}

#endif // TILEWRIGHT_CONVERSION_PASSES
