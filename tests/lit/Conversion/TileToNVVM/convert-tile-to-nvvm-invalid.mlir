// What a GPU does not have is refused here, with a message: LLVM would abort the process.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm -split-input-file -verify-diagnostics

// expected-error @+1 {{expected the attributes tile.target (#tile.gpu) and tile.schedule (#tile.gpu_schedule)}}
func.func @no_schedule() attributes {tile.kernel} {
  return
}

// -----

func.func @float32_operands(%p: !tile.ptr<f32>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c16 = arith.constant 16 : index
  %v = tile.view %p[%c0] sizes(%c16, %c16) strides(%c16, %c16) : !tile.ptr<f32> -> !tile.view<2 x f32>
  %b = tile.alloc_shared : !tile.shared<16 x 16 x f32>
  // expected-error @+1 {{expected 16-bit floats, or float32 in rows without gaps, on a GPU, got '!tile.view<2 x f32>'}}
  tile.async_load %v[%c0, %c0] bounds [false, false] to %b : !tile.view<2 x f32>, !tile.shared<16 x 16 x f32>
  return
}

// -----

func.func @column_bound(%p: !tile.ptr<bf16>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c7 = arith.constant 7 : index
  %v = tile.view %p[%c0] sizes(%c7, %c7) strides(%c7, %c1) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit>
  %b = tile.alloc_shared : !tile.shared<16 x 16 x bf16>
  // expected-error @+1 {{expected no bound on columns where rows are not aligned to 4 bytes}}
  tile.async_load %v[%c0, %c0] bounds [true, true] to %b : !tile.view<2 x bf16, unit>, !tile.shared<16 x 16 x bf16>
  return
}

// -----

func.func @half_a_pair_of_groups()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %b = tile.alloc_shared : !tile.shared<16 x 24 x bf16>
  // expected-error @+1 {{expected f16, bf16 or f32 and a multiple of 16 columns, got '!tile.shared<16 x 24 x bf16>'}}
  %t = tile.load_shared %b : !tile.shared<16 x 24 x bf16> -> tensor<16x24xbf16>
  return
}

// -----

func.func @keys_as_rows()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16x16xf32>
  // expected-error @+1 {{expected a reduction along rows: score tiles have queries as rows}}
  %m = tile.reduce max %s axis 0 : tensor<16x16xf32> -> tensor<16xf32>
  return
}

// -----

func.func @transpose()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16x16xf32>
  // expected-error @+1 {{'tile.transpose' op has no lowering to a GPU}}
  %t = tile.transpose %s : tensor<16x16xf32> -> tensor<16x16xf32>
  return
}

// -----

func.func @fused()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  // expected-error @+1 {{'tile.fused' op has no lowering to a GPU}}
  tile.fused [16] {
    tile.yield
  }
  return
}

// -----

// tile-apply-schedule has not run.
func.func @coordinates()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c1 = arith.constant 1 : index
  // expected-error @+1 {{'tile.coords' op has no lowering to a GPU}}
  %m, %n = tile.coords sizes(%c1) : index, index
  return
}

// -----

func.func @division(%a: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  // expected-error @+1 {{'arith.ceildivsi' op has no lowering to a GPU}}
  %b = arith.ceildivsi %a, %a : i64
  return
}

// -----

func.func @float64_tile()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  // expected-error @+1 {{'arith.constant' op expected a tile of f32, i32 or i1 on a GPU, got 'tensor<16x16xf64>'}}
  %s = arith.constant dense<0.0> : tensor<16x16xf64>
  return
}

// -----

func.func @float64_scalar()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  // expected-error @+1 {{'arith.constant' op expected scalars of index, f32, i1, i8, i16, i32 or i64 on a GPU, got 'f64'}}
  %s = arith.constant 0.0 : f64
  return
}

// -----

// Division of these ends the process in the backend.
func.func @wide_integer(%a: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  // expected-error @+1 {{'arith.extsi' op expected scalars of index, f32, i1, i8, i16, i32 or i64 on a GPU, got 'i128'}}
  %b = arith.extsi %a : i64 to i128
  return
}

// -----

