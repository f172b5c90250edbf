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
