// A window's left edge: blocks of keys are counted from the first key that the program's rows see, where the views begin,
// and partial blocks stand on both sides of the full ones. A CPU has a loop for each kind, a GPU one loop that asks, around
// the mask or, with two bodies, around the step.
// RUN: sed -e 's/SCHEDULE/#tile.schedule<qk, 16 x 32, micro 4 x 1>/;s/TARGET/#tile.cpu<"x86-64-v3">/' "%s" | tilewright-opt - -attn-expand | FileCheck "%s" --check-prefixes=CHECK,CPU
// RUN: sed -e 's/SCHEDULE/#tile.gpu_schedule<16 x 32, warps 1>/;s/TARGET/#tile.gpu<"sm_80", sm 80>/' "%s" | tilewright-opt - -attn-expand | FileCheck "%s" --check-prefixes=CHECK,GPU
// RUN: sed -e 's/SCHEDULE/#tile.gpu_schedule<16 x 32, warps 1, stages 2 bodies 2>/;s/TARGET/#tile.gpu<"sm_80", sm 80>/' "%s" | tilewright-opt - -attn-expand | FileCheck "%s" --check-prefixes=CHECK,TWO
// RUN: sed -e 's/SCHEDULE/#tile.gpu_schedule<64 x 32, warps 2, stages 2 bodies 2>/;s/TARGET/#tile.gpu<"sm_80", sm 80>/' "%s" | tilewright-opt - -attn-expand | FileCheck "%s" --check-prefix=HALF

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, strided>

// CHECK-LABEL: func.func @window(
// The first key of the first row, and how many there are from it to the last row's last.
// CHECK: %[[BEGIN:.*]] = arith.maxsi %{{.*}} : index
// CHECK: arith.subi %{{.*}}, %[[BEGIN]] : index
// CHECK: arith.subi %{{.*}}, %[[BEGIN]] : index
// CHECK: %[[KEYS:.*]] = arith.subi %{{.*}}, %[[BEGIN]] : index
// CHECK: arith.maxsi %[[KEYS]], %{{.*}} : index
// CHECK: tile.view
// CPU: scf.for %[[BLOCK:[a-z0-9]+]] = %c0
// CPU: %[[ROW:.*]] = arith.muli %[[BLOCK]], %c32{{.*}} : index
// CPU: arith.addi %[[BEGIN]], %[[ROW]] : index
// CPU: tile.load %{{.*}}[%[[ROW]], %{{.*}}] bounds [true, false]
// CPU: arith.cmpi sge
// CPU: arith.select
// CPU: scf.for
// CPU: tile.load {{.*}} bounds [false, false]
// CPU: scf.for
// CPU: tile.load {{.*}} bounds [true, false]
// GPU: scf.for
// Each side has a branch of its own: few blocks are cut on both.
// GPU: %[[STARTS:.*]] = arith.cmpi slt, %{{.*}} : index
// GPU: %[[ENDS:.*]] = arith.cmpi sge, %{{.*}} : index
// GPU: tile.dot
// GPU: scf.if %[[ENDS]]
// GPU-NOT: tile.hide {{.*}} before
// GPU: tile.hide %{{.*}} from %{{.*}} at %{{.*}} : tensor<16x32xf32>, tensor<16xi32>
// GPU: scf.if %[[STARTS]]
// GPU-NOT: tile.hide {{.*}} from
// GPU: tile.hide %{{.*}} before %{{.*}} at %{{.*}} : tensor<16x32xf32>, tensor<16xi32>
// GPU: tile.reduce
// GPU-NOT: scf.for

// Keys and values are loaded ahead of the branch. In a full block nothing is hidden.
// TWO: scf.for
// TWO: %[[PARTIAL:.*]] = arith.ori
// TWO: tile.load
// TWO: tile.load
// TWO: scf.if %[[PARTIAL]] -> (tensor<16xf32>, tensor<16x8xf32>, tensor<16x
// TWO: tile.dot
// TWO: scf.if
// TWO: tile.hide %{{.*}} from %
// TWO: scf.if
// TWO: tile.hide %{{.*}} before %
// TWO: tile.dot
// TWO: } else {
// TWO: tile.dot
// TWO-NOT: tile.hide
// TWO: tile.dot
// TWO-NOT: scf.for

// With fewer keys in a block than rows: of a block that one half of them sees, that half's work.
// HALF-LABEL: func.func @window(
// HALF: scf.for %[[N:[a-z0-9]+]] =
// HALF: %[[PARTIAL:.*]] = arith.ori
// HALF: arith.cmpi sge, %[[N]]
// HALF: %[[UPPER:.*]] = arith.cmpi sge, %[[N]], %[[FROM:.*]] : index
// HALF: %[[LOWER:.*]] = arith.cmpi slt, %[[N]], %[[UPTO:.*]] : index
// HALF: %[[ONE:.*]] = arith.ori %[[UPPER]], %[[LOWER]] : i1
// HALF: scf.if %[[PARTIAL]] -> (tensor<64xf32>, tensor<64x8xf32>, tensor<64x16xf32>) {
// HALF: scf.if %[[ONE]] -> (tensor<64xf32>, tensor<64x8xf32>, tensor<64x16xf32>) {
// HALF-NOT: tile.dot
// HALF: tile.on_half %[[UPPER]] keeping
// HALF: tile.dot
// HALF: tile.dot
// HALF: tile.yield
// HALF: } else {
// HALF-NOT: tile.on_half
// HALF: tile.hide
// HALF: return
// CHECK: return
func.func @window(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %wo: i64, %scale: f32, %sq: i64, %sk: i64, %h: i64,
                  %hpk: i64, %o: i64, %w: i64) attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) window(%wo) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk)
      offset(%o) write_lse(%w) head_dims(32, 16) mask(causal) : !t, !t, !t, !t, !lse
  return
}

// With a matrix over the scores, which is copied in units of 16 bytes, blocks begin at multiples of 32 keys: views begin
// where the sequence's first row does, perhaps behind the first block's first key.
// CHECK-LABEL: func.func @bias(
// CHECK: %[[STEP:.*]] = arith.constant -32 : index
// CHECK: %[[FROM:.*]] = arith.andi %{{.*}}, %[[STEP]] : index
// CHECK: tile.view
// CHECK: scf.for %[[BLOCK:[a-z0-9]+]] =
// CHECK: %[[KEY:.*]] = arith.muli %[[BLOCK]], %c32{{.*}} : index
// CHECK: %[[FIRST:.*]] = arith.addi %[[FROM]], %[[KEY]] : index
// CHECK: %[[ROW:.*]] = arith.subi %[[FIRST]], %{{.*}} : index
// CHECK: tile.load %{{.*}}[%[[ROW]], %{{.*}}] bounds [true, false]
// CHECK: tile.load {{.*}}%[[FIRST]]{{.*}} {any_past_end}
// CHECK: return
func.func @bias(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %bias: !t, %wo: i64, %scale: f32, %sq: i64, %sk: i64,
                %h: i64, %hpk: i64, %o: i64, %w: i64) attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) bias(%bias : !t) matrix window(%wo) scale(%scale)
      seqlens(%sq, %sk) heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(32, 16) mask(causal)
      : !t, !t, !t, !t, !lse
  return
}
