// RUN: tilewright-opt "%s" -tile-apply-schedule | FileCheck "%s"

// The example of Passes.td: the first coordinate varies fastest.
// CHECK-LABEL: func.func @two_coordinates(
// CHECK-SAME: %[[N:[a-z0-9]+]]: index,
// CHECK-NOT: tile.coords
// CHECK: %[[P:.*]] = tile.program : index
// CHECK-DAG: %[[M:.*]] = arith.remui %[[P]], %[[N]] : index
// CHECK-DAG: %[[B:.*]] = arith.divui %[[P]], %[[N]] : index
// CHECK: tile.load_scalar %{{.*}}[%[[M]], %[[B]]]
func.func @two_coordinates(%n: index, %v: !tile.view<2 x i32>)
    attributes {tile.kernel, tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 2>} {
  %m, %b = tile.coords sizes(%n) : index, index
  %x = tile.load_scalar %v[%m, %b] : !tile.view<2 x i32> -> i32
  return
}

// Three coordinates are digits of a mixed-radix number. With heavy_last only the first of them runs backwards: the
// last row block of head 0 is program 0.
// CHECK-LABEL: func.func @heavy_last(
// CHECK-SAME: %[[BLOCKS:[a-z0-9]+]]: index, %[[HEADS:[a-z0-9]+]]: index,
// CHECK-DAG: %[[P:.*]] = tile.program : index
// CHECK-DAG: %[[ONE:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[R:.*]] = arith.remui %[[P]], %[[BLOCKS]] : index
// CHECK-DAG: %[[REST:.*]] = arith.divui %[[P]], %[[BLOCKS]] : index
// CHECK-DAG: %[[H:.*]] = arith.remui %[[REST]], %[[HEADS]] : index
// CHECK-DAG: %[[B:.*]] = arith.divui %[[REST]], %[[HEADS]] : index
// CHECK-DAG: %[[LAST:.*]] = arith.subi %[[BLOCKS]], %[[ONE]] : index
// CHECK-DAG: %[[M:.*]] = arith.subi %[[LAST]], %[[R]] : index
// CHECK: tile.load_scalar %{{.*}}[%[[M]]]
// CHECK: tile.load_scalar %{{.*}}[%[[H]]]
// CHECK: tile.load_scalar %{{.*}}[%[[B]]]
func.func @heavy_last(%blocks: index, %heads: index, %v: !tile.view<1 x i32>)
    attributes {tile.kernel, tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 2>} {
  %m, %h, %b = tile.coords sizes(%blocks, %heads) {heavy_last} : index, index, index
  %x = tile.load_scalar %v[%m] : !tile.view<1 x i32> -> i32
  %y = tile.load_scalar %v[%h] : !tile.view<1 x i32> -> i32
  %z = tile.load_scalar %v[%b] : !tile.view<1 x i32> -> i32
  return
}

// A grid of one dimension is the program number itself.
// CHECK-LABEL: func.func @one_coordinate(
// CHECK: %[[P:.*]] = tile.program : index
// CHECK-NEXT: tile.load_scalar %{{.*}}[%[[P]]]
func.func @one_coordinate(%v: !tile.view<1 x i32>)
    attributes {tile.kernel, tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 2>} {
  %b = tile.coords sizes() {heavy_last} : index
  %x = tile.load_scalar %v[%b] : !tile.view<1 x i32> -> i32
  return
}

// Every product gets the schedule's register tile, those inside loops too, and whatever it had before.
// CHECK-LABEL: func.func @dots(
// CHECK: tile.dot {{.*}} trans_b micro [4, 3] :
// CHECK: scf.for
// CHECK: tile.dot {{.*}} micro [4, 3] :
// CHECK-NOT: micro [1, 1]
func.func @dots(%a: tensor<16x8xf32>, %b: tensor<16x8xf32>, %c: tensor<16x16xf32>, %n: index)
    attributes {tile.kernel, tile.schedule = #tile.schedule<qk, 16 x 32, micro 4 x 3>} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %d = tile.dot %a, %b, %c trans_b : tensor<16x8xf32>, tensor<16x8xf32> -> tensor<16x16xf32>
  %e = scf.for %i = %zero to %n step %one iter_args(%acc = %d) -> (tensor<16x16xf32>) {
    %next = tile.dot %acc, %d, %acc micro [1, 1] : tensor<16x16xf32>, tensor<16x16xf32> -> tensor<16x16xf32>
    scf.yield %next : tensor<16x16xf32>
  }
  return
}

// A function that is no kernel stays as it is, schedule or not.
// CHECK-LABEL: func.func @not_a_kernel(
// CHECK: tile.coords sizes(
func.func @not_a_kernel(%n: index) {
  %m, %b = tile.coords sizes(%n) : index, index
  return
}

