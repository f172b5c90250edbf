// Each numbered constraint of the tile dialect's operations, violated; a function is named after the constraint.
// RUN: tilewright-opt "%s" -split-input-file -verify-diagnostics

func.func @coords_C1(%n: index) {
  // expected-error @+1 {{tile.coords-C1: expected 2 results for 1 sizes, got 1}}
  %m = tile.coords sizes(%n) : index
  return
}

// -----

func.func @coords_C2(%n: index) {
  // expected-error @+1 {{tile.coords-C2: expected together only with heavy_last and two sizes}}
  %m, %h, %b = tile.coords sizes(%n, %n) together(%n) : index, index, index
  return
}

// -----

func.func @view_C1_sizes(%p: !tile.ptr<f32>, %i: index) {
  // expected-error @+1 {{tile.view-C1: expected 2 sizes and strides, got 1 and 2}}
  %v = tile.view %p[%i] sizes(%i) strides(%i, %i) : !tile.ptr<f32> -> !tile.view<2 x f32>
  return
}

// -----

func.func @view_C1_strides(%p: !tile.ptr<f32>, %i: index) {
  // expected-error @+1 {{tile.view-C1: expected 1 sizes and strides, got 1 and 2}}
  %v = tile.view %p[%i] sizes(%i) strides(%i, %i) : !tile.ptr<f32> -> !tile.view<1 x f32>
  return
}

// -----

func.func @view_C2(%p: !tile.ptr<f16>, %i: index) {
  // expected-error @+1 {{tile.view-C2: expected a view of 'f16', got 'bf16'}}
  %v = tile.view %p[%i] sizes(%i) strides(%i) : !tile.ptr<f16> -> !tile.view<1 x bf16>
  return
}

// -----

func.func @load_C1_indices(%v: !tile.view<2 x f32>, %i: index) {
  // expected-error @+1 {{tile.load-C1: expected 2 indices and bounds, got 1 and 2}}
  %t = tile.load %v[%i] bounds [true, true] : !tile.view<2 x f32> -> tensor<4x4xf32>
  return
}

// -----

func.func @load_C1_bounds(%v: !tile.view<1 x f32>, %i: index) {
  // expected-error @+1 {{tile.load-C1: expected 1 indices and bounds, got 1 and 2}}
  %t = tile.load %v[%i] bounds [true, true] : !tile.view<1 x f32> -> tensor<4xf32>
  return
}

// -----

func.func @load_C1_rank(%v: !tile.view<2 x f32>, %i: index) {
  // expected-error @+1 {{tile.load-C1: expected a tile of rank 2 and element type 'f32', got 'tensor<4xf32>'}}
  %t = tile.load %v[%i, %i] bounds [true, true] : !tile.view<2 x f32> -> tensor<4xf32>
  return
}

// -----

func.func @load_C1_element_type(%v: !tile.view<2 x f16>, %i: index) {
  // expected-error @+1 {{tile.load-C1: expected a tile of rank 2 and element type 'f16', got 'tensor<4x4xf32>'}}
  %t = tile.load %v[%i, %i] bounds [true, true] : !tile.view<2 x f16> -> tensor<4x4xf32>
  return
}

// -----

func.func @store_C1_bounds(%t: tensor<4x4xf32>, %v: !tile.view<2 x f32>, %i: index) {
  // expected-error @+1 {{tile.store-C1: expected 2 indices and bounds, got 2 and 1}}
  tile.store %t, %v[%i, %i] bounds [true] : tensor<4x4xf32>, !tile.view<2 x f32>
  return
}

// -----

func.func @store_C1_element_type(%t: tensor<4x4xf32>, %v: !tile.view<2 x bf16>, %i: index) {
  // expected-error @+1 {{tile.store-C1: expected a tile of rank 2 and element type 'bf16', got 'tensor<4x4xf32>'}}
  tile.store %t, %v[%i, %i] bounds [true, true] : tensor<4x4xf32>, !tile.view<2 x bf16>
  return
}

// -----

