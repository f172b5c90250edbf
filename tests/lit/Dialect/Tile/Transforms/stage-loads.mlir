// Operands of products go through shared memory, copied while the step before computes.
// RUN: tilewright-opt "%s" --pass-pipeline="builtin.module(func.func(tile-stage-loads))" -split-input-file | FileCheck "%s"

!v = !tile.view<2 x bf16, unit 16>

// CHECK-LABEL: func.func @chain(
// One buffer for q, one for each load of the loops' bodies.
// CHECK: %[[VS:.*]] = tile.alloc_shared : <16 x 8 x bf16>
// CHECK: %[[KS:.*]] = tile.alloc_shared : <16 x 32 x bf16>
// CHECK: %[[QS:.*]] = tile.alloc_shared : <16 x 32 x bf16>
// Ahead of the loops: q, and the first block of keys of the chain if there is any, with the bounds of the strictest loop.
// CHECK: tile.async_load %arg0[%{{.*}}] bounds [false, false] to %[[QS]]
// CHECK: %[[ANY:.*]] = arith.cmpi slt, %[[BEGIN:arg3]], %[[END:arg5]] : index
// CHECK: scf.if %[[ANY]] {
// CHECK: %[[ROW0:.*]] = arith.muli %[[BEGIN]], %{{.*}} : index
// CHECK: tile.async_load %arg1[%[[ROW0]], %{{.*}}] bounds [true, false] to %[[KS]]
// CHECK: scf.for %[[J:.*]] = %[[BEGIN]] to %[[MID:arg4]]
// The keys have arrived; start this block's values, then multiply by the keys.
// CHECK-NEXT: tile.commit_loads
// CHECK-NEXT: tile.await_loads
// CHECK: tile.async_load %arg2[{{.*}}] bounds [true, false] to %[[VS]]
// CHECK: %[[S:.*]] = tile.dot %[[QS]], %[[KS]], %{{.*}} trans_b
// Nobody reads these keys any more: start the next block's, of the next loop too.
// CHECK-NEXT: tile.commit_loads
// CHECK-NEXT: tile.await_loads
// CHECK: %[[NEXT:.*]] = arith.addi %[[J]], %{{.*}} : index
// CHECK: %[[MORE:.*]] = arith.cmpi slt, %[[NEXT]], %[[END]] : index
// CHECK: scf.if %[[MORE]] {
// CHECK: %[[ROW1:.*]] = arith.muli %[[NEXT]], %{{.*}} : index
// CHECK: tile.async_load %arg1[%[[ROW1]], %{{.*}}] bounds [true, false] to %[[KS]]
// CHECK: tile.dot %{{.*}}, %[[VS]], %{{.*}}
// The second loop of the chain starts no first copy of its own.
// CHECK: scf.for %{{.*}} = %[[MID]] to %[[END]]
// CHECK-NEXT: tile.commit_loads
// CHECK-NEXT: tile.await_loads
// CHECK-NOT: tile.load
func.func @chain(%q: !v, %k: !v, %v: !v, %begin: index, %mid: index, %end: index) -> tensor<16x8xf32>
    attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<16x16xf32>
  %zo = arith.constant dense<0.0> : tensor<16x8xf32>
  %qt = tile.load %q[%c0, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
  %full = scf.for %j = %begin to %mid step %c1 iter_args(%o = %zo) -> (tensor<16x8xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    %p = arith.truncf %s : tensor<16x16xf32> to tensor<16x16xbf16>
    %vt = tile.load %v[%row, %c0] bounds [false, false] : !v -> tensor<16x8xbf16>
    %next = tile.dot %p, %vt, %o : tensor<16x16xbf16>, tensor<16x8xbf16> -> tensor<16x8xf32>
    scf.yield %next : tensor<16x8xf32>
  }
  %all = scf.for %j = %mid to %end step %c1 iter_args(%o = %full) -> (tensor<16x8xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [true, false] : !v -> tensor<16x32xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    %p = arith.truncf %s : tensor<16x16xf32> to tensor<16x16xbf16>
    %vt = tile.load %v[%row, %c0] bounds [true, false] : !v -> tensor<16x8xbf16>
    %next = tile.dot %p, %vt, %o : tensor<16x16xbf16>, tensor<16x8xbf16> -> tensor<16x8xf32>
    scf.yield %next : tensor<16x8xf32>
  }
  return %all : tensor<16x8xf32>
}