func.func @rank_3()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  // expected-error @+1 {{'arith.constant' op expected tiles of one or two known dimensions, got 'tensor<16x16x16xf32>'}}
  %s = arith.constant dense<0.0> : tensor<16x16x16xf32>
  return
}

// -----

func.func @rows()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<64 x 16, warps 4>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  // expected-error @+1 {{'arith.constant' op expected rows to be a multiple of 64, 16 for each of 4 warps, got 'tensor<32x16xf32>'}}
  %s = arith.constant dense<0.0> : tensor<32x16xf32>
  return
}

// -----

func.func @splat_constant()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  // expected-error @+1 {{'arith.constant' op expected a splat: tile programs have no other tile constants}}
  %s = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]> : tensor<16xi32>
  return
}

// -----

func.func @half_constant()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  // expected-error @+1 {{'arith.constant' op expected 16-bit floats to come from arith.truncf or tile.load, got 'tensor<16x16xbf16>'}}
  %s = arith.constant dense<0.0> : tensor<16x16xbf16>
  return
}

// -----

func.func @half_arithmetic()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16x16xf32>
  %h = arith.truncf %s : tensor<16x16xf32> to tensor<16x16xf16>
  // expected-error @+1 {{'arith.cmpf' op expected 16-bit floats to be read by products, stores and arith.extf only, got 'tensor<16x16xf16>'}}
  %w = arith.cmpf ogt, %h, %h : tensor<16x16xf16>
  return
}

// -----

func.func @truncated_rows()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16xf32>
  // expected-error @+1 {{'arith.truncf' op expected a rank-2 tile of f32 to become f16 or bf16, got 'tensor<16xf32>' -> 'tensor<16xf16>'}}
  %h = arith.truncf %s : tensor<16xf32> to tensor<16xf16>
  return
}

// -----

func.func @broadcast_columns()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16xf32>
  // expected-error @+1 {{'tile.broadcast' op expected rows to be repeated along columns: score tiles have queries as rows}}
  %h = tile.broadcast %s axis 0 : tensor<16xf32> -> tensor<16x16xf32>
  return
}

// -----

func.func @reduced_columns()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16x12xf32>
  // expected-error @+1 {{'tile.reduce' op expected a multiple of 8 columns, got 'tensor<16x12xf32>'}}
  %h = tile.reduce sum %s axis 1 : tensor<16x12xf32> -> tensor<16xf32>
  return
}

// -----

func.func @rank_1_half(%p: !tile.ptr<f16>, %n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %v = tile.view %p[%c0] sizes(%c0) strides(%c0) : !tile.ptr<f16> -> !tile.view<1 x f16>
  // expected-error @+1 {{'tile.load' op expected a rank-1 tile of f32 or i32 on a GPU, got 'tensor<16xf16>'}}
  %t = tile.load %v[%c0] bounds [false] : !tile.view<1 x f16> -> tensor<16xf16>
  return
}

// -----

func.func @unstaged(%p: !tile.ptr<f16>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %v = tile.view %p[%c0] sizes(%c0, %c0) strides(%c0, %c0) : !tile.ptr<f16> -> !tile.view<2 x f16>
  // expected-error @+1 {{'tile.load' op expected a bounded rank-2 load to feed products, or to leave elements past its bounds open}}
  %t = tile.load %v[%c0, %c0] bounds [true, false] : !tile.view<2 x f16> -> tensor<16x16xf16>
  return
}

// -----

func.func @store_float32(%p: !tile.ptr<f32>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %s = arith.constant dense<0.0> : tensor<16x16xf32>
  %v = tile.view %p[%c0] sizes(%c0, %c0) strides(%c0, %c0) : !tile.ptr<f32> -> !tile.view<2 x f32>
  // expected-error @+1 {{'tile.store' op expected a tile of 16-bit floats}}
  tile.store %s, %v[%c0, %c0] bounds [false, false] : tensor<16x16xf32>, !tile.view<2 x f32>
  return
}

// -----

func.func @store_bits(%p: !tile.ptr<i1>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %s = arith.constant dense<false> : tensor<16xi1>
  %v = tile.view %p[%c0] sizes(%c0) strides(%c0) : !tile.ptr<i1> -> !tile.view<1 x i1>
  // expected-error @+1 {{'tile.store' op expected a rank-1 tile of f32 or i32 on a GPU, got 'tensor<16xi1>'}}
  tile.store %s, %v[%c0] bounds [false] : tensor<16xi1>, !tile.view<1 x i1>
  return
}