func.func @load_scalar_C1_indices(%v: !tile.view<2 x i32>, %i: index) {
  // expected-error @+1 {{tile.load_scalar-C1: expected 2 indices and a result of 'i32', got 1 and 'i32'}}
  %s = tile.load_scalar %v[%i] : !tile.view<2 x i32> -> i32
  return
}

// -----

func.func @load_scalar_C1_type(%v: !tile.view<1 x i32>, %i: index) {
  // expected-error @+1 {{tile.load_scalar-C1: expected 1 indices and a result of 'i32', got 1 and 'i64'}}
  %s = tile.load_scalar %v[%i] : !tile.view<1 x i32> -> i64
  return
}

// -----

func.func @dot_C1_rank(%a: tensor<4xf32>, %b: tensor<4x4xf32>, %c: tensor<4x4xf32>) {
  // expected-error @+1 {{tile.dot-C1: expected rank-2 operands, a and b of one element type, got 'tensor<4xf32>', 'tensor<4x4xf32>' and 'tensor<4x4xf32>'}}
  %d = tile.dot %a, %b, %c : tensor<4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  return
}

// -----

func.func @dot_C1_element_types(%a: tensor<4x4xf16>, %b: tensor<4x4xbf16>, %c: tensor<4x4xf32>) {
  // expected-error @+1 {{tile.dot-C1: expected rank-2 operands, a and b of one element type, got 'tensor<4x4xf16>', 'tensor<4x4xbf16>'}}
  %d = tile.dot %a, %b, %c : tensor<4x4xf16>, tensor<4x4xbf16> -> tensor<4x4xf32>
  return
}

// -----

func.func @dot_C1_depth(%a: tensor<4x8xf32>, %b: tensor<4x2xf32>, %c: tensor<4x2xf32>) {
  // expected-error @+1 {{tile.dot-C1: expected (M x K) (K x N) -> (M x N), got (4 x 8) (4 x 2) -> (4 x 2)}}
  %d = tile.dot %a, %b, %c : tensor<4x8xf32>, tensor<4x2xf32> -> tensor<4x2xf32>
  return
}

// -----

// The message shows shapes as op() sees them: after transposition.
func.func @dot_C1_transposed_depth(%a: tensor<4x8xf32>, %b: tensor<2x5xf32>, %c: tensor<8x2xf32>) {
  // expected-error @+1 {{tile.dot-C1: expected (M x K) (K x N) -> (M x N), got (8 x 4) (5 x 2) -> (8 x 2)}}
  %d = tile.dot %a, %b, %c trans_a trans_b : tensor<4x8xf32>, tensor<2x5xf32> -> tensor<8x2xf32>
  return
}

// -----