// -----

// A load that feeds anything but products stays as it is.
// CHECK-LABEL: func.func @not_an_operand(
// CHECK: tile.load
// CHECK-NOT: tile.alloc_shared
func.func @not_an_operand(%limits: !tile.view<1 x i32, unit>) -> tensor<16xi32> attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %t = tile.load %limits[%c0] bounds [true] : !tile.view<1 x i32, unit> -> tensor<16xi32>
  return %t : tensor<16xi32>
}

// -----

!v = !tile.view<2 x bf16, unit 16>

// Three stages: two blocks are started ahead of the loop, each a group, and one more in every iteration; threads meet
// once an iteration.
// CHECK-LABEL: func.func @ring(
// CHECK: %[[VS:.*]] = tile.alloc_shared : <16 x 8 x bf16, stages 3>
// CHECK: %[[KS:.*]] = tile.alloc_shared : <16 x 32 x bf16, stages 3>
// CHECK: %[[QS:.*]] = tile.alloc_shared : <16 x 32 x bf16>
// CHECK: tile.async_load %arg0{{.*}} to %[[QS]]
// CHECK: scf.if
// CHECK: %[[K0:.*]] = tile.slot %[[KS]][%c0{{.*}}]
// CHECK-NEXT: %[[V0:.*]] = tile.slot %[[VS]][%c0{{.*}}]
// CHECK-NEXT: tile.async_load %arg1{{.*}} to %[[K0]]
// CHECK-NEXT: tile.async_load %arg2{{.*}} to %[[V0]]
// CHECK: }
// CHECK-NEXT: tile.commit_loads
// CHECK: scf.if
// CHECK: tile.slot %[[KS]][%c1{{.*}}]
// CHECK: }
// CHECK-NEXT: tile.commit_loads
// CHECK: scf.for %[[J:.*]] = %[[BEGIN:arg4]] to %[[END:arg5]]
// CHECK-NEXT: tile.await_loads pending 1
// CHECK: %[[N:.*]] = arith.subi %[[J]], %[[BEGIN]]
// CHECK: %[[SLOT:.*]] = arith.remui %[[N]], %c3
// CHECK: scf.if
// CHECK: tile.async_load %arg1
// CHECK: tile.async_load %arg2
// CHECK: }
// CHECK-NEXT: tile.commit_loads
// CHECK-NEXT: %[[K:.*]] = tile.slot %[[KS]][%[[SLOT]]]
// CHECK-NEXT: %[[V:.*]] = tile.slot %[[VS]][%[[SLOT]]]
// CHECK: tile.dot %[[QS]], %[[K]]
// CHECK-NOT: tile.await_loads
// CHECK: tile.dot %{{.*}}, %[[V]]
// The result goes through the queries' buffer, once all copies have arrived, there were iterations or not.
// CHECK: tile.commit_loads
// CHECK-NEXT: tile.await_loads
// CHECK-NEXT: tile.store %{{.*}}, %arg3{{.*}} through %[[QS]]
func.func @ring(%q: !v, %k: !v, %v: !v, %out: !v, %begin: index, %end: index)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1, stages 3>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<16x16xf32>
  %zo = arith.constant dense<0.0> : tensor<16x8xf32>
  %qt = tile.load %q[%c0, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
  %o = scf.for %j = %begin to %end step %c1 iter_args(%o = %zo) -> (tensor<16x8xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    %p = arith.truncf %s : tensor<16x16xf32> to tensor<16x16xbf16>
    %vt = tile.load %v[%row, %c0] bounds [false, false] : !v -> tensor<16x8xbf16>
    %next = tile.dot %p, %vt, %o : tensor<16x16xbf16>, tensor<16x8xbf16> -> tensor<16x8xf32>
    scf.yield %next : tensor<16x8xf32>
  }
  %h = arith.truncf %o : tensor<16x8xf32> to tensor<16x8xbf16>
  tile.store %h, %out[%c0, %c0] bounds [false, false] : tensor<16x8xbf16>, !v
  return
}

