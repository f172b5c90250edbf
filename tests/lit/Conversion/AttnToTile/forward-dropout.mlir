// Dropout, on what the products take and not on what the row sums add up; and probabilities, by a second pass over all
// keys that draws the same bits again.
// RUN: sed -e 's/SCHEDULE/#tile.schedule<qk, 16 x 32, micro 4 x 1>/;s/TARGET/#tile.cpu<"x86-64-v3">/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s" --check-prefixes=CHECK,CPU,QK
// RUN: sed -e 's/SCHEDULE/#tile.schedule<kq, 16 x 32, micro 4 x 1>/;s/TARGET/#tile.cpu<"x86-64-v3">/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s" --check-prefixes=CHECK,CPU,KQ
// RUN: sed -e 's/SCHEDULE/#tile.gpu_schedule<16 x 32, warps 1>/;s/TARGET/#tile.gpu<"sm_80", sm 80>/' "%s" | tilewright-opt - -attn-expand -cse | FileCheck "%s" --check-prefixes=CHECK,GPU

!t = !attn.tensor<4 x f16, a2>
!lse = !attn.tensor<3 x f32, strided>
!state = !attn.tensor<1 x i64, strided>

// CHECK-LABEL: func.func @dropout(
// CHECK-SAME: %[[STATE:arg24]]: !tile.ptr<i64>, %arg25: i64, %[[SEED:arg26]]: i64, %[[SEEDOFFSET:arg27]]: i64, %arg28: i64, %[[THRESHOLD:arg29]]: i64, %[[KEEP:arg30]]: f32, %[[PROBS:arg31]]: !tile.ptr<f16>,
// CHECK-DAG: %[[SK:.*]] = arith.index_cast %arg38 : i64 to index
// CHECK: %[[COORDS:.*]]:3 = tile.coords
// CHECK: %[[ROW:.*]] = arith.muli %[[COORDS]]#0, %c16
// The state is read if it is given: a loop of one turn or none.
// CHECK: %[[GIVEN:.*]] = arith.index_cast %arg28 : i64 to index
// CHECK: %[[NUMBERS:.*]]:2 = scf.for %{{.*}} = %c0 to %[[GIVEN]] step %c1 iter_args(%{{.*}} = %[[SEED]], %{{.*}} = %[[SEEDOFFSET]])
// CHECK: tile.view %[[STATE]][%c0] sizes(%c2)
// CHECK: tile.load_scalar
// CHECK: tile.load_scalar
// CHECK: scf.yield
// CHECK: %[[HEAD:.*]] = arith.trunci %{{.*}} : i64 to i32
// CHECK: %[[OFFSET:.*]] = arith.trunci %[[NUMBERS]]#1 : i64 to i32
// CHECK: %[[LOW:.*]] = arith.trunci %[[NUMBERS]]#0 : i64 to i32
// CHECK: %[[KEY0:.*]] = arith.xori %[[LOW]], %{{.*}} : i32
// CHECK: %[[KEY1:.*]] = arith.trunci %{{.*}} : i64 to i32
// Upper 16 bits below the threshold: words up to 65536 times it, less 1.
// CHECK: %[[SHIFTED:.*]] = arith.shli %[[THRESHOLD]], %{{.*}} : i64
// CHECK: %[[LESS:.*]] = arith.subi %[[SHIFTED]], %{{.*}} : i64
// CHECK: %[[MOST:.*]] = arith.trunci %[[LESS]] : i64 to i32

// CHECK: %[[UP:.*]] = arith.addi %[[SK]], %c31
// CHECK: %[[BLOCKS:.*]] = arith.divui %[[UP]], %c32
// CHECK: scf.for
// CHECK: %[[P:.*]] = tile.exp2 %{{.*}} : tensor<{{[0-9]+x[0-9]+}}xf32>
// Sums count every entry.
// CPU: tile.reduce sum %[[P]]
// GPU: tile.fold %[[P]]
// CHECK: %[[ROW32:.*]] = arith.index_cast %[[ROW]] : index to i32
// QK: %[[BITS:.*]] = tile.random_bits[%[[ROW32]], %{{.*}}] counter(%[[HEAD]], %[[OFFSET]]) key(%[[KEY0]], %[[KEY1]]) : tensor<16x32xi32>
// KQ: %[[BITS:.*]] = tile.random_bits[%[[ROW32]], %{{.*}}] counter(%[[HEAD]], %[[OFFSET]]) key(%[[KEY0]], %[[KEY1]]) transposed : tensor<32x16xi32>
// GPU: %[[BITS:.*]] = tile.random_bits[%[[ROW32]], %{{.*}}] counter(%[[HEAD]], %[[OFFSET]]) key(%[[KEY0]], %[[KEY1]]) : tensor<16x32xi32>
// CHECK: %[[LIMIT:.*]] = tile.splat %[[MOST]]
// CHECK: %[[STAY:.*]] = arith.cmpi ule, %[[BITS]], %[[LIMIT]]
// CHECK: %[[KEPT:.*]] = arith.select %[[STAY]], %[[P]], %{{.*}}
// QK: tile.dot %[[KEPT]], %{{.*}}
// KQ: tile.dot %{{.*}}, %[[KEPT]], %{{.*}} trans_a
// GPU: %[[WEIGHTS:.*]] = arith.truncf %[[KEPT]]
// GPU: tile.dot %[[WEIGHTS]], %{{.*}}
// CHECK: scf.yield