func.func @dot_C1_accumulator_shape(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>, %c: tensor<2x4xf32>) {
  // expected-error @+1 {{tile.dot-C1: expected (M x K) (K x N) -> (M x N), got (4 x 8) (8 x 2) -> (2 x 4)}}
  %d = tile.dot %a, %b, %c : tensor<4x8xf32>, tensor<8x2xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @dot_C1_accumulator_type(%a: tensor<4x8xf16>, %b: tensor<8x2xf16>, %c: tensor<4x2xf16>) {
  // expected-error @+1 {{'tile.dot' op operand #2 must be statically shaped, non-empty tensor of rank 1 or 2 of 32-bit float values, but got 'tensor<4x2xf16>'}}
  %d = tile.dot %a, %b, %c : tensor<4x8xf16>, tensor<8x2xf16> -> tensor<4x2xf16>
  return
}

// -----

func.func @transpose_C1_shape(%a: tensor<4x8xf32>) {
  // expected-error @+1 {{tile.transpose-C1: expected the result to be the operand's shape reversed, got 'tensor<4x8xf32>' -> 'tensor<4x8xf32>'}}
  %t = tile.transpose %a : tensor<4x8xf32> -> tensor<4x8xf32>
  return
}

// -----

func.func @transpose_C1_element_type(%a: tensor<4x8xf32>) {
  // expected-error @+1 {{tile.transpose-C1: expected the result to be the operand's shape reversed, got 'tensor<4x8xf32>' -> 'tensor<8x4xf16>'}}
  %t = tile.transpose %a : tensor<4x8xf32> -> tensor<8x4xf16>
  return
}

// -----

func.func @reduce_C1_axis(%a: tensor<4x8xf32>) {
  // expected-error @+1 {{tile.reduce-C1: expected the operand without dimension 2 as the result, got 'tensor<4x8xf32>' -> 'tensor<8xf32>'}}
  %t = tile.reduce max %a axis 2 : tensor<4x8xf32> -> tensor<8xf32>
  return
}

// -----

func.func @reduce_C1_negative_axis(%a: tensor<4x8xf32>) {
  // expected-error @+1 {{tile.reduce-C1: expected the operand without dimension -1 as the result}}
  %t = tile.reduce max %a axis -1 : tensor<4x8xf32> -> tensor<8xf32>
  return
}

// -----

func.func @reduce_C1_result(%a: tensor<4x8xf32>) {
  // expected-error @+1 {{tile.reduce-C1: expected the operand without dimension 1 as the result, got 'tensor<4x8xf32>' -> 'tensor<8xf32>'}}
  %t = tile.reduce sum %a axis 1 : tensor<4x8xf32> -> tensor<8xf32>
  return
}

// -----

func.func @reduce_C1_rank(%a: tensor<4xf32>) {
  // expected-error @+1 {{tile.reduce-C1: expected the operand without dimension 0 as the result}}
  %t = tile.reduce sum %a axis 0 : tensor<4xf32> -> tensor<4xf32>
  return
}

// -----

func.func @broadcast_C1_shape(%a: tensor<4xf32>) {
  // expected-error @+1 {{tile.broadcast-C1: expected the result without dimension 0 as the operand, got 'tensor<4xf32>' -> 'tensor<4x8xf32>'}}
  %t = tile.broadcast %a axis 0 : tensor<4xf32> -> tensor<4x8xf32>
  return
}

// -----

func.func @broadcast_C1_element_type(%a: tensor<8xf32>) {
  // expected-error @+1 {{tile.broadcast-C1: expected the result without dimension 0 as the operand, got 'tensor<8xf32>' -> 'tensor<4x8xf16>'}}
  %t = tile.broadcast %a axis 0 : tensor<8xf32> -> tensor<4x8xf16>
  return
}

// -----

func.func @broadcast_C1_axis(%a: tensor<8xf32>) {
  // expected-error @+1 {{tile.broadcast-C1: expected the result without dimension 3 as the operand}}
  %t = tile.broadcast %a axis 3 : tensor<8xf32> -> tensor<4x8xf32>
  return
}

// -----

func.func @splat_type(%x: f32) {
  // expected-error @+1 {{op failed to verify that the scalar has the tile's element type}}
  %t = "tile.splat"(%x) : (f32) -> tensor<4xf16>
  return
}

// -----

func.func @index_C1(%i: i32) {
  // expected-error @+1 {{tile.index-C1: expected an axis within 0..0, got 1}}
  %t = tile.index %i axis 1 : tensor<4xi32>
  return
}

// -----

func.func @index_C1_negative(%i: i32) {
  // expected-error @+1 {{tile.index-C1: expected an axis within 0..1, got -1}}
  %t = tile.index %i axis -1 : tensor<4x4xi32>
  return
}

// -----

func.func @exp2_type(%x: tensor<4xf16>) {
  // expected-error @+1 {{'tile.exp2' op operand #0 must be statically shaped, non-empty tensor of rank 1 or 2 of 32-bit float values, but got 'tensor<4xf16>'}}
  %t = tile.exp2 %x : tensor<4xf16>
  return
}

// -----

func.func @fused_C1_none() {
  // expected-error @+1 {{tile.fused-C1: expected one or two dimensions, got 0}}
  tile.fused [] {
    tile.yield
  }
  return
}

// -----

func.func @fused_C1_three() {
  // expected-error @+1 {{tile.fused-C1: expected one or two dimensions, got 3}}
  tile.fused [2, 3, 4] {
    tile.yield
  }
  return
}

// -----

func.func @fused_C2_type(%x: tensor<4xf32>) {
  // expected-error @+1 {{tile.fused-C2: expected tile.yield of ('tensor<8xf32>'), got tile.yield of ('tensor<4xf32>')}}
  %t = tile.fused [4] -> tensor<8xf32> {
    tile.yield %x : tensor<4xf32>
  }
  return
}

// -----

func.func @fused_C2_count(%x: tensor<4xf32>) {
  // expected-error @+1 {{tile.fused-C2: expected tile.yield of ('tensor<4xf32>'), got tile.yield of ()}}
  %t = tile.fused [4] -> tensor<4xf32> {
    tile.yield
  }
  return
}

// -----

func.func @fused_C2_terminator() {
  // expected-error @+1 {{tile.fused-C2: expected tile.yield of (), got llvm.unreachable of ()}}
  tile.fused [4] {
    llvm.unreachable
  }
  return
}

// -----

func.func @fused_empty_body() {
  // expected-error @+1 {{'tile.fused' op expects a non-empty block}}
  tile.fused [4] {
  }
  return
}

// -----

func.func @yield_outside_fused(%x: tensor<4xf32>) {
  // expected-error @+1 {{'tile.yield' op expects parent op to be one of 'tile.fused, tile.on_half'}}
  tile.yield %x : tensor<4xf32>
}

// -----

func.func @fused_C3_shape(%x: tensor<4xf32>) {
  // expected-error @+1 {{tile.fused-C3: expected row-wise operations over [8], got tile.exp2 over [4]}}
  %r = tile.fused [8] -> tensor<4xf32> {
    %y = tile.exp2 %x : tensor<4xf32>
    tile.yield %y : tensor<4xf32>
  }
  return
}

// -----

// A reduction's shape is its operand's.
func.func @fused_C3_reduction(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{tile.fused-C3: expected row-wise operations over [4], got tile.reduce over [4, 8]}}
  %r = tile.fused [4] -> tensor<4xf32> {
    %y = tile.reduce max %x axis 1 : tensor<4x8xf32> -> tensor<4xf32>
    tile.yield %y : tensor<4xf32>
  }
  return
}

