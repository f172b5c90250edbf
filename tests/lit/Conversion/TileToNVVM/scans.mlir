// Where a mask's elements begin and end, random bits of fragments, rows cleared in shared memory, and bounds of tiles that
// lie partly outside of their views.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm -split-input-file | FileCheck "%s"

// Every warp looks at all bytes, a lane at every 32nd, 16 of them at once; the last one is read again instead of what lies
// past the end. No shared memory, no barrier: a vote tells all lanes, and where 32 bytes and those one ahead of them are
// alike, in all 16 pairs, nothing begins or ends.
// CHECK-LABEL: llvm.func @hull(
// CHECK-SAME: tile.shared_bytes = 0
// CHECK: %[[SIZE:.*]] = arith.index_cast %{{.*}} : index to i32
// CHECK: %[[LAST:.*]] = arith.subi %[[SIZE]], %{{.*}} : i32
// CHECK: %[[STEP:.*]] = arith.constant 512 : i32
// CHECK: %[[HULL:.*]]:5 = scf.for %[[START:.*]] = %{{.*}} to %[[SIZE]] step %[[STEP]] iter_args(%[[RISE:.*]] = %{{.*}}, %[[LASTRISE:.*]] = %{{.*}}, %[[FALL:.*]] = %{{.*}}, %[[LASTFALL:.*]] = %{{.*}}, %[[BEFORE:.*]] = %{{.*}})
// CHECK: arith.minsi %{{.*}}, %[[LAST]] : i32
// CHECK: llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr<1> -> i8
// CHECK: %[[SET:.*]] = arith.cmpi ne, %{{.*}} : i8
// CHECK: %[[WORD:.*]] = nvvm.vote.sync ballot %{{.*}}, %[[SET]]
// CHECK-COUNT-15: nvvm.vote.sync ballot
// CHECK-NOT: nvvm.vote.sync
// CHECK: %[[MOVED:.*]] = arith.shli %[[WORD]], %{{.*}} : i32
// CHECK: %[[TOP:.*]] = arith.shrui %[[BEFORE]], %{{.*}} : i32
// CHECK: %[[AHEAD:.*]] = arith.ori %[[MOVED]], %[[TOP]] : i32
// CHECK: arith.xori %[[WORD]], %[[AHEAD]] : i32
// CHECK: %[[CHANGES:.*]] = arith.cmpi ne
// CHECK: scf.if %[[CHANGES]] -> (i32, i32, i32, i32) {
// CHECK: %[[KEPT:.*]] = arith.andi %[[WORD]], %[[AHEAD]] : i32
// CHECK: %[[RISES:.*]] = arith.xori %[[WORD]], %[[KEPT]] : i32
// CHECK: llvm.intr.cttz"(%[[RISES]])
// CHECK: llvm.intr.ctlz"(%[[RISES]])
// CHECK: %[[FALLS:.*]] = arith.xori %[[AHEAD]], %[[KEPT]] : i32
// CHECK: } else {
// CHECK: scf.yield %[[RISE]], %[[LASTRISE]], %[[FALL]], %[[LASTFALL]] : i32, i32, i32, i32
// The highest bit of the last 32 is the last byte, behind which there is no fall.
// CHECK: %[[LASTSET:.*]] = arith.cmpi slt, %[[HULL]]#4, %{{.*}} : i32
// CHECK: %[[END:.*]] = arith.select %[[LASTSET]], %[[SIZE]], %[[HULL]]#3 : i32
// Of nothing at all both ends are 0.
// CHECK: arith.minui %[[HULL]]#0, %[[END]] : i32
// Without a hole the last rise, the first element, is not behind the first fall.
// CHECK: %[[ANY:.*]] = arith.cmpi ult, %[[HULL]]#2, %[[HULL]]#1 : i32
// CHECK: arith.select %[[ANY]], %[[HULL]]#2, %{{.*}} : i32
// CHECK: arith.select %[[ANY]], %[[HULL]]#1, %{{.*}} : i32
// CHECK-NOT: nvvm.barrier
// CHECK: llvm.return
func.func @hull(%m: !tile.ptr<i8>, %q: !tile.ptr<i32>, %n: i64, %ms: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %size = arith.index_cast %n : i64 to index
  %step = arith.index_cast %ms : i64 to index
  %c = tile.view %m[%one] sizes(%size) strides(%step) : !tile.ptr<i8> -> !tile.view<1 x i8>
  %first, %end, %holes:2 = tile.hull %c : !tile.view<1 x i8>
  %w = tile.view %q[%zero] sizes(%c16) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %h = arith.index_cast %holes#1 : index to i32
  %t = tile.splat %h : tensor<16xi32>
  tile.store %t, %w[%first] bounds [false] : tensor<16xi32>, !tile.view<1 x i32, unit>
  tile.store %t, %w[%end] bounds [false] : tensor<16xi32>, !tile.view<1 x i32, unit>
  return
}

