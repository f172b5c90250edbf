// The CPU kernel ABI: (slots, program, scratch). Arguments are read from 8-byte slots, in order.
// RUN: tilewright-opt "%s" -convert-tile-to-vector -cse -split-input-file | FileCheck "%s"

// A pointer, an integer and a float take a slot each; the float is the low half of its slot. The three arguments do not
// alias, and scratch is aligned to 64 bytes.
// CHECK-LABEL: func.func @arguments(
// CHECK-SAME: %[[SLOTS:[a-z0-9]+]]: !llvm.ptr {llvm.noalias}, %[[PROGRAM:[a-z0-9]+]]: i64,
// CHECK-SAME: %[[SCRATCH:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64 : i64, llvm.noalias})
// CHECK-SAME: attributes {tile.kernel, tile.schedule = #tile.schedule<kq, 16 x 16, micro 1 x 1>,
// CHECK-SAME: tile.scratch_bytes = 64 : i64, tile.target = #tile.cpu<"x86-64-v2">}
// CHECK-NEXT: %[[P:.*]] = llvm.load %[[SLOTS]] {alignment = 8 : i64} : !llvm.ptr -> !llvm.ptr
// CHECK-NEXT: %[[SLOT1:.*]] = llvm.getelementptr %[[SLOTS]][1] : (!llvm.ptr) -> !llvm.ptr, i64
// CHECK-NEXT: %[[N:.*]] = llvm.load %[[SLOT1]] {alignment = 8 : i64} : !llvm.ptr -> i64
// CHECK-NEXT: %[[SLOT2:.*]] = llvm.getelementptr %[[SLOTS]][2] : (!llvm.ptr) -> !llvm.ptr, i64
// CHECK-NEXT: %[[X:.*]] = llvm.load %[[SLOT2]] {alignment = 8 : i64} : !llvm.ptr -> f32
// CHECK-NEXT: %[[SLOT3:.*]] = llvm.getelementptr %[[SLOTS]][3] : (!llvm.ptr) -> !llvm.ptr, i64
// CHECK-NEXT: %[[Q:.*]] = llvm.load %[[SLOT3]] {alignment = 8 : i64} : !llvm.ptr -> !llvm.ptr
// CHECK: %[[STRIDE:.*]] = arith.index_cast %[[N]] : i64 to index
// tile.program is the second argument.
// CHECK: %[[NUMBER:.*]] = arith.index_cast %[[PROGRAM]] : i64 to index
// CHECK: arith.muli %[[NUMBER]], %[[STRIDE]]
// CHECK: vector.broadcast %[[X]] : f32 to vector<4xf32>
// CHECK: llvm.getelementptr %[[SCRATCH]][
// CHECK: llvm.getelementptr %[[Q]][
// CHECK: llvm.getelementptr %[[P]][
// CHECK: return
func.func @arguments(%p: !tile.ptr<f32>, %n: i64, %x: f32, %q: !tile.ptr<f32>)
    attributes {tile.kernel, tile.schedule = #tile.schedule<kq, 16 x 16, micro 1 x 1>,
                tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %stride = arith.index_cast %n : i64 to index
  %program = tile.program : index
  %offset = arith.muli %program, %stride : index
  %v = tile.view %q[%offset] sizes(%stride) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %w = tile.view %p[%offset] sizes(%stride) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %a = tile.fused [4] -> tensor<4xf32> {
    %s = tile.splat %x : tensor<4xf32>
    tile.yield %s : tensor<4xf32>
  }
  tile.fused [4] {
    tile.store %a, %v[%zero] bounds [false] : tensor<4xf32>, !tile.view<1 x f32, unit>
    tile.store %a, %w[%zero] bounds [false] : tensor<4xf32>, !tile.view<1 x f32, unit>
    tile.yield
  }
  return
}

// -----

// A program without tiles that live in memory asks for no scratch.
// CHECK-LABEL: func.func @no_scratch(
// CHECK-SAME: tile.scratch_bytes = 0 : i64
func.func @no_scratch(%n: i64) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v3">} {
  return
}

// -----

// Rows are whole native vectors, and every buffer starts at a multiple of 64 bytes: 3 x 5 floats are 3 x 16 x 4 = 192
// bytes with 16 lanes, 5 of i1 (as i8) 16 bytes, that is 64; 3 x 5 of bf16 are 3 x 16 x 2 = 96, that is 128.
// CHECK-LABEL: func.func @scratch_bytes(
// CHECK-SAME: tile.scratch_bytes = 384 : i64
func.func @scratch_bytes(%x: f32) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v4">} {
  %a = tile.fused [3, 5] -> tensor<3x5xf32> {
    %s = tile.splat %x : tensor<3x5xf32>
    tile.yield %s : tensor<3x5xf32>
  }
  %b = tile.fused [5] -> tensor<5xi1> {
    %s = tile.splat %x : tensor<5xf32>
    %c = arith.cmpf oeq, %s, %s : tensor<5xf32>
    tile.yield %c : tensor<5xi1>
  }
  %c = tile.fused [3, 5] -> tensor<3x5xbf16> {
    %h = tile.broadcast %b axis 0 : tensor<5xi1> -> tensor<3x5xi1>
    %z = arith.constant dense<0.0> : tensor<3x5xf32>
    %s = arith.select %h, %a, %z : tensor<3x5xi1>, tensor<3x5xf32>
    %t = arith.truncf %s : tensor<3x5xf32> to tensor<3x5xbf16>
    tile.yield %t : tensor<3x5xbf16>
  }
  return
}

// -----

// Conditions keep what is inside them; a function that is no kernel keeps everything.
// CHECK-LABEL: func.func @condition(
// CHECK: %[[IF:.*]] = arith.cmpi ne
// CHECK: scf.if %[[IF]] {
// CHECK: llvm.store
// CHECK-NEXT: {{^ *[}]$}}
func.func @condition(%p: !tile.ptr<f32>, %n: i64, %x: f32)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %wanted = arith.index_cast %n : i64 to index
  %c = arith.cmpi ne, %wanted, %zero : index
  scf.if %c {
    %v = tile.view %p[%zero] sizes(%wanted) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
    tile.fused [4] {
      %s = tile.splat %x : tensor<4xf32>
      tile.store %s, %v[%zero] bounds [false] : tensor<4xf32>, !tile.view<1 x f32, unit>
      tile.yield
    }
  }
  return
}

// CHECK-LABEL: func.func @not_a_kernel(
// CHECK-SAME: tensor<4xf32>
// CHECK: tile.exp2
func.func @not_a_kernel(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = tile.exp2 %x : tensor<4xf32>
  return %y : tensor<4xf32>
}
