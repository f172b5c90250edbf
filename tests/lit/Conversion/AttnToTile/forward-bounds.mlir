// Row bounds and key padding: intervals are cut to the table's, views begin and end where those of the block's first and
// last row do, blocks of keys are counted from there, and what is padding between real keys hides scores and clears values.
// A CPU masks every block of a batch entry that has holes, a GPU those that have a padded key, for which it looks into the
// blocks where holes are, as the table's third and fourth row say. With two bodies it has a step for those blocks, and one
// for the others; of nothing but padding there is no step.
// RUN: sed -e 's/SCHEDULE/#tile.schedule<qk, 16 x 32, micro 4 x 1>/;s/TARGET/#tile.cpu<"x86-64-v3">/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s" --check-prefixes=CHECK,CPU,QK
// RUN: sed -e 's/SCHEDULE/#tile.schedule<kq, 16 x 32, micro 4 x 1>/;s/TARGET/#tile.cpu<"x86-64-v3">/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s" --check-prefixes=CHECK,CPU,KQ
// RUN: sed -e 's/SCHEDULE/#tile.gpu_schedule<16 x 32, warps 1>/;s/TARGET/#tile.gpu<"sm_80", sm 80>/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s" --check-prefixes=CHECK,GPU
// RUN: sed -e 's/SCHEDULE/#tile.gpu_schedule<16 x 32, warps 1, stages 2 bodies 2>/;s/TARGET/#tile.gpu<"sm_80", sm 80>/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s" --check-prefixes=TWO

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, strided>
!bounds = !attn.tensor<3 x i32, strided>

// CHECK-LABEL: func.func @padding(
// CHECK-SAME: %[[TABLE:arg24]]: !tile.ptr<i32>, %arg25: i64, %arg26: i64, %arg27: i64, %[[PADDING:arg28]]: !tile.ptr<i8>, %arg29: i64,
// CHECK-DAG: %[[SQ:.*]] = arith.index_cast %arg32 : i64 to index
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg33 : i64 to index
// CHECK-DAG: %[[TABLEROW:.*]] = arith.index_cast %arg26 : i64 to index
// CHECK: %[[COORDS:.*]]:3 = tile.coords
// CHECK: %[[ROW:.*]] = arith.muli %[[COORDS]]#0, %c16
// CHECK: %[[LAST:.*]] = arith.minsi

// The padding as a mask: one row for all. A GPU's fragments take it as a matrix whose rows are 0 apart.
// CHECK: %[[ENTRY:.*]] = arith.muli %[[COORDS]]#2, %{{.*}}
// CPU: %[[MASK:.*]] = tile.view %[[PADDING]][%[[ENTRY]]] sizes(%[[SK]]) strides(%c1) : <i8> -> <1 x i8, unit 2>
// GPU: %[[MASK:.*]] = tile.view %[[PADDING]][%[[ENTRY]]] sizes(%[[SQ]], %[[SK]]) strides(%c0, %c1) : <i8> -> <2 x i8, unit 2>

// The two bounds of this block's rows, and those of its first and last row, each cut to what the mask leaves.
// CHECK: %[[STARTVIEW:.*]] = tile.view %[[TABLE]][%[[TABLEENTRY:[a-z0-9]+]]] sizes(%[[SQ]])
// CHECK: %[[STARTS:.*]] = tile.load %[[STARTVIEW]][%[[ROW]]] bounds [true] : <1 x i32> -> tensor<16xi32>
// CHECK: %[[SECOND:.*]] = arith.addi %[[TABLEENTRY]], %[[TABLEROW]] : index
// CHECK: %[[ENDVIEW:.*]] = tile.view %[[TABLE]][%[[SECOND]]] sizes(%[[SQ]])
// CHECK: %[[TABLEENDS:.*]] = tile.load %[[ENDVIEW]][%[[ROW]]] bounds [true] : <1 x i32> -> tensor<16xi32>
// CHECK: %[[ENDS:.*]] = arith.minsi %{{.*}}, %[[TABLEENDS]] : tensor<16xi32>
// CHECK: tile.load_scalar %[[STARTVIEW]][%[[ROW]]]
// CHECK: %[[BEGIN:.*]] = arith.maxsi %{{.*}}, %c0 : index
// CHECK: tile.load_scalar %[[STARTVIEW]][%[[LAST]]]
// CHECK: tile.load_scalar %[[ENDVIEW]][%[[ROW]]]
// CHECK: tile.load_scalar %[[ENDVIEW]][%[[LAST]]]
// CHECK: %[[END:.*]] = arith.minsi %[[SK]], %{{.*}} : index

