// Every operation of the tile dialect, printed and parsed back. The functions' first operations are the examples of
// TileOps.td.
// RUN: tilewright-opt "%s" | tilewright-opt | FileCheck "%s"
// RUN: tilewright-opt "%s" -mlir-print-op-generic | tilewright-opt | FileCheck "%s"

// CHECK-LABEL: func.func @coords(
// CHECK-SAME: %[[BLOCKS:[a-z0-9_]+]]: index, %[[HEADS:[a-z0-9_]+]]: index)
func.func @coords(%row_blocks: index, %heads: index) {
  // CHECK: %{{.*}}:3 = tile.coords sizes(%[[BLOCKS]], %[[HEADS]]) {heavy_last} : index, index, index
  %m, %h, %b = tile.coords sizes(%row_blocks, %heads) {heavy_last} : index, index, index
  // CHECK: %{{.*}}:3 = tile.coords sizes(%[[BLOCKS]], %[[HEADS]]) together(%[[HEADS]]) {heavy_last} : index, index, index
  %m2, %h2, %b2 = tile.coords sizes(%row_blocks, %heads) together(%heads) {heavy_last} : index, index, index
  // CHECK: %{{.*}}:2 = tile.coords sizes(%[[BLOCKS]]) : index, index
  %m1, %b1 = tile.coords sizes(%row_blocks) : index, index
  // CHECK: %{{.*}} = tile.coords sizes() : index
  %b0 = tile.coords sizes() : index
  return
}

// CHECK-LABEL: func.func @program(
func.func @program() -> index {
  // CHECK: %[[P:[a-z0-9_]+]] = tile.program : index
  %p = tile.program : index
  // CHECK: return %[[P]]
  return %p : index
}

// CHECK-LABEL: func.func @view(
// CHECK-SAME: %[[Q:[a-z0-9_]+]]: !tile.ptr<bf16>, %[[OFFSET:[a-z0-9_]+]]: index, %[[N:[a-z0-9_]+]]: index, %[[D:[a-z0-9_]+]]: index,
// CHECK-SAME: %[[S:[a-z0-9_]+]]: index, %[[ONE:[a-z0-9_]+]]: index,
func.func @view(%q: !tile.ptr<bf16>, %offset: index, %n: index, %d: index, %s: index, %one: index,
                %l: !tile.ptr<i32>) {
  // CHECK: tile.view %[[Q]][%[[OFFSET]]] sizes(%[[N]], %[[D]]) strides(%[[S]], %[[ONE]]) : <bf16> -> <2 x bf16, unit>
  %v = tile.view %q[%offset] sizes(%n, %d) strides(%s, %one) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit>
  // CHECK: tile.view %{{.*}}[%[[OFFSET]]] sizes(%[[N]]) strides(%[[S]]) : <i32> -> <1 x i32>
  %w = tile.view %l[%offset] sizes(%n) strides(%s) : !tile.ptr<i32> -> !tile.view<1 x i32>
  return
}

// CHECK-LABEL: func.func @load(
// CHECK-SAME: %[[V:[a-z0-9_]+]]: !tile.view<2 x bf16, unit>, %[[W:[a-z0-9_]+]]: !tile.view<1 x f32>, %[[ROW:[a-z0-9_]+]]: index,
func.func @load(%v: !tile.view<2 x bf16, unit>, %w: !tile.view<1 x f32>, %row: index, %zero: index) {
  // CHECK: tile.load %[[V]][%[[ROW]], %{{.*}}] bounds [true, false] : <2 x bf16, unit> -> tensor<64x64xbf16>
  %t = tile.load %v[%row, %zero] bounds [true, false] : !tile.view<2 x bf16, unit> -> tensor<64x64xbf16>
  // CHECK: tile.load %[[W]][%[[ROW]]] bounds [true] : <1 x f32> -> tensor<16xf32>
  %u = tile.load %w[%row] bounds [true] : !tile.view<1 x f32> -> tensor<16xf32>
  return
}

// CHECK-LABEL: func.func @store(
// CHECK-SAME: %[[T:[a-z0-9_]+]]: tensor<64x64xbf16>, %[[V:[a-z0-9_]+]]: !tile.view<2 x bf16, unit>, %[[ROW:[a-z0-9_]+]]: index,
func.func @store(%t: tensor<64x64xbf16>, %v: !tile.view<2 x bf16, unit>, %row: index, %zero: index) {
  // CHECK: tile.store %[[T]], %[[V]][%[[ROW]], %{{.*}}] bounds [true, false] : tensor<64x64xbf16>, <2 x bf16, unit>
  tile.store %t, %v[%row, %zero] bounds [true, false] : tensor<64x64xbf16>, !tile.view<2 x bf16, unit>
  return
}

