// attn.row_bounds: the keys of each row's document, cut to those between the first and the last real key. A document's
// ends are counted: inside the block's own positions one by one, beyond them by a search that takes 2 bits of the count
// at once.
// RUN: sed -e 's/SCHEDULE/#tile.schedule<kq, 32 x 64, micro 8 x 2>/;s/TARGET/#tile.cpu<"x86-64-v3">/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s"
// RUN: sed -e 's/SCHEDULE/#tile.gpu_schedule<32 x 64, warps 2>/;s/TARGET/#tile.gpu<"sm_80", sm 80>/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s"

!table = !attn.tensor<3 x i32, strided>
!ids = !attn.tensor<2 x i32, strided>
!bytes = !attn.tensor<2 x i8, strided>
!n = !attn.tensor<1 x i32, strided>

// CHECK-LABEL: func.func @both(
// CHECK-SAME: %[[TABLE:arg0]]: !tile.ptr<i32>, %arg1: i64, %arg2: i64, %arg3: i64, %[[IDS:arg4]]: !tile.ptr<i32>, %arg5: i64, %arg6: i64,
// CHECK-SAME: %[[PADDING:arg7]]: !tile.ptr<i8>, %arg8: i64, %arg9: i64, %arg10: i64, %arg11: i64, %arg12: i64)
// CHECK-DAG: %[[TABLEROW:.*]] = arith.index_cast %arg2 : i64 to index
// CHECK-DAG: %[[SQ:.*]] = arith.index_cast %arg10 : i64 to index
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg11 : i64 to index
// CHECK-DAG: %[[OFFSET:.*]] = arith.index_cast %arg12 : i64 to index
// CHECK: %[[COORDS:.*]]:2 = tile.coords sizes(%{{.*}}) : index, index
// CHECK: %[[ROW:.*]] = arith.muli %[[COORDS]]#0, %c32
// CHECK: %[[POSITIONS:.*]] = arith.addi %{{.*}}, %{{.*}} : tensor<32xi32>
// CHECK: %[[POSITION:.*]] = arith.addi %[[ROW]], %[[OFFSET]] : index
// The first and the last of the block's positions, moved inside the sequence.
// CHECK: arith.maxsi %[[POSITION]], %c0 : index
// CHECK: %[[FIRST:.*]] = arith.minsi
// CHECK: %[[LAST:.*]] = arith.minsi

// Without a single key there is no id to read: a loop of one turn or none.
// CHECK: %[[IDVIEW:.*]] = tile.view %[[IDS]][{{.*}}] sizes(%[[SK]])
// CHECK: %[[ANY:.*]] = arith.minsi %[[SK]], %c1 : index
// CHECK: %[[BOUNDS:.*]]:2 = scf.for %{{.*}} = %c0 to %[[ANY]] step %c1
// Rows outside of the sequence, and those before its first key are padding.
// CHECK: %[[ROWIDS:.*]] = tile.load %[[IDVIEW]][%[[POSITION]]] bounds [true] : <1 x i32> -> tensor<32xi32>
// CHECK: arith.cmpi uge, %[[POSITIONS]]
// CHECK: arith.select
// CHECK: tile.load_scalar %[[IDVIEW]][%[[FIRST]]]
// CHECK: tile.load_scalar %[[IDVIEW]][%[[LAST]]]
// Two searches at once.
// CHECK: scf.for {{.*}} -> (index, index)
// CHECK-COUNT-6: tile.load_scalar %[[IDVIEW]]
// CHECK-NOT: tile.load_scalar
// CHECK: scf.yield
// The block's positions, 8 at once.
// CHECK: scf.for {{.*}} = %c0 to %c4{{[_0-9]*}} step %c1 {{.*}} -> (tensor<32xi32>, tensor<32xi32>)
// CHECK-COUNT-8: tile.load_scalar %[[IDVIEW]]
// CHECK-NOT: tile.load_scalar
// CHECK: arith.cmpi ult
// CHECK: scf.yield
// CHECK: scf.yield