// -----

// One Philox call, 14 multiplications, serves eight of a thread's elements, in the upper and the lower half of each word:
// 16 x 32 are 16 a lane, 2 calls.
// CHECK-LABEL: llvm.func @random_bits(
// CHECK-COUNT-28: arith.mului_extended
// CHECK-NOT: arith.mului_extended
// CHECK: llvm.return
func.func @random_bits(%r: i64, %x: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 32, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %a = arith.trunci %r : i64 to i32
  %k = arith.trunci %x : i64 to i32
  %t = tile.random_bits [%a, %a] counter(%a, %k) key(%k, %a) : tensor<16x32xi32>
  return
}

// -----

// Of 16 columns, which half of each word they take is known when the kernel runs: bit 4 of the first column.
// CHECK-LABEL: llvm.func @random_bits_of_16_columns(
// CHECK: %[[COL:.*]] = arith.addi %{{.*}}, %{{.*}} : i32
// CHECK: %[[BIT:.*]] = arith.andi %{{.*}}, %c16{{.*}} : i32
// CHECK: %[[SECOND:.*]] = arith.cmpi ne, %[[BIT]], %{{.*}} : i32
// CHECK-COUNT-14: arith.mului_extended
// CHECK: %[[LOWER:.*]] = arith.shli %[[WORD:.*]], %{{.*}} : i32
// CHECK: arith.select %[[SECOND]], %[[LOWER]], %[[WORD]] : i32
// CHECK-COUNT-14: arith.mului_extended
// CHECK-NOT: arith.mului_extended
// CHECK: llvm.return
func.func @random_bits_of_16_columns(%r: i64, %x: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %a = arith.trunci %r : i64 to i32
  %k = arith.trunci %x : i64 to i32
  %t = tile.random_bits [%a, %a] counter(%a, %k) key(%k, %a) : tensor<16x16xi32>
  return
}

// -----

// A lane asks for two of 40 elements, those that the view has and that are counted, and all lanes vote.
// CHECK-LABEL: llvm.func @all_set(
// CHECK-SAME: tile.shared_bytes = 0
// CHECK: %[[ASKED:.*]] = arith.cmpi ult, %{{.*}}, %{{.*}} : i32
// CHECK: scf.if %[[ASKED]] -> (i8) {
// CHECK: llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr<1> -> i8
// CHECK: } else {
// CHECK: %[[FIRSTSET:.*]] = arith.cmpi ne, %{{.*}} : i8
// CHECK: %[[INSIDE:.*]] = arith.cmpi ult
// CHECK: %[[COUNTED:.*]] = arith.cmpi slt
// CHECK: %[[BOTH:.*]] = arith.andi %[[INSIDE]], %[[COUNTED]] : i1
// CHECK: scf.if %[[BOTH]] -> (i8) {
// CHECK: %[[SECONDSET:.*]] = arith.cmpi ne, %{{.*}} : i8
// What is not there changes no vote.
// CHECK: %[[OUTSIDE:.*]] = arith.xori %[[ASKED]], %{{.*}} : i1
// CHECK: %[[FIRST:.*]] = arith.ori %[[FIRSTSET]], %[[OUTSIDE]] : i1
// CHECK: %[[SECOND:.*]] = arith.ori %[[SECONDSET]], %{{.*}} : i1
// CHECK: %[[ALL:.*]] = arith.andi %[[FIRST]], %[[SECOND]] : i1
// CHECK: nvvm.vote.sync all %{{.*}}, %[[ALL]]
// A second vote on the same elements looks at nothing again.
// CHECK-NOT: llvm.load
// CHECK: %[[ANY:.*]] = arith.ori %[[FIRSTSET]], %[[SECONDSET]] : i1
// CHECK: nvvm.vote.sync any %{{.*}}, %[[ANY]]
func.func @all_set(%m: !tile.ptr<i8>, %q: !tile.ptr<i32>, %n: i64, %f: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %size = arith.index_cast %n : i64 to index
  %first = arith.index_cast %f : i64 to index
  %c = tile.view %m[%zero] sizes(%size) strides(%one) : !tile.ptr<i8> -> !tile.view<1 x i8, unit>
  %all = tile.all_set %c[%first] count 40 : !tile.view<1 x i8, unit>
  %some = tile.any_set %c[%first] count 40 : !tile.view<1 x i8, unit>
  %w = tile.view %q[%zero] sizes(%c16) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %both = arith.andi %all, %some : i1
  %a = arith.extui %both : i1 to i32
  %t = tile.splat %a : tensor<16xi32>
  tile.store %t, %w[%zero] bounds [false] : tensor<16xi32>, !tile.view<1 x i32, unit>
  return
}

