// The types of the tile dialect, and the attributes that a tile program's function carries.
// RUN: tilewright-opt "%s" | tilewright-opt | FileCheck "%s"

// Pointers and views: the examples of TileDialect.td first.
// CHECK-LABEL: func.func @types(
// CHECK-SAME: !tile.view<2 x bf16, unit>, %{{.*}}: !tile.view<2 x bf16>,
// CHECK-SAME: !tile.view<1 x f32, unit>, %{{.*}}: !tile.view<1 x i32>,
// CHECK-SAME: !tile.ptr<f16>, %{{.*}}: !tile.ptr<i32>)
func.func @types(%a: !tile.view<2 x bf16, unit>, %b: !tile.view<2 x bf16>, %c: !tile.view<1 x f32, unit>,
                 %d: !tile.view<1 x i32>, %e: !tile.ptr<f16>, %f: !tile.ptr<i32>) {
  return
}

// CHECK-LABEL: func.func @keys_are_rows(
// CHECK-SAME: attributes {tile.kernel, tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 2>,
// CHECK-SAME: tile.target = #tile.cpu<"x86-64-v4">}
func.func @keys_are_rows() attributes {tile.kernel, tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 2>,
                                       tile.target = #tile.cpu<"x86-64-v4">} {
  return
}

// The other orientation, and the least of every number.
// CHECK-LABEL: func.func @least(
// CHECK-SAME: #tile.schedule<qk, 16 x 16, micro 1 x 1>, tile.target = #tile.cpu<"x86-64-v2">
func.func @least() attributes {tile.schedule = #tile.schedule<qk, 16 x 16, micro 1 x 1>,
                               tile.target = #tile.cpu<"x86-64-v2">} {
  return
}

// The most of every number.
// CHECK-LABEL: func.func @most(
// CHECK-SAME: #tile.schedule<qk, 512 x 512, micro 16 x 8>, tile.target = #tile.cpu<"x86-64-v3">
func.func @most() attributes {tile.schedule = #tile.schedule<qk, 512 x 512, micro 16 x 8>,
                              tile.target = #tile.cpu<"x86-64-v3">} {
  return
}

// A GPU's: stages, bodies, programs per SM, persistent blocks, turns, rows, loops and stores are left out where they are
// 1, 0 and false.
// CHECK-LABEL: func.func @gpu(
// CHECK-SAME: tile.schedule = #tile.gpu_schedule<128 x 64, warps 4>
func.func @gpu() attributes {tile.schedule = #tile.gpu_schedule<128 x 64, warps 4, stages 1 bodies 1 per_sm 1
                                                         persistent 0 turns false row_by_row false split_loops false
                                                         bulk_stores false>} {
  return
}

// CHECK-LABEL: func.func @gpu_row_by_row(
// CHECK-SAME: tile.schedule = #tile.gpu_schedule<128 x 128, warps 8, stages 2 turns true row_by_row true>
func.func @gpu_row_by_row()
    attributes {tile.schedule = #tile.gpu_schedule<128 x 128, warps 8, stages 2 turns true row_by_row true>} {
  return
}

// CHECK-LABEL: func.func @gpu_per_sm(
// CHECK-SAME: tile.schedule = #tile.gpu_schedule<64 x 64, warps 4, stages 2 bodies 2 per_sm 4>
func.func @gpu_per_sm() attributes {tile.schedule = #tile.gpu_schedule<64 x 64, warps 4, stages 2 bodies 2 per_sm 4>} {
  return
}

// CHECK-LABEL: func.func @gpu_loops_and_stores(
// CHECK-SAME: tile.schedule = #tile.gpu_schedule<128 x 128, warps 8, stages 2 split_loops true bulk_stores true>
func.func @gpu_loops_and_stores()
    attributes {tile.schedule = #tile.gpu_schedule<128 x 128, warps 8, stages 2 split_loops true bulk_stores true>} {
  return
}

// CHECK-LABEL: func.func @gpu_persistent(
// CHECK-SAME: tile.schedule = #tile.gpu_schedule<192 x 128, warps 12, stages 2 persistent 2 turns true>
func.func @gpu_persistent()
    attributes {tile.schedule = #tile.gpu_schedule<192 x 128, warps 12, stages 2 persistent 2 turns true>} {
  return
}