// -----

func.func @dot_float32()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16x16xf32>
  %a = tile.alloc_shared : !tile.shared<16 x 16 x f32>
  // expected-error @+1 {{'tile.dot' op expected operands of f16 or bf16 on a GPU, got 'f32'}}
  %d = tile.dot %a, %a, %s : !tile.shared<16 x 16 x f32>, !tile.shared<16 x 16 x f32> -> tensor<16x16xf32>
  return
}

// -----

func.func @dot_depth()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16x16xf32>
  %a = tile.alloc_shared : !tile.shared<16 x 24 x bf16>
  %b = tile.alloc_shared : !tile.shared<24 x 16 x bf16>
  // expected-error @+1 {{'tile.dot' op expected b to have a multiple of 16 rows, as matrix instructions take them, got 24}}
  %d = tile.dot %a, %b, %s : !tile.shared<16 x 24 x bf16>, !tile.shared<24 x 16 x bf16> -> tensor<16x16xf32>
  return
}

// -----

func.func @dot_columns()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16x8xf32>
  %a = tile.alloc_shared : !tile.shared<16 x 16 x bf16>
  %b = tile.alloc_shared : !tile.shared<8 x 16 x bf16>
  // expected-error @+1 {{'tile.dot' op expected b to have a multiple of 16 rows, as matrix instructions take them, got 8}}
  %d = tile.dot %a, %b, %s trans_b : !tile.shared<16 x 16 x bf16>, !tile.shared<8 x 16 x bf16> -> tensor<16x8xf32>
  return
}

// -----

func.func @dot_register_depth()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16x16xf32>
  %w = arith.constant dense<0.0> : tensor<16x24xf32>
  %a = arith.truncf %w : tensor<16x24xf32> to tensor<16x24xbf16>
  %b = tile.alloc_shared : !tile.shared<16 x 24 x bf16>
  // expected-error @+1 {{'tile.dot' op expected a to have a multiple of 16 columns where it is held in registers, got 24}}
  %d = tile.dot %a, %b, %s trans_b : tensor<16x24xbf16>, !tile.shared<16 x 24 x bf16> -> tensor<16x16xf32>
  return
}

// -----

func.func @dot_transposed()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %s = arith.constant dense<0.0> : tensor<16x16xf32>
  %a = tile.alloc_shared : !tile.shared<16 x 16 x bf16>
  // expected-error @+1 {{'tile.dot' op expected b in shared memory and a not transposed: run tile-stage-loads first}}
  %d = tile.dot %a, %a, %s trans_a : !tile.shared<16 x 16 x bf16>, !tile.shared<16 x 16 x bf16> -> tensor<16x16xf32>
  return
}

// -----

func.func @chosen_view(%p: !tile.ptr<f32>, %q: !tile.ptr<f32>, %n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0 : i64
  %v = tile.view %p[%c0] sizes(%c0) strides(%c0) : !tile.ptr<f32> -> !tile.view<1 x f32>
  %w = tile.view %q[%c0] sizes(%c0) strides(%c0) : !tile.ptr<f32> -> !tile.view<1 x f32>
  %c = arith.cmpi eq, %n, %zero : i64
  // expected-error @+1 {{'arith.select' op expected views and buffers to be used where they are made, got one of '!tile.view<1 x f32>'}}
  %u = arith.select %c, %v, %w : !tile.view<1 x f32>
  return
}

// -----

func.func @carried_view(%p: !tile.ptr<f32>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %v = tile.view %p[%c0] sizes(%c0) strides(%c0) : !tile.ptr<f32> -> !tile.view<1 x f32>
  // expected-error @+1 {{'scf.for' op expected views and buffers to be used where they are made, got one of '!tile.view<1 x f32>'}}
  %r = scf.for %i = %c0 to %c1 step %c1 iter_args(%w = %v) -> !tile.view<1 x f32> {
    scf.yield %w : !tile.view<1 x f32>
  }
  return
}

