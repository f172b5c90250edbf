// Numbers of blocks and programs take 32 bits: what is divided, what loops and their branches are decided by, and the
// smaller or larger of two. And how many programs are to fit an SM is what the assembler is told.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm | FileCheck "%s"

// CHECK-LABEL: llvm.func @numbers(
// CHECK-SAME: nvvm.minctasm = 3 : i32
// CHECK: %[[WIDE:.*]] = arith.index_cast %arg1 : i64 to index
// CHECK-NEXT: %[[NARROW:.*]] = arith.index_cast %[[WIDE]] : index to i32
// CHECK-NEXT: %[[BLOCKS:.*]] = arith.index_castui %[[NARROW]] : i32 to index
// A stride keeps its 64 bits.
// CHECK-NEXT: %[[STRIDE:.*]] = arith.index_cast %arg2 : i64 to index
// CHECK-NEXT: nvvm.read.ptx.sreg.ctaid.x
// CHECK-NEXT: %[[PROGRAM:.*]] = arith.index_castui %{{.*}} : i32 to index
// CHECK-NEXT: %[[REST:.*]] = arith.remui %[[PROGRAM]], %[[BLOCKS]] : index
// CHECK-NEXT: arith.index_cast %[[REST]] : index to i32
// CHECK: arith.muli %{{.*}}, %[[STRIDE]] : index
// CHECK: scf.for %[[J:.*]] = %{{.*}} to %{{.*}} step %{{.*}} : i32 {
// CHECK: arith.index_cast %[[J]] : i32 to index
// A sum that no loop's number decides may be larger than 31 bits: it is compared as it is.
// CHECK: %[[POSITION:.*]] = arith.addi %{{.*}}, %[[STRIDE]] : index
// CHECK-NEXT: arith.cmpi sle, %[[POSITION]], %[[STRIDE]] : index
func.func @numbers(%p: !tile.ptr<f32>, %n: i64, %s: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1, stages 2 per_sm 3>,
                tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %blocks = arith.index_cast %n : i64 to index
  %stride = arith.index_cast %s : i64 to index
  %program = tile.program : index
  %row = arith.remui %program, %blocks : index
  %offset = arith.muli %row, %stride : index
  %view = tile.view %p[%offset] sizes(%blocks) strides(%c1) : !tile.ptr<f32> -> !tile.view<1 x f32>
  %one = arith.constant dense<1.0> : tensor<16xf32>
  scf.for %j = %c0 to %blocks step %c1 {
    %first = arith.cmpi eq, %j, %row : index
    %position = arith.addi %offset, %stride : index
    %inside = arith.cmpi sle, %position, %stride : index
    %both = arith.andi %first, %inside : i1
    scf.if %both {
      tile.store %one, %view[%c0] bounds [true] : tensor<16xf32>, !tile.view<1 x f32>
    }
  }
  return
}

// The smaller and the larger of two numbers; and a launch has as many blocks as programs, where each runs one.
// CHECK-LABEL: llvm.func @extremes(
// CHECK: %[[WIDE:.*]] = arith.index_cast %arg1 : i64 to index
// CHECK: nvvm.read.ptx.sreg.nctaid.x
// CHECK-NEXT: %[[COUNT:.*]] = arith.index_castui %{{.*}} : i32 to index
// CHECK-DAG: %[[A:.*]] = arith.index_cast %[[WIDE]] : index to i32
// CHECK-DAG: %[[B:.*]] = arith.index_cast %[[COUNT]] : index to i32
// CHECK: %[[LESS:.*]] = arith.minsi %[[A]], %[[B]] : i32
// CHECK-NEXT: arith.index_cast %[[LESS]] : i32 to index
// CHECK: %[[MORE:.*]] = arith.maxsi %{{.*}}, %{{.*}} : i32
// CHECK-NEXT: arith.index_cast %[[MORE]] : i32 to index
func.func @extremes(%p: !tile.ptr<f32>, %n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>,
                tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %rows = arith.index_cast %n : i64 to index
  %count = tile.program_count : index
  %less = arith.minsi %rows, %count : index
  %more = arith.maxsi %less, %c0 : index
  %view = tile.view %p[%c0] sizes(%more) strides(%c1) : !tile.ptr<f32> -> !tile.view<1 x f32>
  %one = arith.constant dense<1.0> : tensor<16xf32>
  tile.store %one, %view[%c0] bounds [true] : tensor<16xf32>, !tile.view<1 x f32>
  return
}