// -----

func.func @fused_C3_kind(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{tile.fused-C3: expected row-wise operations over [8, 4], got tile.transpose}}
  %r = tile.fused [8, 4] -> tensor<8x4xf32> {
    %y = tile.transpose %x : tensor<4x8xf32> -> tensor<8x4xf32>
    tile.yield %y : tensor<8x4xf32>
  }
  return
}

// -----

func.func @fused_C3_scalar(%v: !tile.view<1 x f32>, %i: index) {
  // expected-error @+1 {{tile.fused-C3: expected row-wise operations over [4], got tile.load_scalar}}
  tile.fused [4] {
    %s = tile.load_scalar %v[%i] : !tile.view<1 x f32> -> f32
    tile.yield
  }
  return
}

// -----

func.func @fused_C4(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{tile.fused-C4: expected no operation to read a reduction of the group, but arith.subf does}}
  %r = tile.fused [4, 4] -> tensor<4x4xf32> {
    %m = tile.reduce max %x axis 1 : tensor<4x4xf32> -> tensor<4xf32>
    %b = tile.broadcast %m axis 1 : tensor<4xf32> -> tensor<4x4xf32>
    %y = arith.subf %x, %b : tensor<4x4xf32>
    tile.yield %y : tensor<4x4xf32>
  }
  return
}

// -----

func.func @tile_dynamic(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{must be statically shaped, non-empty tensor of rank 1 or 2 of 32-bit float values, but got 'tensor<?x4xf32>'}}
  %y = tile.exp2 %x : tensor<?x4xf32>
  return
}

// -----

func.func @tile_rank_3(%x: tensor<2x4x4xf32>) {
  // expected-error @+1 {{must be statically shaped, non-empty tensor of rank 1 or 2 of 32-bit float values, but got 'tensor<2x4x4xf32>'}}
  %y = tile.exp2 %x : tensor<2x4x4xf32>
  return
}

// -----

func.func @tile_rank_0(%x: f32) {
  // expected-error @+1 {{must be statically shaped, non-empty tensor of rank 1 or 2 of any type values, but got 'tensor<f32>'}}
  %y = tile.splat %x : tensor<f32>
  return
}