// -----

// Of 40 elements a lane reads two; 32 bits, which all lanes have, say which are set. Moved by the thread's first column, 2
// (lane % 4), its bits are 0 and 1, 8 and 9, and so on, in both of its rows, and in the other word.
// CHECK-LABEL: llvm.func @hide_unset(
// CHECK: %[[FIRSTSET:.*]] = arith.cmpi ne, %{{.*}} : i8
// CHECK: %[[SECONDSET:.*]] = arith.cmpi ne, %{{.*}} : i8
// CHECK: %[[FIRSTWORD:.*]] = nvvm.vote.sync ballot %{{.*}}, %[[FIRSTSET]]
// CHECK: %[[FIRST:.*]] = arith.shrui %[[FIRSTWORD]], %[[LANECOL:.*]] : i32
// CHECK: %[[SECONDWORD:.*]] = nvvm.vote.sync ballot %{{.*}}, %[[SECONDSET]]
// CHECK: %[[SECOND:.*]] = arith.shrui %[[SECONDWORD]], %[[LANECOL]] : i32
// CHECK: %[[BIT0:.*]] = arith.constant 1 : i32
// CHECK: %[[AND0:.*]] = arith.andi %[[FIRST]], %[[BIT0]] : i32
// CHECK: %[[SHOWN0:.*]] = arith.cmpi ne, %[[AND0]], %{{.*}} : i32
// CHECK-COUNT-2: arith.select %[[SHOWN0]]
// CHECK: arith.constant 2 : i32
// CHECK: arith.constant 256 : i32
// CHECK: arith.constant 512 : i32
// CHECK: arith.constant 65536 : i32
// CHECK: arith.constant 16777216 : i32
// CHECK: arith.andi %[[SECOND]], %{{.*}} : i32
// CHECK: arith.andi %[[SECOND]], %{{.*}} : i32
// CHECK-NOT: arith.andi
// CHECK: llvm.return
func.func @hide_unset(%m: !tile.ptr<i8>, %n: i64, %f: i64, %x: f32)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 48, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %size = arith.index_cast %n : i64 to index
  %first = arith.index_cast %f : i64 to index
  %c = tile.view %m[%zero] sizes(%size) strides(%one) : !tile.ptr<i8> -> !tile.view<1 x i8, unit>
  %t = tile.splat %x : tensor<16x40xf32>
  %s = tile.hide_unset %t by %c[%first] : tensor<16x40xf32>, !tile.view<1 x i8, unit>
  return
}

// -----

// Only where `when` says so: a thread a row, its byte if the row lies inside the mask's view, then zeros over the whole
// row. All threads wait inside the branch, which all of them take.
// CHECK-LABEL: llvm.func @clear_rows(
// CHECK: %[[WHEN:.*]] = arith.cmpi ne, %arg3
// CHECK: scf.if %[[WHEN]] {
// CHECK: scf.for %[[ROW:.*]] = %{{.*}} to %{{.*}} step %{{.*}} {
// CHECK: %[[NUMBER:.*]] = arith.addi %{{.*}}, %[[ROW]] : index
// CHECK: %[[INSIDE:.*]] = arith.cmpi ult, %[[NUMBER]], %{{.*}} : index
// CHECK: scf.if %[[INSIDE]] {
// CHECK: %[[BYTE:.*]] = llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr<1> -> i8
// CHECK: %[[HIDDEN:.*]] = arith.cmpi eq, %[[BYTE]], %{{.*}} : i8
// CHECK: scf.if %[[HIDDEN]] {
// 32 columns of 2 bytes.
// CHECK-COUNT-4: llvm.store %{{.*}} {alignment = 16 : i64} : vector<4xi32>, !llvm.ptr<3>
// CHECK-NOT: llvm.store
// CHECK: }
// CHECK: }
// CHECK: }
// CHECK-NEXT: nvvm.barrier
// CHECK-NEXT: }
func.func @clear_rows(%m: !tile.ptr<i8>, %n: i64, %r: i64, %holes: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %none = arith.constant 0 : i64
  %when = arith.cmpi ne, %holes, %none : i64
  %size = arith.index_cast %n : i64 to index
  %row = arith.index_cast %r : i64 to index
  %c = tile.view %m[%zero] sizes(%size) strides(%one) : !tile.ptr<i8> -> !tile.view<1 x i8, unit>
  %b = tile.alloc_shared : !tile.shared<16 x 32 x f16>
  tile.clear_rows %b where %c[%row] when %when : !tile.shared<16 x 32 x f16>, !tile.view<1 x i8, unit>
  return
}

