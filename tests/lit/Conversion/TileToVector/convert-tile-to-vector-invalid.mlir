// What convert-tile-to-vector refuses, and which pass it asks for.
// RUN: tilewright-opt "%s" -convert-tile-to-vector -split-input-file -verify-diagnostics

// expected-error @+1 {{'func.func' op expected the attribute tile.target (#tile.cpu)}}
func.func @no_target() attributes {tile.kernel} {
  return
}

// -----

// expected-error @+1 {{'func.func' op expected arguments of !tile.ptr, i64 or f32, got 'f64'}}
func.func @argument_type(%x: f64) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  return
}

// -----

// expected-error @+1 {{'func.func' op expected a tile program of one block}}
func.func @blocks(%n: i64) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  cf.br ^bb1
^bb1:
  return
}

// -----

func.func @coords() attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  // expected-error @+1 {{'tile.coords' op not expected after the schedule: run tile-apply-schedule first}}
  %b = tile.coords sizes() : index
  return
}

// -----

func.func @outside_a_group(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  // expected-error @+1 {{'tile.splat' op not expected outside tile.fused: run tile-fuse-rowwise first}}
  %t = tile.splat %x : tensor<4xf32>
  return
}

// -----

func.func @load_outside_a_group(%p: !tile.ptr<f32>) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %v = tile.view %p[%zero] sizes(%zero) strides(%zero) : !tile.ptr<f32> -> !tile.view<1 x f32>
  // expected-error @+1 {{'tile.load' op not expected outside tile.fused: run tile-fuse-rowwise first}}
  %t = tile.load %v[%zero] bounds [false] : !tile.view<1 x f32> -> tensor<4xf32>
  return
}

// -----

func.func @carried_view(%p: !tile.ptr<f32>, %n: i64) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %v = tile.view %p[%zero] sizes(%one) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %r = scf.for %i = %zero to %one step %one iter_args(%w = %v) -> (!tile.view<1 x f32, unit>) {
    // expected-error @+1 {{'tile.load_scalar' op expected a view made by tile.view, not one carried by a loop}}
    %x = tile.load_scalar %w[%zero] : !tile.view<1 x f32, unit> -> f32
    scf.yield %v : !tile.view<1 x f32, unit>
  }
  return
}

// -----

func.func @dot_without_register_tile(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %a = tile.fused [4, 4] -> tensor<4x4xf32> {
    %t = tile.splat %x : tensor<4x4xf32>
    tile.yield %t : tensor<4x4xf32>
  }
  %c = arith.constant dense<0.0> : tensor<4x4xf32>
  // expected-error @+1 {{'tile.dot' op expected a register tile (micro): run tile-apply-schedule first}}
  %d = tile.dot %a, %a, %c : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  return
}

// -----

func.func @dot_of_halves(%p: !tile.ptr<f16>) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %v = tile.view %p[%zero] sizes(%one, %one) strides(%one, %one) : !tile.ptr<f16> -> !tile.view<2 x f16, unit>
  %a = tile.fused [4, 4] -> tensor<4x4xf16> {
    %t = tile.load %v[%zero, %zero] bounds [false, false] : !tile.view<2 x f16, unit> -> tensor<4x4xf16>
    tile.yield %t : tensor<4x4xf16>
  }
  %c = arith.constant dense<0.0> : tensor<4x4xf32>
  // expected-error @+1 {{'tile.dot' op expected float32 operands on a CPU, got 'tensor<4x4xf16>'}}
  %d = tile.dot %a, %a, %c micro [1, 1] : tensor<4x4xf16>, tensor<4x4xf16> -> tensor<4x4xf32>
  return
}

// -----

func.func @if_with_a_result(%p: !tile.ptr<f32>, %n: i64) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : i64
  %c = arith.cmpi eq, %n, %zero : i64
  // expected-error @+1 {{'scf.if' op expected no results and no else block}}
  %x = scf.if %c -> i64 {
    scf.yield %n : i64
  } else {
    scf.yield %zero : i64
  }
  return
}

// -----

func.func @constant_table() attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  // expected-error @+1 {{'arith.constant' op expected a splat: tile programs have no other tile constants}}
  %t = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  return
}

// -----

func.func @constant_table_in_a_group() attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %r = tile.fused [2] -> tensor<2xf32> {
    // expected-error @+1 {{'arith.constant' op expected a splat: tile programs have no other tile constants}}
    %t = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
    tile.yield %t : tensor<2xf32>
  }
  return
}

// -----

// A group may broadcast what an earlier group computed, not what it computes itself.
func.func @broadcast_of_a_member(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %a = tile.fused [4] -> tensor<4xf32> {
    %s = tile.splat %x : tensor<4xf32>
    tile.yield %s : tensor<4xf32>
  }
  %r = tile.fused [4, 4] -> tensor<4x4xf32> {
    %s = tile.splat %x : tensor<4xf32>
    // expected-error @+1 {{'tile.broadcast' op expected a tile that was computed by an earlier group}}
    %b = tile.broadcast %s axis 0 : tensor<4xf32> -> tensor<4x4xf32>
    tile.yield %b : tensor<4x4xf32>
  }
  return
}

// -----

// A constant outside belongs into the group.
func.func @constant_outside_a_group() attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  // expected-error @+1 {{tile has no buffer: run tile-fuse-rowwise first}}
  %c = arith.constant dense<1.0> : tensor<4xf32>
  %r = tile.fused [4] -> tensor<4xf32> {
    %e = tile.exp2 %c : tensor<4xf32>
    tile.yield %e : tensor<4xf32>
  }
  return
}