// -----

func.func @tile_empty(%x: f32) {
  // expected-error @+1 {{must be statically shaped, non-empty tensor of rank 1 or 2 of any type values, but got 'tensor<0x4xf32>'}}
  %y = tile.splat %x : tensor<0x4xf32>
  return
}

// -----

func.func @fold_columns(%x: tensor<16x12xf32>, %l: tensor<16x8xf32>) {
  // expected-error @+1 {{tile.fold-C1: expected as many rows, and a multiple of the result's columns, got 'tensor<16x12xf32>' into 'tensor<16x8xf32>'}}
  %s = tile.fold %x into %l : tensor<16x12xf32> into tensor<16x8xf32>
  return
}

// -----

func.func @hide_limits(%x: tensor<16x8xf32>, %l: tensor<8xi32>, %c: i32) {
  // expected-error @+1 {{tile.hide-C1: expected a limit for each row, got 'tensor<16x8xf32>' and 'tensor<8xi32>'}}
  %s = tile.hide %x from %l at %c : tensor<16x8xf32>, tensor<8xi32>
  return
}

// -----

func.func @on_half_yield(%u: i1, %x: tensor<16x8xf32>, %y: tensor<16x16xf32>) {
  // expected-error @+1 {{tile.on_half-C1: expected kept tiles and tile.yield of ('tensor<16x8xf32>'), got ('tensor<16x8xf32>') and tile.yield of ('tensor<16x16xf32>')}}
  %r = tile.on_half %u keeping %x : tensor<16x8xf32> -> tensor<16x8xf32> {
    tile.yield %y : tensor<16x16xf32>
  }
  return
}

// -----

func.func @on_half_of_nothing(%u: i1) {
  // expected-error @+1 {{tile.on_half-C1: expected at least one kept tile}}
  "tile.on_half"(%u) ({ "tile.yield"() : () -> () }) : (i1) -> ()
  return
}

// -----

func.func @on_half_kept(%u: i1, %x: tensor<16x8xf32>, %y: tensor<16x16xf32>) {
  // expected-error @+1 {{tile.on_half-C1: expected kept tiles and tile.yield of ('tensor<16x8xf32>'), got ('tensor<16x16xf32>') and tile.yield of ('tensor<16x8xf32>')}}
  %r = tile.on_half %u keeping %y : tensor<16x16xf32> -> tensor<16x8xf32> {
    tile.yield %x : tensor<16x8xf32>
  }
  return
}

// -----

func.func @on_half_rows(%u: i1, %x: tensor<16x8xf32>, %y: tensor<32xf32>) {
  // expected-error @+1 {{tile.on_half-C2: expected an even number of rows, the same in all tiles, got 'tensor<32xf32>'}}
  %r:2 = tile.on_half %u keeping %x, %y : tensor<16x8xf32>, tensor<32xf32> -> tensor<16x8xf32>, tensor<32xf32> {
    tile.yield %x, %y : tensor<16x8xf32>, tensor<32xf32>
  }
  return
}

// -----

func.func @on_half_odd(%u: i1, %x: tensor<15x8xf32>) {
  // expected-error @+1 {{tile.on_half-C2: expected an even number of rows, the same in all tiles, got 'tensor<15x8xf32>'}}
  %r = tile.on_half %u keeping %x : tensor<15x8xf32> -> tensor<15x8xf32> {
    tile.yield %x : tensor<15x8xf32>
  }
  return
}

// -----

func.func @on_half_mixes(%u: i1, %x: tensor<16x16xf32>) {
  // expected-error @+1 {{tile.on_half-C3: expected no loop, half, transpose, reduction over rows or store, got tile.transpose}}
  %r = tile.on_half %u keeping %x : tensor<16x16xf32> -> tensor<16x16xf32> {
    %t = tile.transpose %x : tensor<16x16xf32> -> tensor<16x16xf32>
    tile.yield %t : tensor<16x16xf32>
  }
  return
}

// -----