// In sections of as many heads as the program says, the last rows of all of them come first; the last section may be
// narrower.
// CHECK-LABEL: func.func @sections(
// CHECK-SAME: %[[BLOCKS:arg[0-9]+]]: index, %[[HEADS:arg[0-9]+]]: index, %[[TOGETHER:arg[0-9]+]]: index
// CHECK: %[[P:.*]] = tile.program : index
// CHECK: %[[COUNT:.*]] = tile.program_count : index
// CHECK: %[[ALL:.*]] = arith.divui %[[COUNT]], %[[BLOCKS]]
// CHECK: %[[SIZE:.*]] = arith.muli %[[BLOCKS]], %[[TOGETHER]]
// CHECK: %[[SECTION:.*]] = arith.divui %[[P]], %[[SIZE]]
// CHECK: %[[FIRST:.*]] = arith.muli %[[SECTION]], %[[TOGETHER]]
// CHECK: %[[BEFORE:.*]] = arith.muli %[[FIRST]], %[[BLOCKS]]
// CHECK: %[[INSIDE:.*]] = arith.subi %[[P]], %[[BEFORE]]
// CHECK: %[[LEFT:.*]] = arith.subi %[[ALL]], %[[FIRST]]
// CHECK: %[[WIDTH:.*]] = arith.minui %[[TOGETHER]], %[[LEFT]]
// CHECK: %[[DOWN:.*]] = arith.divui %[[INSIDE]], %[[WIDTH]]
// CHECK: %[[COLUMN:.*]] = arith.remui %[[INSIDE]], %[[WIDTH]]
// CHECK: %[[LAST:.*]] = arith.subi %[[BLOCKS]], %{{.*}}
// CHECK: %[[ROWS:.*]] = arith.subi %[[LAST]], %[[DOWN]]
// CHECK: %[[BOTH:.*]] = arith.addi %[[FIRST]], %[[COLUMN]]
// CHECK: %[[HEAD:.*]] = arith.remui %[[BOTH]], %[[HEADS]]
// CHECK: %[[BATCH:.*]] = arith.divui %[[BOTH]], %[[HEADS]]
// CHECK: tile.load_scalar %{{.*}}[%[[ROWS]]]
// CHECK: tile.load_scalar %{{.*}}[%[[HEAD]]]
// CHECK: tile.load_scalar %{{.*}}[%[[BATCH]]]
func.func @sections(%blocks: index, %heads: index, %together: index, %v: !tile.view<1 x i32>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 64, warps 8, stages 2 persistent 2>} {
  %m, %h, %b = tile.coords sizes(%blocks, %heads) together(%together) {heavy_last} : index, index, index
  %x = tile.load_scalar %v[%m] : !tile.view<1 x i32> -> i32
  %y = tile.load_scalar %v[%h] : !tile.view<1 x i32> -> i32
  %z = tile.load_scalar %v[%b] : !tile.view<1 x i32> -> i32
  return
}

// Where a block runs one program, only those of the last section divide by its width: all others shift by what makes
// `together` a power of two.
// CHECK-LABEL: func.func @sections_of_blocks(
// CHECK-SAME: %[[BLOCKS:arg[0-9]+]]: index, %[[HEADS:arg[0-9]+]]: index, %[[EXPONENT:arg[0-9]+]]: index
// CHECK: %[[TOGETHER:.*]] = arith.shli %{{.*}}, %[[EXPONENT]]
// CHECK: %[[P:.*]] = tile.program : index
// CHECK: %[[COUNT:.*]] = tile.program_count : index
// CHECK: %[[SIZE:.*]] = arith.muli %[[BLOCKS]], %[[TOGETHER]]
// CHECK: %[[SECTION:.*]] = arith.divui %[[P]], %[[SIZE]]
// CHECK: %[[FIRST:.*]] = arith.muli %[[SECTION]], %[[TOGETHER]]
// CHECK: %[[BEFORE:.*]] = arith.muli %[[FIRST]], %[[BLOCKS]]
// CHECK: %[[INSIDE:.*]] = arith.subi %[[P]], %[[BEFORE]]
// CHECK: %[[LEFT:.*]] = arith.subi %[[COUNT]], %[[BEFORE]]
// CHECK: %[[WHOLE:.*]] = arith.cmpi uge, %[[LEFT]], %[[SIZE]]
// CHECK: %[[PLACE:.*]]:2 = scf.if %[[WHOLE]] -> (index, index) {
// CHECK: %[[LOWER:.*]] = arith.subi %[[TOGETHER]], %{{.*}}
// CHECK: %[[DOWN:.*]] = arith.shrui %[[INSIDE]], %[[EXPONENT]]
// CHECK: %[[COLUMN:.*]] = arith.andi %[[INSIDE]], %[[LOWER]]
// CHECK: scf.yield %[[DOWN]], %[[COLUMN]]
// CHECK: } else {
// CHECK: %[[WIDTH:.*]] = arith.divui %[[LEFT]], %[[BLOCKS]]
// CHECK: %[[DOWN2:.*]] = arith.divui %[[INSIDE]], %[[WIDTH]]
// CHECK: %[[COLUMN2:.*]] = arith.remui %[[INSIDE]], %[[WIDTH]]
// CHECK: scf.yield %[[DOWN2]], %[[COLUMN2]]
// CHECK: %[[LAST:.*]] = arith.subi %[[BLOCKS]], %{{.*}}
// CHECK: arith.subi %[[LAST]], %[[PLACE]]#0
// CHECK: arith.addi %[[FIRST]], %[[PLACE]]#1
func.func @sections_of_blocks(%blocks: index, %heads: index, %exponent: index, %v: !tile.view<1 x i32>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 64, warps 4, stages 2>} {
  %one = arith.constant 1 : index
  %together = arith.shli %one, %exponent : index
  %m, %h, %b = tile.coords sizes(%blocks, %heads) together(%together) {heavy_last} : index, index, index
  %x = tile.load_scalar %v[%m] : !tile.view<1 x i32> -> i32
  %y = tile.load_scalar %v[%h] : !tile.view<1 x i32> -> i32
  %z = tile.load_scalar %v[%b] : !tile.view<1 x i32> -> i32
  return
}