// -----

!v = !tile.view<2 x bf16, unit 16>
!b = !tile.view<2 x bf16, unit 4>

// A matrix that joins the scores is copied like a block of values, and read where its load stood: after the products of
// the keys, behind which threads meet.
// CHECK-LABEL: func.func @bias(
// CHECK: %[[BS:.*]] = tile.alloc_shared : <16 x 16 x bf16>
// CHECK: %[[KS:.*]] = tile.alloc_shared : <16 x 32 x bf16>
// CHECK: scf.for %[[J:.*]] = %arg3 to %arg4
// CHECK-NEXT: tile.commit_loads
// CHECK-NEXT: tile.await_loads
// CHECK-NEXT: %[[COL:.*]] = arith.muli %[[J]], %c16
// CHECK-NEXT: tile.async_load %arg2[%{{.*}}, %[[COL]]] bounds [true, true] to %[[BS]]
// CHECK: tile.dot %{{.*}}, %[[KS]]
// CHECK-NEXT: tile.commit_loads
// CHECK-NEXT: tile.await_loads
// CHECK: %[[B:.*]] = tile.load_shared %[[BS]] : <16 x 16 x bf16> -> tensor<16x16xbf16>
// CHECK-NEXT: arith.extf %[[B]]
// CHECK-NOT: tile.load %
func.func @bias(%q: !v, %k: !v, %b: !b, %begin: index, %end: index) -> tensor<16x16xf32> attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<16x16xf32>
  %qt = tile.load %q[%c0, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
  %o = scf.for %j = %begin to %end step %c1 iter_args(%o = %zs) -> (tensor<16x16xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [true, false] : !v -> tensor<16x32xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    %bt = tile.load %b[%c0, %row] bounds [true, true] {any_past_end} : !b -> tensor<16x16xbf16>
    %bf = arith.extf %bt : tensor<16x16xbf16> to tensor<16x16xf32>
    %sum = arith.addf %s, %bf : tensor<16x16xf32>
    scf.yield %sum : tensor<16x16xf32>
  }
  return %o : tensor<16x16xf32>
}

// -----

!v = !tile.view<2 x bf16, unit 16>
!b = !tile.view<2 x f32, unit>

// With two stages it has a ring of its own; float32 needs no alignment of its rows beyond the elements'.
// CHECK-LABEL: func.func @bias_ring(
// CHECK: %[[BS:.*]] = tile.alloc_shared : <16 x 16 x f32, stages 2>
// CHECK: %[[B0:.*]] = tile.slot %[[BS]][%c0{{.*}}]
// CHECK: tile.async_load %arg2{{.*}} to %[[B0]]
// CHECK: scf.for
// CHECK-NEXT: tile.await_loads
// CHECK: tile.async_load %arg2
// CHECK: tile.commit_loads
// CHECK: %[[SLOT:.*]] = tile.slot %[[BS]]
// CHECK: tile.dot
// CHECK-NEXT: tile.load_shared %[[SLOT]] : <16 x 16 x f32> -> tensor<16x16xf32>
func.func @bias_ring(%q: !v, %k: !v, %b: !b, %begin: index, %end: index) -> tensor<16x16xf32>
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1, stages 2>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<16x16xf32>
  %qt = tile.load %q[%c0, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
  %o = scf.for %j = %begin to %end step %c1 iter_args(%o = %zs) -> (tensor<16x16xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [true, false] : !v -> tensor<16x32xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    %bt = tile.load %b[%c0, %row] bounds [true, true] {any_past_end} : !b -> tensor<16x16xf32>
    %sum = arith.addf %s, %bt : tensor<16x16xf32>
    scf.yield %sum : tensor<16x16xf32>
  }
  return %o : tensor<16x16xf32>
}

// -----

!v = !tile.view<2 x bf16, unit 16>