// CHECK-LABEL: func.func @load_scalar(
func.func @load_scalar(%v: !tile.view<1 x i32, unit>, %b: index, %w: !tile.view<2 x i32>) {
  // CHECK: tile.load_scalar %{{.*}}[%[[B:[a-z0-9_]+]]] : <1 x i32, unit> -> i32
  %p = tile.load_scalar %v[%b] : !tile.view<1 x i32, unit> -> i32
  // CHECK: tile.load_scalar %{{.*}}[%[[B]], %[[B]]] : <2 x i32> -> i32
  %q = tile.load_scalar %w[%b, %b] : !tile.view<2 x i32> -> i32
  return
}

// CHECK-LABEL: func.func @dot(
// CHECK-SAME: %[[K:[a-z0-9_]+]]: tensor<64x32xf32>, %[[Q:[a-z0-9_]+]]: tensor<64x16xf32>, %[[ZERO:[a-z0-9_]+]]: tensor<32x16xf32>,
func.func @dot(%k: tensor<64x32xf32>, %q: tensor<64x16xf32>, %zero: tensor<32x16xf32>,
               %a: tensor<8x4xf16>, %b: tensor<2x4xf16>, %acc: tensor<8x2xf32>) {
  // CHECK: tile.dot %[[K]], %[[Q]], %[[ZERO]] trans_a : tensor<64x32xf32>, tensor<64x16xf32> -> tensor<32x16xf32>
  %s = tile.dot %k, %q, %zero trans_a : tensor<64x32xf32>, tensor<64x16xf32> -> tensor<32x16xf32>
  // CHECK: tile.dot %{{.*}} trans_b micro [8, 2] : tensor<8x4xf16>, tensor<2x4xf16> -> tensor<8x2xf32>
  %t = tile.dot %a, %b, %acc trans_b micro [8, 2] : tensor<8x4xf16>, tensor<2x4xf16> -> tensor<8x2xf32>
  // CHECK: tile.dot %[[ZERO]], %{{.*}}, %{{.*}} trans_a trans_b : tensor<32x16xf32>, tensor<64x32xf32> -> tensor<16x64xf32>
  %c = arith.constant dense<0.0> : tensor<16x64xf32>
  %u = tile.dot %zero, %k, %c trans_a trans_b : tensor<32x16xf32>, tensor<64x32xf32> -> tensor<16x64xf32>
  return
}

// CHECK-LABEL: func.func @transpose(
func.func @transpose(%q: tensor<64x72xf32>, %p: tensor<3x5xbf16>) {
  // CHECK: tile.transpose %{{.*}} : tensor<64x72xf32> -> tensor<72x64xf32>
  %t = tile.transpose %q : tensor<64x72xf32> -> tensor<72x64xf32>
  // CHECK: tile.transpose %{{.*}} : tensor<3x5xbf16> -> tensor<5x3xbf16>
  %u = tile.transpose %p : tensor<3x5xbf16> -> tensor<5x3xbf16>
  return
}

// CHECK-LABEL: func.func @reduce_broadcast(
// CHECK-SAME: %[[S:[a-z0-9_]+]]: tensor<64x32xf32>)
func.func @reduce_broadcast(%s: tensor<64x32xf32>) {
  // CHECK: %[[M:[a-z0-9_]+]] = tile.reduce max %[[S]] axis 0 : tensor<64x32xf32> -> tensor<32xf32>
  %m = tile.reduce max %s axis 0 : tensor<64x32xf32> -> tensor<32xf32>
  // CHECK: %[[L:[a-z0-9_]+]] = tile.reduce sum %[[S]] axis 1 : tensor<64x32xf32> -> tensor<64xf32>
  %l = tile.reduce sum %s axis 1 : tensor<64x32xf32> -> tensor<64xf32>
  // CHECK: tile.broadcast %[[M]] axis 0 : tensor<32xf32> -> tensor<64x32xf32>
  %b = tile.broadcast %m axis 0 : tensor<32xf32> -> tensor<64x32xf32>
  // CHECK: tile.broadcast %[[L]] axis 1 : tensor<64xf32> -> tensor<64x32xf32>
  %c = tile.broadcast %l axis 1 : tensor<64xf32> -> tensor<64x32xf32>
  return
}