func.func @on_half_nested(%u: i1, %x: tensor<16x16xf32>) {
  // expected-error @+1 {{tile.on_half-C3: expected no loop, half, transpose, reduction over rows or store, got tile.on_half}}
  %r = tile.on_half %u keeping %x : tensor<16x16xf32> -> tensor<16x16xf32> {
    %t = tile.on_half %u keeping %x : tensor<16x16xf32> -> tensor<16x16xf32> {
      tile.yield %x : tensor<16x16xf32>
    }
    tile.yield %t : tensor<16x16xf32>
  }
  return
}

// -----

func.func @hide_unset_view(%x: tensor<16x8xf32>, %v: !tile.view<2 x i8>, %i: index) {
  // expected-error @+1 {{tile.hide_unset-C1: expected a rank-1 view of i8, got '!tile.view<2 x i8>'}}
  %s = tile.hide_unset %x by %v[%i] : tensor<16x8xf32>, !tile.view<2 x i8>
  return
}

// -----

func.func @rescale_factors(%x: tensor<16x8xf32>, %f: tensor<8xf32>) {
  // expected-error @+1 {{tile.rescale-C1: expected a factor for each row, got 'tensor<16x8xf32>' and 'tensor<8xf32>'}}
  %s = tile.rescale %x by %f : tensor<16x8xf32>, tensor<8xf32>
  return
}

// -----

func.func @slot_type(%i: index) {
  %ring = tile.alloc_shared : !tile.shared<16 x 32 x bf16, stages 2>
  // expected-error @+1 {{tile.slot-C1: expected '!tile.shared<16 x 32 x bf16>', got '!tile.shared<16 x 16 x bf16>'}}
  %b = tile.slot %ring[%i] : !tile.shared<16 x 32 x bf16, stages 2> -> !tile.shared<16 x 16 x bf16>
  return
}

// -----

func.func @pending() {
  // expected-error @+1 {{tile.await_loads-C1: expected pending to be at least 0, got -1}}
  tile.await_loads pending -1
  return
}

// -----

func.func @load_of_ring(%i: index) {
  %ring = tile.alloc_shared : !tile.shared<16 x 32 x bf16, stages 2>
  // expected-error @+1 {{tile.load_shared-C1: expected one buffer and a tile of its shape and element type, got '!tile.shared<16 x 32 x bf16, stages 2>' and 'tensor<16x32xbf16>'}}
  %t = tile.load_shared %ring : !tile.shared<16 x 32 x bf16, stages 2> -> tensor<16x32xbf16>
  return
}

// -----

func.func @load_of_another_type() {
  %b = tile.alloc_shared : !tile.shared<16 x 32 x bf16>
  // expected-error @+1 {{tile.load_shared-C1: expected one buffer and a tile of its shape and element type, got '!tile.shared<16 x 32 x bf16>' and 'tensor<16x32xf32>'}}
  %t = tile.load_shared %b : !tile.shared<16 x 32 x bf16> -> tensor<16x32xf32>
  return
}

// -----

func.func @copy_to_ring(%v: !tile.view<2 x bf16, unit>, %i: index) {
  %ring = tile.alloc_shared : !tile.shared<16 x 32 x bf16, stages 2>
  // expected-error @+1 {{tile.async_load-C1: expected one buffer, got the ring '!tile.shared<16 x 32 x bf16, stages 2>'}}
  tile.async_load %v[%i, %i] bounds [false, false] to %ring : !tile.view<2 x bf16, unit>, !tile.shared<16 x 32 x bf16, stages 2>
  return
}

// -----

func.func @store_through(%t: tensor<16x8xbf16>, %v: !tile.view<2 x bf16, unit>, %i: index) {
  %b = tile.alloc_shared : !tile.shared<8 x 32 x bf16>
  // expected-error @+1 {{tile.store-C2: expected one buffer that holds 'tensor<16x8xbf16>', got '!tile.shared<8 x 32 x bf16>'}}
  tile.store %t, %v[%i, %i] bounds [false, false] through %b : !tile.shared<8 x 32 x bf16> : tensor<16x8xbf16>, !tile.view<2 x bf16, unit>
  return
}

// -----