// Views hold the keys from the first row's start to the last row's end. The first block begins there too.
// CHECK: arith.subi %{{.*}}, %[[BEGIN]] : index
// CHECK: arith.subi %{{.*}}, %[[BEGIN]] : index
// CHECK: %[[LENGTH:.*]] = arith.subi %[[END]], %[[BEGIN]] : index
// CHECK: %[[VISIBLE:.*]] = arith.maxsi %[[LENGTH]], %c0 : index
// CHECK: %[[KEYS:.*]] = tile.view %arg5[{{.*}}] sizes(%[[VISIBLE]], %c32)
// CHECK: %[[VALUES:.*]] = tile.view %arg10[{{.*}}] sizes(%[[VISIBLE]], %c16)
// CHECK: %[[FIRSTREAL:.*]] = arith.addi %[[ENTRY]], %{{.*}} : index
// CHECK: %[[REAL:.*]] = tile.view %[[PADDING]][%[[FIRSTREAL]]] sizes(%[[VISIBLE]]) strides(%c1) : <i8> -> <1 x i8, unit 2>
// The third and fourth row of the table: where holes are, and so in which blocks.
// CHECK: %[[HOLEVIEW:.*]] = tile.view %[[TABLE]]
// CHECK: tile.load_scalar %[[HOLEVIEW]][%[[ROW]]]
// CHECK: %[[HOLEENDVIEW:.*]] = tile.view %[[TABLE]]
// CHECK: tile.load_scalar %[[HOLEENDVIEW]][%[[ROW]]]
// CHECK: %[[HOLEKEY:.*]] = arith.subi %{{.*}}, %[[BEGIN]] : index
// CHECK: %[[HOLEMAX:.*]] = arith.maxsi %[[HOLEKEY]], %c0 : index
// GPU: %[[HOLEFIRST:.*]] = arith.divui %[[HOLEMAX]], %c32{{.*}} : index
// CHECK: arith.subi %{{.*}}, %[[BEGIN]] : index
// CHECK: %[[HOLEROUND:.*]] = arith.addi %{{.*}}, %c31{{.*}} : index
// CHECK: %[[HOLEEND:.*]] = arith.divui %[[HOLEROUND]], %c32{{.*}} : index

// One loop. A GPU looks into the mask of the first block ahead of it, and of the next one at the end of each step.
// GPU: %[[FROM:.*]] = arith.cmpi sge, %c0, %[[HOLEFIRST]] : index
// GPU: %[[UPTO:.*]] = arith.cmpi slt, %c0, %[[HOLEEND]] : index
// GPU: %[[HOLES:.*]] = arith.andi %[[FROM]], %[[UPTO]] : i1
// GPU: %[[FIRST:.*]] = scf.if %[[HOLES]] -> (i1) {
// CPU: %[[HOLES:.*]] = arith.cmpi slt, %c0, %[[HOLEEND]] : index
// GPU: %[[ALL:.*]] = tile.all_set %[[REAL]][%c0] count 32 : <1 x i8, unit 2>
// GPU: arith.xori %[[ALL]], %{{.*}} : i1
// GPU: } else {
// CPU: scf.for %[[BLOCK:[a-z0-9]+]] =
// GPU: scf.for %[[BLOCK:[a-z0-9]+]] = {{.*}}, %[[PADDED:[a-z0-9]+]] = %[[FIRST]])
// CHECK: %[[FROMVIEW:.*]] = arith.muli %[[BLOCK]], %c32 : index
// CHECK: %[[KEY:.*]] = arith.addi %[[BEGIN]], %[[FROMVIEW]] : index
// GPU: %[[EDGE:.*]] = arith.ori
// GPU: %[[PARTIAL:.*]] = arith.ori %[[PADDED]], %[[EDGE]] : i1
// CHECK: tile.load %[[KEYS]][%[[FROMVIEW]], %c0] bounds [true, false]
// CHECK: tile.dot
// GPU: scf.if %[[PARTIAL]]
// GPU: tile.load %[[MASK]][%[[ROW]], %[[KEY]]] bounds [false, true] {any_past_end} : <2 x i8, unit 2> -> tensor<16x32xi8>
// CPU: %[[BYTES:.*]] = tile.load %[[MASK]][%[[KEY]]] bounds [true] : <1 x i8, unit 2> -> tensor<32xi8>
// CPU: %[[GIVEN:.*]] = arith.cmpi ne, %[[BYTES]], %{{.*}} : tensor<32xi8>
// QK: tile.broadcast %[[GIVEN]] axis 0 : tensor<32xi1> -> tensor<16x32xi1>
// KQ: tile.broadcast %[[GIVEN]] axis 1 : tensor<32xi1> -> tensor<32x16xi1>
// CHECK: arith.select
// CHECK: tile.broadcast %[[ENDS]] axis
// CHECK: arith.cmpi slt
// CHECK: tile.broadcast %[[STARTS]] axis
// CHECK: arith.cmpi sge
// CPU: tile.load %[[VALUES]][%[[FROMVIEW]], %c0] bounds [true, false] where %[[REAL]] when %[[HOLES]]
// GPU: tile.load %[[VALUES]][%[[FROMVIEW]], %c0] bounds [true, false] where %[[REAL]] when %[[PADDED]]
// GPU: %[[BEHIND:.*]] = arith.addi %[[BLOCK]], %c1 : index
// GPU: arith.cmpi sge, %[[BEHIND]], %[[HOLEFIRST]] : index
// GPU: arith.cmpi slt, %[[BEHIND]], %[[HOLEEND]] : index
// GPU: %[[NEXT:.*]] = scf.if %{{.*}} -> (i1) {
// GPU: arith.muli %[[BEHIND]], %c32 : index
// GPU: tile.all_set %[[REAL]]
// GPU: scf.yield %{{.*}}, %{{.*}}, %{{.*}}, %[[NEXT]] :
// CPU: scf.yield
// CHECK-NOT: scf.for

