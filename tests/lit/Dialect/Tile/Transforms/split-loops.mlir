// Loops of their own for full and for partial blocks.
// RUN: tilewright-opt "%s" --pass-pipeline="builtin.module(func.func(tile-split-loops))" -split-input-file | FileCheck "%s"
// RUN: sed "s/ split_loops true//" "%s" | tilewright-opt --pass-pipeline="builtin.module(func.func(tile-split-loops))" -split-input-file | FileCheck "%s" --check-prefix=OFF

// OFF-LABEL: func.func @causal(
// OFF-COUNT-1: scf.for
// OFF: scf.if
// OFF-LABEL: func.func @window(

// Full blocks first, up to where they end but not past the loop; then partial ones. What one carries the next takes.
// CHECK-LABEL: func.func @causal(
// CHECK-SAME: %[[BEGIN:arg[0-9]+]]: index, %[[END:arg[0-9]+]]: index, %[[FULL_END:arg[0-9]+]]: index)
// CHECK: %[[LATER:.*]] = arith.maxsi %[[FULL_END]], %[[BEGIN]] : index
// CHECK-NEXT: %[[MIDDLE:.*]] = arith.minsi %[[LATER]], %[[END]] : index
// CHECK-NEXT: %[[FULL:.*]] = scf.for %[[J:.*]] = %[[BEGIN]] to %[[MIDDLE]] step %{{.*}} iter_args(%[[S:.*]] = %{{.*}})
// CHECK-NEXT: %[[ONE:.*]] = arith.addf %[[S]]
// CHECK-NEXT: tile.exp2 %[[ONE]]
// CHECK-NEXT: scf.yield
// CHECK: scf.for %[[I:.*]] = %[[MIDDLE]] to %[[END]] step %{{.*}} iter_args(%[[T:.*]] = %[[FULL]])
// CHECK-NEXT: arith.index_cast %[[I]]
// CHECK-NEXT: arith.sitofp
// CHECK-NEXT: tile.splat
// CHECK-NEXT: %[[HIDDEN:.*]] = arith.mulf %[[T]]
// CHECK-NEXT: tile.exp2 %[[HIDDEN]]
// CHECK-NEXT: scf.yield
// CHECK-NOT: scf.if
func.func @causal(%begin: index, %end: index, %full_end: index)
    attributes {tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 2 split_loops true>} {
  %c1 = arith.constant 1 : index
  tile.roles producer {
  } consumer {
    %z = arith.constant dense<1.0> : tensor<128xf32>
    %r = scf.for %j = %begin to %end step %c1 iter_args(%s = %z) -> (tensor<128xf32>) {
      %partial = arith.cmpi sge, %j, %full_end : index
      %n = arith.index_cast %j : index to i32
      %t = scf.if %partial -> (tensor<128xf32>) {
        %f = arith.sitofp %n : i32 to f32
        %x = tile.splat %f : tensor<128xf32>
        %hidden = arith.mulf %s, %x : tensor<128xf32>
        scf.yield %hidden : tensor<128xf32>
      } else {
        %more = arith.addf %s, %z : tensor<128xf32>
        scf.yield %more : tensor<128xf32>
      }
      %e = tile.exp2 %t : tensor<128xf32>
      scf.yield %e : tensor<128xf32>
    }
  }
  return
}

// -----

// Partial blocks on both sides.
// CHECK-LABEL: func.func @window(
// CHECK-SAME: %[[BEGIN:arg[0-9]+]]: index, %[[END:arg[0-9]+]]: index, %[[FULL_BEGIN:arg[0-9]+]]: index, %[[FULL_END:arg[0-9]+]]: index)
// CHECK: %[[A:.*]] = arith.maxsi %[[FULL_BEGIN]], %[[BEGIN]] : index
// CHECK-NEXT: %[[FIRST:.*]] = arith.minsi %[[A]], %[[END]] : index
// CHECK-NEXT: %[[ONE:.*]] = scf.for %{{.*}} = %[[BEGIN]] to %[[FIRST]] step
// CHECK-NEXT: arith.mulf
// CHECK: %[[B:.*]] = arith.maxsi %[[FULL_END]], %[[FIRST]] : index
// CHECK-NEXT: %[[LAST:.*]] = arith.minsi %[[B]], %[[END]] : index
// CHECK-NEXT: %[[TWO:.*]] = scf.for %{{.*}} = %[[FIRST]] to %[[LAST]] step %{{.*}} iter_args(%[[S:.*]] = %[[ONE]])
// CHECK-NEXT: scf.yield %[[S]]
// CHECK: scf.for %{{.*}} = %[[LAST]] to %[[END]] step %{{.*}} iter_args(%{{.*}} = %[[TWO]])
// CHECK-NEXT: arith.mulf
func.func @window(%begin: index, %end: index, %full_begin: index, %full_end: index)
    attributes {tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 2 split_loops true>} {
  %c1 = arith.constant 1 : index
  tile.roles producer {
  } consumer {
    %z = arith.constant dense<1.0> : tensor<128xf32>
    %r = scf.for %j = %begin to %end step %c1 iter_args(%s = %z) -> (tensor<128xf32>) {
      %ahead = arith.cmpi slt, %j, %full_begin : index
      %behind = arith.cmpi sge, %j, %full_end : index
      %partial = arith.ori %ahead, %behind : i1
      %t = scf.if %partial -> (tensor<128xf32>) {
        %hidden = arith.mulf %s, %s : tensor<128xf32>
        scf.yield %hidden : tensor<128xf32>
      } else {
        scf.yield %s : tensor<128xf32>
      }
      scf.yield %t : tensor<128xf32>
    }
  }
  return
}

// -----

// What else a branch asks for is not known of a range; and other programs' loops are not this pass's.
// CHECK-LABEL: func.func @others(
// CHECK-COUNT-2: scf.for
// CHECK-NOT: scf.for
func.func @others(%begin: index, %end: index, %padded: i1)
    attributes {tile.schedule = #tile.gpu_schedule<128 x 16, warps 8, stages 2 split_loops true>} {
  %c1 = arith.constant 1 : index
  %zero = arith.constant dense<1.0> : tensor<128xf32>
  %o = scf.for %j = %begin to %end step %c1 iter_args(%s = %zero) -> (tensor<128xf32>) {
    %behind = arith.cmpi sge, %j, %begin : index
    %t = scf.if %behind -> (tensor<128xf32>) {
      scf.yield %zero : tensor<128xf32>
    } else {
      scf.yield %s : tensor<128xf32>
    }
    scf.yield %t : tensor<128xf32>
  }
  tile.roles producer {
  } consumer {
    %z = arith.constant dense<1.0> : tensor<128xf32>
    %r = scf.for %j = %begin to %end step %c1 iter_args(%s = %z) -> (tensor<128xf32>) {
      %behind = arith.cmpi sge, %j, %begin : index
      %partial = arith.ori %behind, %padded : i1
      %t = scf.if %partial -> (tensor<128xf32>) {
        scf.yield %z : tensor<128xf32>
      } else {
        scf.yield %s : tensor<128xf32>
      }
      scf.yield %t : tensor<128xf32>
    }
  }
  return
}