// CHECK-LABEL: func.func @splat_index(
// CHECK-SAME: %[[SCALE:[a-z0-9_]+]]: f32, %[[FIRST:[a-z0-9_]+]]: i32)
func.func @splat_index(%scale: f32, %first: i32) {
  // CHECK: tile.splat %[[SCALE]] : tensor<64x32xf32>
  %t = tile.splat %scale : tensor<64x32xf32>
  // CHECK: tile.splat %[[FIRST]] : tensor<16xi32>
  %u = tile.splat %first : tensor<16xi32>
  // CHECK: tile.index %[[FIRST]] axis 1 : tensor<64x32xi32>
  %cols = tile.index %first axis 1 : tensor<64x32xi32>
  // CHECK: tile.index %[[FIRST]] axis 0 : tensor<16xi32>
  %rows = tile.index %first axis 0 : tensor<16xi32>
  return
}

// CHECK-LABEL: func.func @exp2_log2(
func.func @exp2_log2(%x: tensor<64x32xf32>, %y: tensor<64xf32>) {
  // CHECK: tile.exp2 %{{.*}} : tensor<64x32xf32>
  %p = tile.exp2 %x : tensor<64x32xf32>
  // CHECK: tile.log2 %{{.*}} : tensor<64xf32>
  %l = tile.log2 %y : tensor<64xf32>
  return
}

// CHECK-LABEL: func.func @fused(
// CHECK-SAME: %[[S:[a-z0-9_]+]]: tensor<64x32xf32>, %[[M:[a-z0-9_]+]]: tensor<64x32xf32>)
func.func @fused(%s: tensor<64x32xf32>, %m: tensor<64x32xf32>) -> tensor<64x32xf32> {
  // CHECK: %[[P:[a-z0-9_]+]] = tile.fused [64, 32] -> tensor<64x32xf32> {
  // CHECK-NEXT: %[[D:[a-z0-9_]+]] = arith.subf %[[S]], %[[M]] : tensor<64x32xf32>
  // CHECK-NEXT: %[[E:[a-z0-9_]+]] = tile.exp2 %[[D]] : tensor<64x32xf32>
  // CHECK-NEXT: tile.yield %[[E]] : tensor<64x32xf32>
  // CHECK-NEXT: }
  %p = tile.fused [64, 32] -> tensor<64x32xf32> {
    %0 = arith.subf %s, %m : tensor<64x32xf32>
    %1 = tile.exp2 %0 : tensor<64x32xf32>
    tile.yield %1 : tensor<64x32xf32>
  }
  // CHECK: return %[[P]]
  return %p : tensor<64x32xf32>
}

// No result, and several; a reduction among them; rank 1.
// CHECK-LABEL: func.func @fused_results(
func.func @fused_results(%s: tensor<4x8xf32>, %w: !tile.view<1 x f32>, %i: index) {
  // CHECK: %[[R:[a-z0-9_]+]]:2 = tile.fused [4, 8] -> tensor<4x8xf32>, tensor<4xf32> {
  // CHECK: tile.yield %{{.*}}, %{{.*}} : tensor<4x8xf32>, tensor<4xf32>
  %r:2 = tile.fused [4, 8] -> tensor<4x8xf32>, tensor<4xf32> {
    %0 = tile.exp2 %s : tensor<4x8xf32>
    %1 = tile.reduce sum %0 axis 1 : tensor<4x8xf32> -> tensor<4xf32>
    tile.yield %0, %1 : tensor<4x8xf32>, tensor<4xf32>
  }
  // CHECK: tile.fused [4] {
  // CHECK-NEXT: tile.store %[[R]]#1,
  // CHECK-NEXT: tile.yield
  // CHECK-NEXT: }
  tile.fused [4] {
    tile.store %r#1, %w[%i] bounds [false] : tensor<4xf32>, !tile.view<1 x f32>
    tile.yield
  }
  return
}

