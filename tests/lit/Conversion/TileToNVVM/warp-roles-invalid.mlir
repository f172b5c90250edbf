// What the family sm_90a has no code for, and operations of the other family.
// RUN: tilewright-opt "%s" -convert-tile-to-nvvm -split-input-file -verify-diagnostics

func.func @roles_of_the_other_family()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 64, warps 8>, tile.target = #tile.gpu<"sm_80", sm 90>} {
  // expected-error @+1 {{is of another instruction family than the kernel's target sm_80}}
  tile.roles producer {
  } consumer {
  }
  return
}

// -----

// expected-error @+1 {{expected one tile.roles in its block, got 0: run tile-specialize-warps first}}
func.func @no_roles()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 64, warps 8>, tile.target = #tile.gpu<"sm_90a", sm 90>} {
  return
}

// -----

// expected-error @+1 {{expected 8 or 12 consumer warps, two or three warpgroups, got 4}}
func.func @one_warpgroup()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<64 x 64, warps 4>, tile.target = #tile.gpu<"sm_90a", sm 90>} {
  tile.roles producer {
  } consumer {
  }
  return
}

// -----

func.func @not_a_tensors_block(%p: !tile.ptr<bf16>, %s0: i64, %s1: i64, %s2: i64, %s3: i64)
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 64, warps 8>, tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %ring = tile.alloc_shared : !tile.shared<128 x 64 x bf16>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %stride1 = arith.index_cast %s1 : i64 to index
  %program = tile.program : index
  // expected-error @+1 {{expected an offset of coordinates times the tensor's strides}}
  %view = tile.view %p[%program] sizes(%c1, %c1) strides(%stride1, %c1) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit 16>
  tile.roles producer {
    tile.fill %view[%c0, %c0] bounds [true, false] into %ring[%c0] : !tile.view<2 x bf16, unit 16>, !tile.shared<128 x 64 x bf16>
  } consumer {
  }
  return
}

// -----

func.func @too_many_columns()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 64, warps 8>, tile.target = #tile.gpu<"sm_90a", sm 90>} {
  %ring = tile.alloc_shared : !tile.shared<16 x 264 x bf16>
  %c0 = arith.constant 0 : index
  tile.roles producer {
  } consumer {
    %z = arith.constant dense<0.0> : tensor<128x264xf32>
    %m = arith.constant dense<1.0> : tensor<128x16xf32>
    %k = tile.take %ring[%c0] : !tile.shared<16 x 264 x bf16> -> !tile.shared<16 x 264 x bf16>
    %w = arith.truncf %m : tensor<128x16xf32> to tensor<128x16xbf16>
    // expected-error @+1 {{expected 64 rows for each of 2 warpgroups and at most 256 columns, a multiple of 8, got 'tensor<128x264xf32>'}}
    %o = tile.dot %w, %k, %z : tensor<128x16xbf16>, !tile.shared<16 x 264 x bf16> -> tensor<128x264xf32>
  }
  return
}

// -----

// expected-error @+1 {{expected 1 program per SM, whose registers its roles share out, got 2}}
func.func @two_per_sm()
    attributes {tile.kernel, tile.schedule = #tile.gpu_schedule<128 x 64, warps 8 per_sm 2>, tile.target = #tile.gpu<"sm_90a", sm 90>} {
  tile.roles producer {
  } consumer {
  }
  return
}
