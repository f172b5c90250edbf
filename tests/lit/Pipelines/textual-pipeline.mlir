// The pipeline as text: what -tilewright-cpu stands for, and the same passes by name giving the same program.
// RUN: tilewright-opt "%s" -tilewright-cpu -dump-pass-pipeline -o /dev/null 2>&1 | FileCheck "%s"
// RUN: tilewright-opt "%s" -tilewright-cpu=until=schedule -dump-pass-pipeline -o /dev/null 2>&1 | FileCheck "%s" --check-prefix=SCHEDULE
// RUN: tilewright-opt "%s" -tilewright-cpu=until=vector -o "%t.pipeline"
// RUN: tilewright-opt "%s" -pass-pipeline="builtin.module(attn-expand,func.func(cse),func.func(tile-apply-schedule),func.func(tile-fuse-rowwise),convert-tile-to-vector,func.func(cse))" -o "%t.passes"
// RUN: diff "%t.pipeline" "%t.passes"

// CHECK: builtin.module(
// CHECK-NEXT: attn-expand,
// CHECK-NEXT: func.func(
// CHECK-NEXT: cse
// CHECK-NEXT: ),
// CHECK-NEXT: func.func(
// CHECK-NEXT: tile-apply-schedule
// CHECK-NEXT: ),
// CHECK-NEXT: func.func(
// CHECK-NEXT: tile-fuse-rowwise
// CHECK-NEXT: ),
// CHECK-NEXT: convert-tile-to-vector,
// CHECK-NEXT: func.func(
// CHECK-NEXT: cse
// CHECK-NEXT: ),
// CHECK-NEXT: convert-scf-to-cf
// CHECK-NEXT: convert-vector-to-llvm
// Nothing may be reassociated behind the back of a fixed order of float operations.
// CHECK-SAME: reassociate-fp-reductions=false
// CHECK-NEXT: convert-arith-to-llvm
// CHECK-NEXT: convert-cf-to-llvm
// CHECK-NEXT: convert-func-to-llvm
// CHECK-NEXT: reconcile-unrealized-casts
// CHECK-NEXT: {{^ *\)$}}

// SCHEDULE: attn-expand,
// SCHEDULE: tile-fuse-rowwise
// SCHEDULE-NOT: convert-
func.func @row_limits(%p: !attn.tensor<3 x i32, strided>, %l: !attn.tensor<2 x i32, strided>, %sq: i64, %sk: i64,
                      %o: i64, %n: i64)
    attributes {tile.schedule = #tile.schedule<kq, 16 x 64, micro 8 x 2>, tile.target = #tile.cpu<"x86-64-v2">} {
  attn.row_limits pairs(%p) limits(%l) seqlens(%sq, %sk) offset(%o) count(%n)
      : !attn.tensor<3 x i32, strided>, !attn.tensor<2 x i32, strided>
  return
}