// CHECK-LABEL: func.func @staging(
func.func @staging(%v: !tile.view<2 x bf16, unit 16>, %i: index, %t: tensor<16x8xbf16>, %x: tensor<16x16xf32>,
                   %l: tensor<16x8xf32>, %f: tensor<16xf32>, %factor: f32, %limits: tensor<16xi32>, %column: i32) {
  // CHECK: %[[RING:.*]] = tile.alloc_shared : <16 x 32 x bf16, stages 2>
  %ring = tile.alloc_shared : !tile.shared<16 x 32 x bf16, stages 2>
  // CHECK: %[[B:.*]] = tile.slot %[[RING]][%{{.*}}] : <16 x 32 x bf16, stages 2> -> <16 x 32 x bf16>
  %b = tile.slot %ring[%i] : !tile.shared<16 x 32 x bf16, stages 2> -> !tile.shared<16 x 32 x bf16>
  // CHECK: tile.load_shared %[[B]] : <16 x 32 x bf16> -> tensor<16x32xbf16>
  %read = tile.load_shared %b : !tile.shared<16 x 32 x bf16> -> tensor<16x32xbf16>
  // CHECK: tile.commit_loads
  tile.commit_loads
  // CHECK: tile.await_loads pending 1
  tile.await_loads pending 1
  // CHECK: tile.await_loads{{$}}
  tile.await_loads
  // CHECK: tile.store %{{.*}} bounds [true, false] through %[[B]] : !tile.shared<16 x 32 x bf16> : tensor<16x8xbf16>, <2 x bf16, unit 16>
  tile.store %t, %v[%i, %i] bounds [true, false] through %b : !tile.shared<16 x 32 x bf16> : tensor<16x8xbf16>, !tile.view<2 x bf16, unit 16>
  // CHECK: tile.fold %{{.*}} into %{{.*}} : tensor<16x16xf32> into tensor<16x8xf32>
  %s = tile.fold %x into %l : tensor<16x16xf32> into tensor<16x8xf32>
  // CHECK: tile.scaled_difference %{{.*}}, %{{.*}}, %{{.*}} : tensor<16x8xf32>, tensor<16xf32>
  %e = tile.scaled_difference %s, %f, %factor : tensor<16x8xf32>, tensor<16xf32>
  // CHECK: tile.hide %{{.*}} from %[[LIMITS:.*]] at %[[COLUMN:.*]] : tensor<16x8xf32>, tensor<16xi32>
  %h = tile.hide %s from %limits at %column : tensor<16x8xf32>, tensor<16xi32>
  // CHECK: tile.hide %{{.*}} before %[[LIMITS]] at %[[COLUMN]] : tensor<16x8xf32>, tensor<16xi32>
  %g = tile.hide %h before %limits at %column : tensor<16x8xf32>, tensor<16xi32>
  // CHECK: tile.rescale %{{.*}} by %{{.*}} : tensor<16x8xf32>, tensor<16xf32>
  %r = tile.rescale %s by %f : tensor<16x8xf32>, tensor<16xf32>
  return
}

// CHECK-LABEL: func.func @on_half(
// CHECK-SAME: %[[UPPER:[a-z0-9_]+]]: i1
func.func @on_half(%upper: i1, %m: tensor<64xf32>, %acc: tensor<64x16xf32>) -> (tensor<64xf32>, tensor<64x16xf32>) {
  // CHECK: tile.on_half %[[UPPER]] keeping %{{.*}}, %{{.*}} : tensor<64xf32>, tensor<64x16xf32> -> tensor<64xf32>, tensor<64x16xf32> {
  %r:2 = tile.on_half %upper keeping %m, %acc : tensor<64xf32>, tensor<64x16xf32> -> tensor<64xf32>, tensor<64x16xf32> {
    %n = tile.exp2 %m : tensor<64xf32>
    %k = tile.rescale %acc by %n : tensor<64x16xf32>, tensor<64xf32>
    // CHECK: tile.yield %{{.*}}, %{{.*}} : tensor<64xf32>, tensor<64x16xf32>
    tile.yield %n, %k : tensor<64xf32>, tensor<64x16xf32>
  }
  return %r#0, %r#1 : tensor<64xf32>, tensor<64x16xf32>
}

