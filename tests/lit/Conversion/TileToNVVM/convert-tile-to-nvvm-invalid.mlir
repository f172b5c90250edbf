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
  // expected-error @+1 {{expected 16-bit floats on a GPU, got 'f32'}}
  tile.async_load %v[%c0, %c0] bounds [false, false] to %b : !tile.view<2 x f32>, !tile.shared<16 x 16 x f32>
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