// Read in place: 16-bit elements in rows aligned to them only, rows with gaps, one row for all, bools, what comes before
// the products of the keys, and what depends on more than the loop's number.
// CHECK-LABEL: func.func @in_place(
// CHECK-COUNT-2: tile.alloc_shared
// CHECK-NOT: tile.alloc_shared
// CHECK-COUNT-6: tile.load %
// CHECK-NOT: tile.load_shared
// CHECK: return
func.func @in_place(%q: !v, %k: !v, %unaligned: !tile.view<2 x bf16, unit>, %gaps: !tile.view<2 x bf16>,
                    %p: !tile.ptr<bf16>, %bools: !tile.view<2 x i8, unit 16>, %b: !v, %rows: !tile.view<1 x i64, unit>,
                    %begin: index, %end: index) -> tensor<16x16xf32> attributes {tile.kernel} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %vector = tile.view %p[%zero] sizes(%end, %end) strides(%zero, %one) : !tile.ptr<bf16> -> !v
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<16x16xf32>
  %qt = tile.load %q[%c0, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
  %o = scf.for %j = %begin to %end step %c1 iter_args(%o = %zs) -> (tensor<16x16xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [true, false] : !v -> tensor<16x32xbf16>
    %early = tile.load %b[%c0, %row] bounds [true, true] {any_past_end} : !v -> tensor<16x16xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    %read = tile.load_scalar %rows[%j] : !tile.view<1 x i64, unit> -> i64
    %other = arith.index_cast %read : i64 to index
    %t0 = tile.load %unaligned[%c0, %row] bounds [true, true] {any_past_end} : !tile.view<2 x bf16, unit> -> tensor<16x16xbf16>
    %t1 = tile.load %gaps[%c0, %row] bounds [true, true] {any_past_end} : !tile.view<2 x bf16> -> tensor<16x16xbf16>
    %t2 = tile.load %vector[%c0, %row] bounds [true, true] {any_past_end} : !v -> tensor<16x16xbf16>
    %t3 = tile.load %bools[%c0, %row] bounds [true, true] {any_past_end} : !tile.view<2 x i8, unit 16> -> tensor<16x16xi8>
    %t4 = tile.load %b[%c0, %other] bounds [true, true] {any_past_end} : !v -> tensor<16x16xbf16>
    scf.yield %s : tensor<16x16xf32>
  }
  return %o : tensor<16x16xf32>
}

// -----

!v = !tile.view<2 x bf16, unit 16>
!w = !tile.view<1 x i8, unit>

// Rows that a mask chooses are cleared in shared memory when the copy has arrived: right before the first product that
// reads it, for the rows that the copy began with.
// CHECK-LABEL: func.func @chosen_rows(
// CHECK: %[[VS:.*]] = tile.alloc_shared : <16 x 8 x bf16>
// CHECK: scf.for %[[J:[a-z0-9]+]] =
// CHECK: tile.async_load %arg2[{{.*}}] bounds [true, false] to %[[VS]]
// CHECK: %[[ROW:.*]] = arith.muli %[[J]]
// CHECK: tile.dot
// CHECK-NEXT: tile.commit_loads
// CHECK-NEXT: tile.await_loads
// CHECK: tile.clear_rows %[[VS]] where %arg3[%[[ROW]]] when %arg6 : <16 x 8 x bf16>, <1 x i8, unit>
// CHECK-NEXT: tile.dot %{{.*}}, %[[VS]], %{{.*}}
// CHECK-NOT: tile.clear_rows
// CHECK-NOT: tile.load
// CHECK: return
func.func @chosen_rows(%q: !v, %k: !v, %v: !v, %real: !w, %begin: index, %end: index, %holes: i1) -> tensor<16x8xf32>
    attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<16x16xf32>
  %zo = arith.constant dense<0.0> : tensor<16x8xf32>
  %qt = tile.load %q[%c0, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
  %all = scf.for %j = %begin to %end step %c1 iter_args(%o = %zo) -> (tensor<16x8xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [true, false] : !v -> tensor<16x32xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    %p = arith.truncf %s : tensor<16x16xf32> to tensor<16x16xbf16>
    %vt = tile.load %v[%row, %c0] bounds [true, false] where %real when %holes : !w : !v -> tensor<16x8xbf16>
    %once = tile.dot %p, %vt, %o : tensor<16x16xbf16>, tensor<16x8xbf16> -> tensor<16x8xf32>
    %next = tile.dot %p, %vt, %once : tensor<16x16xbf16>, tensor<16x8xbf16> -> tensor<16x8xf32>
    scf.yield %next : tensor<16x8xf32>
  }
  return %all : tensor<16x8xf32>
}