// TWO-LABEL: func.func @padding(
// TWO: scf.for {{.*}}, %[[PADDED:[a-z0-9]+]] = %{{[a-z0-9]+}}#0, %[[SOME:[a-z0-9]+]] = %{{[a-z0-9]+}}#1)
// TWO: %[[PARTIAL:.*]] = arith.ori %[[PADDED]], %{{.*}} : i1
// TWO: %[[READ:.*]] = arith.andi %[[PADDED]], %[[SOME]] : i1
// TWO: %[[K:.*]] = tile.load {{.*}} bounds [true, false] : <2 x f16, unit> -> tensor<32x32xf16>
// TWO: %[[V:.*]] = tile.load {{.*}} bounds [true, false] where %[[REAL:.*]] when %[[READ]]
// TWO: scf.if %[[PARTIAL]]
// TWO: scf.if %[[SOME]]
// TWO: tile.dot %{{.*}}, %[[K]]
// TWO: tile.hide_unset %{{.*}} by %[[REAL]][
// TWO: tile.hide %{{.*}} from
// TWO: tile.hide %{{.*}} before
// TWO: tile.dot %{{.*}}, %[[V]]
// TWO: } else {
// TWO-NOT: tile.
// TWO: } else {
// TWO: tile.dot %{{.*}}, %[[K]]
// TWO-NOT: tile.hide
// TWO: tile.dot %{{.*}}, %[[V]]
// TWO: tile.all_set %[[REAL]][%[[NEXT:.*]]] count 32
// TWO: tile.any_set %[[REAL]][%[[NEXT]]] count 32
// TWO: return
// CHECK: return
func.func @padding(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %table: !bounds, %padding: !attn.tensor<2 x i8, a2>,
                   %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) row_bounds(%table : !bounds)
      key_padding(%padding : !attn.tensor<2 x i8, a2>) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk)
      offset(%o) write_lse(%w) head_dims(32, 16) mask(none) : !t, !t, !t, !t, !lse
  return
}

// Documents alone, with a window: the later of two starts. Nothing is chosen, and a CPU has full blocks again.
// CHECK-LABEL: func.func @documents(
// CHECK: %[[BOUND:.*]] = tile.load {{.*}} bounds [false] : <1 x i32> -> tensor<16xi32>
// CHECK: arith.maxsi %{{.*}}, %[[BOUND]] : tensor<16xi32>
// CHECK-NOT: where
// CPU: scf.for
// CPU: tile.load {{.*}} bounds [true, false]
// CPU: scf.yield
// CPU: scf.for
// CPU: tile.load {{.*}} bounds [false, false]
// CPU: scf.yield
// CPU: scf.for
// CPU: tile.load {{.*}} bounds [true, false]
// CPU: scf.yield
// GPU: scf.for
// GPU-NOT: scf.for
// CHECK: return
func.func @documents(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %wo: i64, %table: !bounds, %scale: f32, %sq: i64,
                     %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse) window(%wo) row_bounds(%table : !bounds) scale(%scale)
      seqlens(%sq, %sk) heads(%h, %hpk) offset(%o) write_lse(%w) head_dims(32, 16) mask(causal) {even_m}
      : !t, !t, !t, !t, !lse
  return
}
