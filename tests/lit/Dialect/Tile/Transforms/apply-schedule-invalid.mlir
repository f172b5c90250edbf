// RUN: tilewright-opt "%s" -tile-apply-schedule -split-input-file -verify-diagnostics

// expected-error @+1 {{'func.func' op expected the attribute tile.schedule (#tile.schedule or #tile.gpu_schedule)}}
func.func @no_schedule(%n: index) attributes {tile.kernel} {
  %m, %b = tile.coords sizes(%n) : index, index
  return
}

// -----

// An attribute of another kind under that name is none.
// expected-error @+1 {{'func.func' op expected the attribute tile.schedule (#tile.schedule or #tile.gpu_schedule)}}
func.func @not_a_schedule() attributes {tile.kernel, tile.schedule = "kq:64x64:8x2"} {
  return
}