func.func @scaled_difference_references(%x: tensor<16x8xf32>, %m: tensor<8xf32>, %f: f32) {
  // expected-error @+1 {{tile.scaled_difference-C1: expected a reference for each row, got 'tensor<16x8xf32>' and 'tensor<8xf32>'}}
  %s = tile.scaled_difference %x, %m, %f : tensor<16x8xf32>, tensor<8xf32>
  return
}

// -----

func.func @load_C2_where_of_i32(%v: !tile.view<2 x f32>, %w: !tile.view<1 x i32>, %i: index, %b: i1) {
  // expected-error @+1 {{tile.load-C2: expected rows of a rank-2 tile to be chosen by a rank-1 view of i8, got 'tensor<4x4xf32>' and '!tile.view<1 x i32>'}}
  %t = tile.load %v[%i, %i] bounds [true, true] where %w when %b : !tile.view<1 x i32> : !tile.view<2 x f32> -> tensor<4x4xf32>
  return
}

// -----

func.func @load_C2_where_rank(%v: !tile.view<2 x f32>, %w: !tile.view<2 x i8>, %i: index, %b: i1) {
  // expected-error @+1 {{tile.load-C2: expected rows of a rank-2 tile to be chosen by a rank-1 view of i8, got 'tensor<4x4xf32>' and '!tile.view<2 x i8>'}}
  %t = tile.load %v[%i, %i] bounds [true, true] where %w when %b : !tile.view<2 x i8> : !tile.view<2 x f32> -> tensor<4x4xf32>
  return
}

// -----

func.func @load_C2_rank_of_the_tile(%v: !tile.view<1 x f32>, %w: !tile.view<1 x i8>, %i: index, %b: i1) {
  // expected-error @+1 {{tile.load-C2: expected rows of a rank-2 tile to be chosen by a rank-1 view of i8, got 'tensor<4xf32>' and '!tile.view<1 x i8>'}}
  %t = tile.load %v[%i] bounds [true] where %w when %b : !tile.view<1 x i8> : !tile.view<1 x f32> -> tensor<4xf32>
  return
}

// -----

// The format writes both; the generic form need not.
func.func @load_C2_where_without_when(%v: !tile.view<2 x f32>, %w: !tile.view<1 x i8>, %i: index) {
  // expected-error @+1 {{tile.load-C2: expected both `where` and `when` or neither}}
  %t = "tile.load"(%v, %i, %i, %w) <{bounds = array<i1: true, true>, operandSegmentSizes = array<i32: 1, 2, 1, 0>}>
      : (!tile.view<2 x f32>, index, index, !tile.view<1 x i8>) -> tensor<4x4xf32>
  return
}

// -----

func.func @load_C2_when_without_where(%v: !tile.view<2 x f32>, %b: i1, %i: index) {
  // expected-error @+1 {{tile.load-C2: expected both `where` and `when` or neither}}
  %t = "tile.load"(%v, %i, %i, %b) <{bounds = array<i1: true, true>, operandSegmentSizes = array<i32: 1, 2, 0, 1>}>
      : (!tile.view<2 x f32>, index, index, i1) -> tensor<4x4xf32>
  return
}

// -----

func.func @hull_C1_rank(%v: !tile.view<2 x i8>) {
  // expected-error @+1 {{tile.hull-C1: expected a rank-1 view of i8, got '!tile.view<2 x i8>'}}
  %first, %end, %holes:2 = tile.hull %v : !tile.view<2 x i8>
  return
}

// -----

func.func @hull_C1_element_type(%v: !tile.view<1 x i32>) {
  // expected-error @+1 {{tile.hull-C1: expected a rank-1 view of i8, got '!tile.view<1 x i32>'}}
  %first, %end, %holes:2 = tile.hull %v : !tile.view<1 x i32>
  return
}

// -----

func.func @random_bits_C1(%i: i32) {
  // expected-error @+1 {{tile.random_bits-C1: expected a tile of rank 2, got 'tensor<32xi32>'}}
  %r = tile.random_bits [%i, %i] counter(%i, %i) key(%i, %i) : tensor<32xi32>
  return
}

// -----