// -----

!v = !tile.view<2 x bf16, unit 16>
!w = !tile.view<1 x i8, unit>

// In a ring it is the slot that this iteration reads.
// CHECK-LABEL: func.func @chosen_rows_ring(
// CHECK: %[[VS:.*]] = tile.alloc_shared : <16 x 8 x bf16, stages 2>
// CHECK: scf.for %[[J:[a-z0-9]+]] =
// CHECK: %[[SLOT:.*]] = arith.remui
// CHECK: scf.if
// CHECK: tile.commit_loads
// CHECK: %[[V:.*]] = tile.slot %[[VS]][%[[SLOT]]]
// CHECK: %[[ROW:.*]] = arith.muli %[[J]]
// CHECK: tile.clear_rows %[[V]] where %arg3[%[[ROW]]] when %arg6 : <16 x 8 x bf16>, <1 x i8, unit>
// CHECK-NEXT: tile.dot %{{.*}}, %[[V]], %{{.*}}
func.func @chosen_rows_ring(%q: !v, %k: !v, %v: !v, %real: !w, %begin: index, %end: index, %holes: i1)
    -> tensor<16x8xf32> attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1, stages 2>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<16x16xf32>
  %zo = arith.constant dense<0.0> : tensor<16x8xf32>
  %qt = tile.load %q[%c0, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
  %all = scf.for %j = %begin to %end step %c1 iter_args(%o = %zo) -> (tensor<16x8xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [true, false] : !v -> tensor<16x32xbf16>
    %s = tile.dot %qt, %kt, %zs trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    %p = arith.truncf %s : tensor<16x16xf32> to tensor<16x16xbf16>
    %vt = tile.load %v[%row, %c0] bounds [true, false] where %real when %holes : !w : !v -> tensor<16x8xbf16>
    %next = tile.dot %p, %vt, %o : tensor<16x16xbf16>, tensor<16x8xbf16> -> tensor<16x8xf32>
    scf.yield %next : tensor<16x8xf32>
  }
  return %all : tensor<16x8xf32>
}

// -----

!v = !tile.view<2 x bf16, unit 16>

// A second chain takes the first one's buffer where one fits, once all threads have left the first; where none does, it
// gets its own.
// CHECK-LABEL: func.func @second_chain(
// CHECK: %[[OTHER:.*]] = tile.alloc_shared : <32 x 32 x bf16>
// CHECK-COUNT-2: tile.alloc_shared : <16 x 32 x bf16>
// CHECK-NOT: tile.alloc_shared
// CHECK: tile.async_load %arg0{{.*}} to %[[Q:[0-9a-z]+]] :
// The first chain begins with a copy, not with a barrier.
// CHECK-NOT: tile.await_loads
// CHECK: scf.if
// CHECK: tile.async_load %arg1{{.*}} to %[[K:[0-9a-z]+]] :
// CHECK: scf.for
// CHECK: tile.dot %[[Q]], %[[K]]
// CHECK: scf.yield
// CHECK: tile.commit_loads
// CHECK-NEXT: tile.await_loads
// CHECK: scf.if
// CHECK: tile.async_load %arg1{{.*}} to %[[K]]
// CHECK: scf.for
// CHECK: tile.dot %[[Q]], %[[K]]
// CHECK: scf.yield
// CHECK: tile.commit_loads
// CHECK-NEXT: tile.await_loads
// CHECK: scf.if
// CHECK: tile.async_load %arg1{{.*}} to %[[OTHER]]
// CHECK: scf.for
// CHECK: tile.dot %[[Q]], %[[OTHER]]
func.func @second_chain(%q: !v, %k: !v, %begin: index, %end: index) -> (tensor<16x16xf32>, tensor<16x32xf32>)
    attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<16x16xf32>
  %zw = arith.constant dense<0.0> : tensor<16x32xf32>
  %qt = tile.load %q[%c0, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
  %first = scf.for %j = %begin to %end step %c1 iter_args(%o = %zs) -> (tensor<16x16xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
    %s = tile.dot %qt, %kt, %o trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    scf.yield %s : tensor<16x16xf32>
  }
  %second = scf.for %j = %begin to %end step %c1 iter_args(%o = %first) -> (tensor<16x16xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
    %s = tile.dot %qt, %kt, %o trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
    scf.yield %s : tensor<16x16xf32>
  }
  %third = scf.for %j = %begin to %end step %c1 iter_args(%o = %zw) -> (tensor<16x32xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [false, false] : !v -> tensor<32x32xbf16>
    %s = tile.dot %qt, %kt, %o trans_b : tensor<16x32xbf16>, tensor<32x32xbf16> -> tensor<16x32xf32>
    scf.yield %s : tensor<16x32xf32>
  }
  return %second, %third : tensor<16x16xf32>, tensor<16x32xf32>
}