// CHECK: %[[BYTES:.*]] = tile.view %[[PADDING]][{{.*}}] sizes(%[[SK]])
// CHECK: %[[BEGIN:.*]], %[[END:.*]], %[[HB:.*]], %[[HE:.*]] = tile.hull %[[BYTES]]
// CHECK: %[[HB32:.*]] = arith.index_cast %[[HB]] : index to i32
// CHECK: %[[HOLESBEGIN:.*]] = tile.splat %[[HB32]] : tensor<32xi32>
// CHECK: %[[HE32:.*]] = arith.index_cast %[[HE]] : index to i32
// CHECK: %[[HOLESEND:.*]] = tile.splat %[[HE32]] : tensor<32xi32>
// CHECK: %[[STARTS:.*]] = arith.maxsi %[[BOUNDS]]#0, %{{.*}} : tensor<32xi32>
// CHECK: %[[ENDS:.*]] = arith.minsi %[[BOUNDS]]#1, %{{.*}} : tensor<32xi32>
// Four rows of the table, one after the other.
// CHECK: %[[TABLEENTRY:.*]] = arith.muli %[[COORDS]]#1, %{{.*}} : index
// CHECK: %[[T0:.*]] = tile.view %[[TABLE]][%[[TABLEENTRY]]] sizes(%[[SQ]])
// CHECK: tile.store %[[STARTS]], %[[T0]][%[[ROW]]] bounds [true]
// CHECK: %[[NEXT:.*]] = arith.addi %[[TABLEENTRY]], %[[TABLEROW]] : index
// CHECK: %[[T1:.*]] = tile.view %[[TABLE]][%[[NEXT]]] sizes(%[[SQ]])
// CHECK: tile.store %[[ENDS]], %[[T1]][%[[ROW]]] bounds [true]
// CHECK: %[[T2:.*]] = tile.view %[[TABLE]]
// CHECK: tile.store %[[HOLESBEGIN]], %[[T2]][%[[ROW]]] bounds [true]
// CHECK: %[[T3:.*]] = tile.view %[[TABLE]]
// CHECK: tile.store %[[HOLESEND]], %[[T3]][%[[ROW]]] bounds [true]
// CHECK: return
func.func @both(%t: !table, %d: !ids, %p: !bytes, %sq: i64, %sk: i64, %o: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.row_bounds bounds(%t) documents(%d : !ids) key_padding(%p : !bytes) seqlens(%sq, %sk) offset(%o) : !table
  return
}

// Padding alone: every row's keys are those between the ends, and nothing is counted.
// CHECK-LABEL: func.func @padding(
// CHECK: %[[BEGIN:.*]], %[[END:.*]], %{{.*}}, %{{.*}} = tile.hull
// CHECK-NOT: scf.for
// CHECK-COUNT-4: tile.store {{.*}} bounds [false] : tensor<32xi32>
// CHECK-NOT: tile.store
// CHECK: return
func.func @padding(%t: !table, %p: !bytes, %sq: i64, %sk: i64, %o: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.row_bounds bounds(%t) key_padding(%p : !bytes) seqlens(%sq, %sk) offset(%o) {even_m} : !table
  return
}

// Documents of a varlen batch: the entry's own length and offset; the table keeps seqlen_q rows an entry.
// CHECK-LABEL: func.func @sequences(
// CHECK: %[[MAXQ:.*]] = arith.index_cast %arg12 : i64 to index
// CHECK: tile.view %arg7
// CHECK: tile.view %arg9
// CHECK: %[[LENGTHK:.*]] = arith.maxsi
// CHECK: %[[LENGTHQ:.*]] = arith.minsi %{{.*}}, %[[MAXQ]] : index
// CHECK: %[[DIFFERENCE:.*]] = arith.subi %[[LENGTHK]], %[[LENGTHQ]] : index
// CHECK: %[[MOVED:.*]] = arith.muli %{{.*}}, %[[DIFFERENCE]] : index
// CHECK: %[[OFFSET:.*]] = arith.addi %{{.*}}, %[[MOVED]] : index
// CHECK: tile.view %arg4[{{.*}}] sizes(%[[LENGTHK]])
// CHECK-NOT: tile.hull
// CHECK-COUNT-2: tile.store
// CHECK-NOT: tile.store
// CHECK: return
func.func @sequences(%t: !table, %d: !ids, %cuq: !n, %cuk: !n, %br: i64, %sq: i64, %sk: i64, %o: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.row_bounds bounds(%t) documents(%d : !ids) cu_seqlens(%cuq, %cuk : !n, !n) bottom_right(%br) seqlens(%sq, %sk)
      offset(%o) : !table
  return
}