// -----

func.func @chosen_pointer(%p: !tile.ptr<f32>, %q: !tile.ptr<f32>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c = arith.constant true
  // expected-error @+1 {{'arith.select' op expected scalars of index, f32, i1, i8, i16, i32 or i64 on a GPU, got '!tile.ptr<f32>'}}
  %u = arith.select %c, %p, %q : !tile.ptr<f32>
  return
}

// -----

func.func @if_else_without_results(%n: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %c = arith.constant true
  // expected-error @+1 {{'scf.if' op expected results, or no else block}}
  scf.if %c {
  } else {
  }
  return
}

// -----

// A row takes 64 bytes, one of the other buffer's two stages 32, as if it had 16 columns: 560 of its rows would just fit.
// expected-error @+1 {{'func.func' op needs 166976 bytes of shared memory, but sm_80 has 166912 a block: choose smaller blocks than those of tile.schedule}}
func.func @shared_sm_80()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %a = tile.alloc_shared : !tile.shared<2048 x 32 x bf16>
  %b = tile.alloc_shared : !tile.shared<561 x 8 x bf16, stages 2>
  return
}

// -----

// For PTX the GPU is not known.
// expected-error @+1 {{'func.func' op needs 245760 bytes of shared memory, but no GPU has more than 232448 a block}}
func.func @shared_ptx()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 65535>} {
  %a = tile.alloc_shared : !tile.shared<3840 x 32 x bf16>
  return
}

// -----

// expected-error @+1 {{'func.func' op expected a body of one block and no results: a GPU starts it as a kernel}}
func.func private @no_body()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>}

// -----

// expected-error @+1 {{'func.func' op expected a body of one block and no results: a GPU starts it as a kernel}}
func.func @returns(%n: i64) -> i64
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  return %n : i64
}

// -----

// expected-error @+1 {{'func.func' op expected arguments of !tile.ptr, i64 or f32, got 'f64'}}
func.func @float64_argument(%x: f64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  return
}

// -----

// A CPU's schedule is none of a GPU.
// expected-error @+1 {{expected the attributes tile.target (#tile.gpu) and tile.schedule (#tile.gpu_schedule)}}
func.func @cpu_schedule()
    attributes {tile.kernel, tile.schedule = #tile.schedule<qk, 16 x 16, micro 8 x 2>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  return
}

// -----

// Score tiles of a GPU have queries as rows.
func.func @transposed_random_bits(%r: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %a = arith.trunci %r : i64 to i32
  // expected-error @+1 {{'tile.random_bits' op expected queries as rows, and a multiple of 16 columns, got 'tensor<16x16xi32>'}}
  %t = tile.random_bits [%a, %a] counter(%a, %a) key(%a, %a) transposed : tensor<16x16xi32>
  return
}

// -----

// Of a Philox call's four elements two are 8 columns further on.
func.func @random_bits_of_8_columns(%r: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %a = arith.trunci %r : i64 to i32
  // expected-error @+1 {{'tile.random_bits' op expected queries as rows, and a multiple of 16 columns, got 'tensor<16x24xi32>'}}
  %t = tile.random_bits [%a, %a] counter(%a, %a) key(%a, %a) : tensor<16x24xi32>
  return
}

// -----

// Rows are chosen in shared memory only.
func.func @chosen_rows_in_registers(%p: !tile.ptr<f16>, %m: !tile.ptr<i8>)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<16 x 16, warps 1>, tile.target = #tile.gpu<"sm_80", sm 80>} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %c16 = arith.constant 16 : index
  %when = arith.constant true
  %v = tile.view %p[%zero] sizes(%c16, %c16) strides(%c16, %one) : !tile.ptr<f16> -> !tile.view<2 x f16, unit>
  %c = tile.view %m[%zero] sizes(%c16) strides(%one) : !tile.ptr<i8> -> !tile.view<1 x i8, unit>
  // expected-error @+1 {{'tile.load' op expected a load whose rows are chosen to feed products}}
  %t = tile.load %v[%zero, %zero] bounds [false, false] where %c when %when : !tile.view<1 x i8, unit> : !tile.view<2 x f16, unit> -> tensor<16x16xf16>
  return
}