// -----

!v = !tile.view<2 x bf16, unit 16>
!w = !tile.view<1 x i8, unit>

// Products in branches read the iteration's slots; rows that are left out are cleared ahead of the branches.
// CHECK-LABEL: func.func @branches_ring(
// CHECK: %[[VS:.*]] = tile.alloc_shared : <16 x 8 x bf16, stages 2>
// CHECK: %[[KS:.*]] = tile.alloc_shared : <16 x 32 x bf16, stages 2>
// CHECK: scf.for
// CHECK-NEXT: tile.await_loads
// CHECK: tile.commit_loads
// CHECK: %[[K:.*]] = tile.slot %[[KS]]
// CHECK: %[[V:.*]] = tile.slot %[[VS]]
// CHECK: tile.clear_rows %[[V]] where %arg3
// CHECK-NEXT: scf.if %arg7
// CHECK: tile.dot %{{.*}}, %[[K]]
// CHECK: tile.dot %{{.*}}, %[[V]]
// CHECK: } else {
// CHECK: tile.dot %{{.*}}, %[[K]]
// CHECK: tile.dot %{{.*}}, %[[V]]
// CHECK-NOT: tile.await_loads
// CHECK: return
func.func @branches_ring(%q: !v, %k: !v, %v: !v, %real: !w, %begin: index, %end: index, %holes: i1, %partial: i1,
                         %hidden: tensor<16x16xf32>) -> tensor<16x8xf32>
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1, stages 2 bodies 2>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %zs = arith.constant dense<0.0> : tensor<16x16xf32>
  %zo = arith.constant dense<0.0> : tensor<16x8xf32>
  %qt = tile.load %q[%c0, %c0] bounds [false, false] : !v -> tensor<16x32xbf16>
  %all = scf.for %j = %begin to %end step %c1 iter_args(%o = %zo) -> (tensor<16x8xf32>) {
    %row = arith.muli %j, %c16 : index
    %kt = tile.load %k[%row, %c0] bounds [true, false] : !v -> tensor<16x32xbf16>
    %vt = tile.load %v[%row, %c0] bounds [true, false] where %real when %holes : !w : !v -> tensor<16x8xbf16>
    %next = scf.if %partial -> (tensor<16x8xf32>) {
      %s = tile.dot %qt, %kt, %hidden trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
      %p = arith.truncf %s : tensor<16x16xf32> to tensor<16x16xbf16>
      %sum = tile.dot %p, %vt, %o : tensor<16x16xbf16>, tensor<16x8xbf16> -> tensor<16x8xf32>
      scf.yield %sum : tensor<16x8xf32>
    } else {
      %s = tile.dot %qt, %kt, %zs trans_b : tensor<16x32xbf16>, tensor<16x32xbf16> -> tensor<16x16xf32>
      %p = arith.truncf %s : tensor<16x16xf32> to tensor<16x16xbf16>
      %sum = tile.dot %p, %vt, %o : tensor<16x16xbf16>, tensor<16x8xbf16> -> tensor<16x8xf32>
      scf.yield %sum : tensor<16x8xf32>
    }
    scf.yield %next : tensor<16x8xf32>
  }
  return %all : tensor<16x8xf32>
}