func.func @clear_rows_C1_view(%v: !tile.view<1 x i32>, %i: index, %b: i1) {
  %buffer = tile.alloc_shared : !tile.shared<16 x 32 x bf16>
  // expected-error @+1 {{tile.clear_rows-C1: expected a rank-1 view of i8 and one buffer, got '!tile.view<1 x i32>' and '!tile.shared<16 x 32 x bf16>'}}
  tile.clear_rows %buffer where %v[%i] when %b : !tile.shared<16 x 32 x bf16>, !tile.view<1 x i32>
  return
}

// -----

func.func @clear_rows_C1_ring(%v: !tile.view<1 x i8>, %i: index, %b: i1) {
  %ring = tile.alloc_shared : !tile.shared<16 x 32 x bf16, stages 2>
  // expected-error @+1 {{tile.clear_rows-C1: expected a rank-1 view of i8 and one buffer, got '!tile.view<1 x i8>' and '!tile.shared<16 x 32 x bf16, stages 2>'}}
  tile.clear_rows %ring where %v[%i] when %b : !tile.shared<16 x 32 x bf16, stages 2>, !tile.view<1 x i8>
  return
}

// -----

func.func @all_set_C1_view(%v: !tile.view<1 x i32>, %i: index) {
  // expected-error @+1 {{tile.all_set-C1: expected a rank-1 view of i8 and a count of at least 1, got '!tile.view<1 x i32>' and 4}}
  %all = tile.all_set %v[%i] count 4 : !tile.view<1 x i32>
  return
}

// -----

func.func @all_set_C1_count(%v: !tile.view<1 x i8>, %i: index) {
  // expected-error @+1 {{tile.all_set-C1: expected a rank-1 view of i8 and a count of at least 1, got '!tile.view<1 x i8>' and 0}}
  %all = tile.all_set %v[%i] count 0 : !tile.view<1 x i8>
  return
}

// -----

func.func @any_set_C1_view(%v: !tile.view<1 x i32>, %i: index) {
  // expected-error @+1 {{tile.any_set-C1: expected a rank-1 view of i8 and a count of at least 1, got '!tile.view<1 x i32>' and 4}}
  %any = tile.any_set %v[%i] count 4 : !tile.view<1 x i32>
  return
}

// -----

func.func @any_set_C1_count(%v: !tile.view<1 x i8>, %i: index) {
  // expected-error @+1 {{tile.any_set-C1: expected a rank-1 view of i8 and a count of at least 1, got '!tile.view<1 x i8>' and 0}}
  %any = tile.any_set %v[%i] count 0 : !tile.view<1 x i8>
  return
}

// -----

func.func @bulk_store_C1_bounds(%v: !tile.view<2 x bf16>, %i: index, %q: !tile.shared<128 x 64 x bf16>,
                                %t: tensor<128x64xbf16>) {
  // expected-error @+1 {{tile.bulk_store-C1}}
  tile.bulk_store %t, %v[%i, %i] bounds [true] through %q
      : tensor<128x64xbf16>, !tile.view<2 x bf16>, !tile.shared<128 x 64 x bf16>
  return
}

// -----

func.func @bulk_store_C2_room(%v: !tile.view<2 x bf16>, %i: index, %q: !tile.shared<128 x 64 x bf16>,
                              %t: tensor<128x72xbf16>) {
  // expected-error @+1 {{tile.bulk_store-C2: expected one buffer with boxes that hold 'tensor<128x72xbf16>', got '!tile.shared<128 x 64 x bf16>'}}
  tile.bulk_store %t, %v[%i, %i] bounds [true, false] through %q
      : tensor<128x72xbf16>, !tile.view<2 x bf16>, !tile.shared<128 x 64 x bf16>
  return
}

// -----

func.func @bulk_store_C2_ring(%v: !tile.view<2 x bf16>, %i: index, %q: !tile.shared<128 x 64 x bf16, stages 2>,
                              %t: tensor<128x64xbf16>) {
  // expected-error @+1 {{tile.bulk_store-C2}}
  tile.bulk_store %t, %v[%i, %i] bounds [true, false] through %q
      : tensor<128x64xbf16>, !tile.view<2 x bf16>, !tile.shared<128 x 64 x bf16, stages 2>
  return
}