// -----

// A store that columns bound writes element by element, each if its column is inside, where rows end in the middle of what
// 16 bytes hold.
// CHECK-LABEL: llvm.func @bounded_columns(
// CHECK-NOT: vector<4xi32>
// CHECK: %[[SIZE:.*]] = arith.index_cast %arg1 : i64 to index
// CHECK: %[[INSIDE:.*]] = arith.cmpi slt, %{{.*}}, %[[SIZE]] : index
// CHECK: scf.if %[[INSIDE]] {
// CHECK: llvm.store %{{.*}} {alignment = 2 : i64} : i16, !llvm.ptr<1>
// CHECK-NOT: : i32, !llvm.ptr<1>
// CHECK: llvm.return
func.func @bounded_columns(%p: !tile.ptr<f16>, %n: i64, %x: f32)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %size = arith.index_cast %n : i64 to index
  %v = tile.view %p[%zero] sizes(%c16, %size) strides(%size, %one) : !tile.ptr<f16> -> !tile.view<2 x f16, unit 16>
  %t = tile.splat %x : tensor<16x16xf32>
  %h = arith.truncf %t : tensor<16x16xf32> to tensor<16x16xf16>
  tile.store %h, %v[%zero, %zero] bounds [false, true] : tensor<16x16xf16>, !tile.view<2 x f16, unit 16>
  return
}

// -----

// A rank-1 tile may begin before its view does: below 0 is outside, like past the end.
// CHECK-LABEL: llvm.func @before_the_first(
// CHECK: %[[SIZE:.*]] = arith.index_cast %arg2 : i64 to index
// CHECK: %[[INSIDE:.*]] = arith.cmpi ult, %{{.*}}, %[[SIZE]] : index
// CHECK: scf.if %[[INSIDE]] -> (i32) {
// CHECK: llvm.load
// CHECK: } else {
// CHECK: llvm.return
func.func @before_the_first(%p: !tile.ptr<i32>, %c: i64, %s: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %col = arith.index_cast %c : i64 to index
  %size = arith.index_cast %s : i64 to index
  %v = tile.view %p[%zero] sizes(%size) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %t = tile.load %v[%col] bounds [true] : !tile.view<1 x i32, unit> -> tensor<16xi32>
  tile.store %t, %v[%zero] bounds [false] : tensor<16xi32>, !tile.view<1 x i32, unit>
  return
}

// -----

// What is not there is not set.
// CHECK-LABEL: llvm.func @any_set(
// CHECK: %[[NOTHING:.*]] = arith.constant 0 : i8
// CHECK: scf.if
// CHECK: } else {
// CHECK-NEXT: scf.yield %[[NOTHING]] : i8
// CHECK: %[[FIRST:.*]] = arith.cmpi ne
// CHECK: %[[SECOND:.*]] = arith.cmpi ne
// CHECK: %[[ANY:.*]] = arith.ori %[[FIRST]], %[[SECOND]] : i1
// CHECK: nvvm.vote.sync any %{{.*}}, %[[ANY]]
func.func @any_set(%m: !tile.ptr<i8>, %q: !tile.ptr<i32>, %n: i64, %f: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %size = arith.index_cast %n : i64 to index
  %first = arith.index_cast %f : i64 to index
  %c = tile.view %m[%zero] sizes(%size) strides(%one) : !tile.ptr<i8> -> !tile.view<1 x i8, unit>
  %any = tile.any_set %c[%first] count 64 : !tile.view<1 x i8, unit>
  %w = tile.view %q[%zero] sizes(%c16) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %a = arith.extui %any : i1 to i32
  %t = tile.splat %a : tensor<16xi32>
  tile.store %t, %w[%zero] bounds [false] : tensor<16xi32>, !tile.view<1 x i32, unit>
  return
}
