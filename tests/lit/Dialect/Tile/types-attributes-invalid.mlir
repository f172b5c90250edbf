// What the types and attributes of the tile dialect refuse.
// RUN: tilewright-opt "%s" -split-input-file -verify-diagnostics

// expected-error @+1 {{expected a view of rank 1 or 2, got 3}}
func.func @view_rank(%v: !tile.view<3 x f32>)

// -----

// expected-error @+1 {{expected 'unit'}}
func.func @view_unit(%v: !tile.view<2 x f32, dense>)

// -----

// expected-error @+1 {{expected block m to be a multiple of 16 within 16..512, got 0}}
func.func @block_m_zero() attributes {tile.schedule = #tile.schedule<kq, 0 x 64, micro 8 x 2>} { return }

// -----

// expected-error @+1 {{expected block m to be a multiple of 16 within 16..512, got 24}}
func.func @block_m_multiple() attributes {tile.schedule = #tile.schedule<kq, 24 x 64, micro 8 x 2>} { return }

// -----

// expected-error @+1 {{expected block n to be a multiple of 16 within 16..512, got 528}}
func.func @block_n_large() attributes {tile.schedule = #tile.schedule<kq, 64 x 528, micro 8 x 2>} { return }

// -----

// expected-error @+1 {{expected micro rows within 1..16, got 0}}
func.func @micro_rows_zero() attributes {tile.schedule = #tile.schedule<kq, 64 x 64, micro 0 x 2>} { return }

// -----

// expected-error @+1 {{expected micro rows within 1..16, got 17}}
func.func @micro_rows_large() attributes {tile.schedule = #tile.schedule<kq, 64 x 64, micro 17 x 2>} { return }

// -----

// expected-error @+1 {{expected micro vectors within 1..8, got 0}}
func.func @micro_vectors_zero() attributes {tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 0>} { return }

// -----

// expected-error @+1 {{expected micro vectors within 1..8, got 9}}
func.func @micro_vectors_large() attributes {tile.schedule = #tile.schedule<kq, 64 x 64, micro 8 x 9>} { return }

// -----

// expected-error @+2 {{to be one of: qk, kq}}
// expected-error @+1 {{failed to parse Tile_ScheduleAttr parameter 'orientation'}}
func.func @orientation() attributes {tile.schedule = #tile.schedule<kk, 64 x 64, micro 8 x 2>} { return }

// -----

// expected-error @+1 {{expected x86-64-v2, x86-64-v3 or x86-64-v4, got "x86-64-v1"}}
func.func @level() attributes {tile.target = #tile.cpu<"x86-64-v1">} { return }

// -----

// expected-error @+1 {{expected sm_80 or sm_90a, got "sm_75"}}
func.func @gpu_family() attributes {tile.target = #tile.gpu<"sm_75", sm 80>} { return }

// -----

// expected-error @+1 {{expected SM 90 or 65535 (PTX only) with the family sm_90a, whose code no other GPU runs, got 100}}
func.func @gpu_family_sm() attributes {tile.target = #tile.gpu<"sm_90a", sm 100>} { return }

// -----

// expected-error @+1 {{expected an SM among 80, 86, 87, 89, 90, 100, 120, or 65535 (PTX only), got 75}}
func.func @gpu_sm_old() attributes {tile.target = #tile.gpu<"sm_80", sm 75>} { return }

// -----

// expected-error @+1 {{expected an SM among 80, 86, 87, 89, 90, 100, 120, or 65535 (PTX only), got 95}}
func.func @gpu_sm_unknown() attributes {tile.target = #tile.gpu<"sm_80", sm 95>} { return }

// -----

// expected-error @+1 {{expected 1 to 16 warps, got 0}}
func.func @gpu_warps_zero() attributes {tile.schedule = #tile.gpu_schedule<64 x 64, warps 0>} { return }

// -----

// expected-error @+1 {{expected block m to be a multiple of 16 rows a warp (128) up to 512, got 64}}
func.func @gpu_warps_do_not_divide() attributes {tile.schedule = #tile.gpu_schedule<64 x 64, warps 8>} { return }

// -----

// expected-error @+1 {{expected block n to be a multiple of 16 within 16..512, got 40}}
func.func @gpu_block_n() attributes {tile.schedule = #tile.gpu_schedule<64 x 40, warps 4>} { return }

// -----

// expected-error @+1 {{expected 1 to 65536 rows and 1 to 4096 columns, got 0 x 16}}
func.func @shared_empty(%b: !tile.shared<0 x 16 x bf16>)

// -----

// expected-error @+1 {{expected 1 to 65536 rows and 1 to 4096 columns, got 65537 x 16}}
func.func @shared_large(%b: !tile.shared<65537 x 16 x bf16>)

// -----

// expected-error @+1 {{expected integers or floats, got 'index'}}
func.func @shared_index(%b: !tile.shared<16 x 16 x index>)

// -----

// expected-error @+1 {{expected 1 to 4 stages, got 5}}
func.func @gpu_stages() attributes {tile.schedule = #tile.gpu_schedule<64 x 64, warps 4, stages 5>} { return }

// -----

// expected-error @+1 {{expected 1 to 4 stages, got 0}}
func.func private @ring_of_none(!tile.shared<16 x 16 x bf16, stages 0>)

// -----

// expected-error @+1 {{expected 1 body, or 2 with more than one stage, got 3 with 2}}
func.func @gpu_bodies() attributes {tile.schedule = #tile.gpu_schedule<64 x 64, warps 4, stages 2 bodies 3>} { return }

// -----

// expected-error @+1 {{expected 1 or more programs per SM, of at most 64 warps together, got 0 of 4}}
func.func @gpu_per_no_sm() attributes {tile.schedule = #tile.gpu_schedule<64 x 64, warps 4 per_sm 0>} { return }

// -----

// expected-error @+1 {{expected 1 or more programs per SM, of at most 64 warps together, got 9 of 8}}
func.func @gpu_per_sm() attributes {tile.schedule = #tile.gpu_schedule<128 x 64, warps 8 per_sm 9>} { return }

// -----

// expected-error @+1 {{expected 1 body, or 2 with more than one stage, got 2 with 1}}
func.func @gpu_bodies_stages() attributes {tile.schedule = #tile.gpu_schedule<64 x 64, warps 4, stages 1 bodies 2>} { return }

// -----

// expected-error @+1 {{expected 1 or 2 buffers for the queries of persistent blocks, got 3}}
func.func @gpu_persistent() attributes {tile.schedule = #tile.gpu_schedule<128 x 64, warps 8, stages 2 persistent 3>} { return }