// A load whose rows a view of bytes chooses; the hull of such a view, and whether a stretch of it is set.
// CHECK-LABEL: func.func @chosen_rows(
// CHECK-SAME: %[[V:[a-z0-9_]+]]: !tile.view<2 x bf16, unit>, %[[W:[a-z0-9_]+]]: !tile.view<1 x i8, unit>, %[[ROW:[a-z0-9_]+]]: index, %{{[a-z0-9_]+}}: index, %[[WHEN:[a-z0-9_]+]]: i1)
func.func @chosen_rows(%v: !tile.view<2 x bf16, unit>, %w: !tile.view<1 x i8, unit>, %row: index, %zero: index, %when: i1)
    -> (index, index, index, index) {
  // CHECK: %[[FIRST:.*]], %[[END:.*]], %[[HOLESBEGIN:.*]], %[[HOLESEND:.*]] = tile.hull %[[W]] : <1 x i8, unit>
  %first, %end, %holes:2 = tile.hull %w : !tile.view<1 x i8, unit>
  // CHECK: tile.hide_unset %{{.*}} by %[[W]][%[[ROW]]] : tensor<64x64xf32>, <1 x i8, unit>
  %scores = arith.constant dense<1.0> : tensor<64x64xf32>
  %shown = tile.hide_unset %scores by %w[%row] : tensor<64x64xf32>, !tile.view<1 x i8, unit>
  // CHECK: tile.all_set %[[W]][%[[ROW]]] count 64 : <1 x i8, unit>
  %all = tile.all_set %w[%row] count 64 : !tile.view<1 x i8, unit>
  // CHECK: tile.any_set %[[W]][%[[ROW]]] count 64 : <1 x i8, unit>
  %any = tile.any_set %w[%row] count 64 : !tile.view<1 x i8, unit>
  // CHECK: tile.load %[[V]][%[[ROW]], %{{.*}}] bounds [true, false] where %[[W]] when %[[WHEN]] : !tile.view<1 x i8, unit> : <2 x bf16, unit> -> tensor<64x64xbf16>
  %t = tile.load %v[%row, %zero] bounds [true, false] where %w when %when : !tile.view<1 x i8, unit>
      : !tile.view<2 x bf16, unit> -> tensor<64x64xbf16>
  // CHECK: return %[[FIRST]], %[[END]], %[[HOLESBEGIN]], %[[HOLESEND]]
  return %first, %end, %holes#0, %holes#1 : index, index, index, index
}

// CHECK-LABEL: func.func @random_bits(
// CHECK-SAME: %[[ROW:[a-z0-9_]+]]: i32, %[[COL:[a-z0-9_]+]]: i32, %[[HEAD:[a-z0-9_]+]]: i32, %[[OFFSET:[a-z0-9_]+]]: i32, %[[K0:[a-z0-9_]+]]: i32, %[[K1:[a-z0-9_]+]]: i32)
func.func @random_bits(%row: i32, %col: i32, %head: i32, %offset: i32, %k0: i32, %k1: i32) {
  // CHECK: tile.random_bits[%[[ROW]], %[[COL]]] counter(%[[HEAD]], %[[OFFSET]]) key(%[[K0]], %[[K1]]) : tensor<64x32xi32>
  %r = tile.random_bits [%row, %col] counter(%head, %offset) key(%k0, %k1) : tensor<64x32xi32>
  // CHECK: tile.random_bits[%[[ROW]], %[[COL]]] counter(%[[HEAD]], %[[OFFSET]]) key(%[[K0]], %[[K1]]) transposed : tensor<32x64xi32>
  %t = tile.random_bits [%row, %col] counter(%head, %offset) key(%k0, %k1) transposed : tensor<32x64xi32>
  return
}

// CHECK-LABEL: func.func @clear_rows(
func.func @clear_rows(%v: !tile.view<1 x i8, unit>, %row: index, %holes: i1) {
  // CHECK: %[[B:.*]] = tile.alloc_shared : <64 x 128 x bf16>
  %buffer = tile.alloc_shared : !tile.shared<64 x 128 x bf16>
  // CHECK: tile.clear_rows %[[B]] where %{{.*}}[%{{.*}}] when %{{.*}} : <64 x 128 x bf16>, <1 x i8, unit>
  tile.clear_rows %buffer where %v[%row] when %holes : !tile.shared<64 x 128 x bf16>, !tile.view<1 x i8, unit>
  return
}

// CHECK-LABEL: func.func @bulk_store(
func.func @bulk_store(%v: !tile.view<2 x bf16, unit 16>, %row: index, %q: !tile.shared<128 x 64 x bf16>,
                      %t: tensor<128x40xbf16>) {
  %zero = arith.constant 0 : index
  // CHECK: tile.bulk_store %{{.*}}, %{{.*}}[%{{.*}}, %{{.*}}] bounds [true, false] through %{{.*}} : tensor<128x40xbf16>, <2 x bf16, unit 16>, <128 x 64 x bf16>
  tile.bulk_store %t, %v[%row, %zero] bounds [true, false] through %q
      : tensor<128x40xbf16>, !tile.view<2 x bf16, unit 16>, !tile.shared<128 x 64 x bf16>
  return
}