// The second pass begins at the first key and ends behind the last one, and masks every block.
// CHECK: tile.view %[[PROBS]]
// CHECK: scf.for %{{.*}} = %c0 to %[[BLOCKS]] step %c1
// CHECK: tile.load {{.*}} bounds [true, false]
// CHECK: tile.dot
// QK: arith.cmpi slt
// KQ: arith.cmpi slt
// GPU: tile.hide
// CHECK: tile.exp2
// CHECK: %[[PROBABILITIES:.*]] = arith.mulf
// CHECK: %[[NEGATIVE:.*]] = arith.subf %{{.*}}, %[[PROBABILITIES]]
// CHECK: %[[AGAIN:.*]] = tile.random_bits[%{{.*}}, %{{.*}}] counter(%[[HEAD]], %[[OFFSET]]) key(%[[KEY0]], %[[KEY1]])
// CHECK: %[[SAME:.*]] = arith.cmpi ule, %[[AGAIN]], %{{.*}}
// CHECK: arith.select %[[SAME]], %[[PROBABILITIES]], %[[NEGATIVE]]
// QK: tile.store {{.*}} bounds [true, true] : tensor<16x32xf16>
// KQ: tile.store {{.*}} bounds [true, true] : tensor<32x16xf16>
// GPU: tile.store {{.*}} bounds [true, true] : tensor<16x32xf16>

// What stays is multiplied by the scale once a row.
// CHECK: %[[SCALE:.*]] = tile.splat %[[KEEP]] : tensor<16xf32>
// CHECK: arith.mulf %{{.*}}, %[[SCALE]] : tensor<16xf32>
// CHECK: tile.store
// The statistics are those of all entries.
// CHECK-NOT: %[[SCALE]]
// CHECK: return
func.func @dropout(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %state: !state, %seed: i64, %seed_offset: i64,
                   %given: i64, %threshold: i64, %keep: f32, %probs: !attn.tensor<4 x f16, strided>, %scale: f32,
                   %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse)
      dropout(%state, [%seed, %seed_offset, %given, %threshold], %keep : !state)
      probs(%probs : !attn.tensor<4 x f16, strided>) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(32, 16) mask(none) {even_n} : !t, !t, !t, !t, !lse
  return
}

// In a varlen batch rows past a sequence's end have probabilities of 0, whatever their statistics are.
// CHECK-LABEL: func.func @probs_of_sequences(
// CHECK: %[[ROWS:.*]] = tile.index %{{.*}} axis 0 : tensor<16xi32>
// CHECK: scf.for
// CHECK: scf.yield
// CHECK: %[[INSIDE:.*]] = arith.cmpi slt, %[[ROWS]], %{{.*}} : tensor<16xi32>
// CHECK: %[[INVERSE:.*]] = arith.select %[[INSIDE]], %{{.*}}, %{{.*}} : tensor<16xi1>, tensor<16xf32>
// CHECK: scf.for
// CHECK: tile.exp2
// CHECK: tile.broadcast %[[INVERSE]]
// CHECK-NOT: tile.random_bits
// CHECK: tile.store {{.*}} bounds [true, true]
func.func @probs_of_sequences(%q: !t, %k: !t, %v: !t, %out: !t, %lse: !lse, %cuq: !attn.tensor<1 x i32, strided>,
                              %cuk: !attn.tensor<1 x i32, strided>, %br: i64, %probs: !attn.tensor<4 x f16, strided>,
                              %scale: f32, %sq: i64, %sk: i64, %h: i64, %hpk: i64, %o: i64, %w: i64)
    attributes {tile.schedule = SCHEDULE, tile.target = TARGET} {
  attn.forward q(%q) k(%k) v(%v) out(%out) lse(%lse)
      cu_seqlens(%cuq, %cuk : !attn.tensor<1 x i32, strided>, !attn.tensor<1 x i32, strided>) bottom_right(%br)
      probs(%probs : !attn.tensor<4 x f16, strided>) scale(%scale) seqlens(%sq, %sk) heads(%h, %hpk) offset(%o)
      write_lse(%w) head_dims(32, 16) mask(causal) : !t, !t, !t, !t, !lse
  return
}
