// Where a mask of bytes chooses rows, where its elements begin and end, and random bits.
// RUN: tilewright-opt "%s" -convert-tile-to-vector -canonicalize -cse -split-input-file | FileCheck "%s"

// A row inside the view is read if its byte, at the same row index, is not 0; the byte of a row outside is not read. `when`
// is not asked: a row costs far more than its byte.
// CHECK-LABEL: func.func @chosen_rows(
// CHECK-DAG: %[[FALSE:.*]] = arith.constant false
// CHECK-DAG: %[[NONE:.*]] = arith.constant 0 : i8
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0> : vector<4xi16>
// CHECK: scf.for %[[I:.*]] = %c0 to %c2 step %c1 {
// CHECK: %[[ROW:.*]] = arith.addi %[[FIRST:.*]], %[[I]] : index
// CHECK: %[[INSIDE:.*]] = arith.cmpi ult, %[[ROW]], %[[ROWS:.*]] : index
// CHECK: %[[FROM:.*]] = llvm.getelementptr %{{.*}} -> !llvm.ptr, i16
// CHECK: %[[STEP:.*]] = arith.muli %[[ROW]], %[[STRIDE:.*]] : index
// CHECK: %[[PLACE:.*]] = arith.addi %[[STEP]], %c1 : index
// CHECK: %[[CHOSEN:.*]] = scf.if %[[INSIDE]] -> (i1) {
// CHECK-NEXT: %[[PLACE64:.*]] = arith.index_cast %[[PLACE]] : index to i64
// CHECK-NEXT: %[[AT:.*]] = llvm.getelementptr %{{.*}}[%[[PLACE64]]] {{.*}}, i8
// CHECK-NEXT: %[[BYTE:.*]] = llvm.load %[[AT]] {alignment = 1 : i64} : !llvm.ptr -> i8
// CHECK-NEXT: %[[GIVEN:.*]] = arith.cmpi ne, %[[BYTE]], %[[NONE]] : i8
// CHECK-NEXT: scf.yield %[[GIVEN]]
// CHECK-NEXT: } else {
// CHECK-NEXT: scf.yield %[[FALSE]]
// CHECK-NEXT: }
// CHECK-NEXT: scf.if %[[CHOSEN]] -> (vector<4xi16>) {
// CHECK-NEXT: llvm.load %[[FROM]]
// CHECK: } else {
// CHECK-NEXT: scf.yield %[[ZERO]]
func.func @chosen_rows(%p: !tile.ptr<bf16>, %q: !tile.ptr<bf16>, %m: !tile.ptr<i8>, %r: i64, %n: i64, %ms: i64,
                       %holes: i64) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %four = arith.constant 4 : index
  %none = arith.constant 0 : i64
  %when = arith.cmpi ne, %holes, %none : i64
  %row = arith.index_cast %r : i64 to index
  %rows = arith.index_cast %n : i64 to index
  %step = arith.index_cast %ms : i64 to index
  %v = tile.view %p[%zero] sizes(%rows, %four) strides(%four, %one) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit>
  %w = tile.view %q[%zero] sizes(%four, %four) strides(%four, %one) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit>
  %c = tile.view %m[%one] sizes(%rows) strides(%step) : !tile.ptr<i8> -> !tile.view<1 x i8>
  tile.fused [2, 4] {
    %t = tile.load %v[%row, %zero] bounds [true, false] where %c when %when : !tile.view<1 x i8>
        : !tile.view<2 x bf16, unit> -> tensor<2x4xbf16>
    tile.store %t, %w[%zero, %zero] bounds [false, false] : tensor<2x4xbf16>, !tile.view<2 x bf16, unit>
    tile.yield
  }
  return
}

// -----

// Rows that are all inside: the byte is read at once.
// CHECK-LABEL: func.func @chosen_rows_inside(
// CHECK: scf.for
// CHECK-NOT: arith.cmpi ult
// CHECK: %[[BYTE:.*]] = llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr -> i8
// CHECK: %[[GIVEN:.*]] = arith.cmpi ne, %[[BYTE]]
// CHECK: scf.if %[[GIVEN]] -> (vector<4xf32>)
func.func @chosen_rows_inside(%p: !tile.ptr<f32>, %m: !tile.ptr<i8>)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %four = arith.constant 4 : index
  %when = arith.constant true
  %v = tile.view %p[%zero] sizes(%four, %four) strides(%four, %one) : !tile.ptr<f32> -> !tile.view<2 x f32, unit>
  %c = tile.view %m[%zero] sizes(%four) strides(%one) : !tile.ptr<i8> -> !tile.view<1 x i8, unit>
  tile.fused [2, 4] {
    %t = tile.load %v[%zero, %zero] bounds [false, false] where %c when %when : !tile.view<1 x i8, unit>
        : !tile.view<2 x f32, unit> -> tensor<2x4xf32>
    tile.store %t, %v[%zero, %zero] bounds [false, false] : tensor<2x4xf32>, !tile.view<2 x f32, unit>
    tile.yield
  }
  return
}

// -----

// One pass over the bytes, which carries the first and the end of those that are not 0, and of the holes between them: one
// is found where a byte that is not 0 does not follow the one that was the last.
// CHECK-LABEL: func.func @hull(
// CHECK: %[[HULL:.*]]:4 = scf.for %[[I:.*]] = %c0 to %[[SIZE:.*]] step %c1 iter_args(%[[FIRST:.*]] = %c0, %[[END:.*]] = %c0, %[[HOLES:.*]] = %c0, %[[HOLESEND:.*]] = %c0)
// CHECK: arith.muli %[[I]], %[[STRIDE:.*]] : index
// CHECK: %[[BYTE:.*]] = llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr -> i8
// CHECK: %[[GIVEN:.*]] = arith.cmpi ne, %[[BYTE]]
// CHECK: %[[NONE:.*]] = arith.cmpi eq, %[[END]], %c0 : index
// CHECK: %[[ISFIRST:.*]] = arith.andi %[[GIVEN]], %[[NONE]]
// CHECK: %[[A:.*]] = arith.select %[[ISFIRST]], %[[I]], %[[FIRST]] : index
// CHECK: %[[APART:.*]] = arith.cmpi ne, %[[END]], %[[I]] : index
// CHECK: %[[KNOWN:.*]] = arith.cmpi ne, %[[END]], %c0 : index
// CHECK: %[[BOTH:.*]] = arith.andi %[[APART]], %[[KNOWN]] : i1
// CHECK: %[[CLOSES:.*]] = arith.andi %[[GIVEN]], %[[BOTH]] : i1
// CHECK: %[[NOHOLE:.*]] = arith.cmpi eq, %[[HOLESEND]], %c0 : index
// CHECK: %[[OPENS:.*]] = arith.andi %[[CLOSES]], %[[NOHOLE]] : i1
// CHECK: %[[C:.*]] = arith.select %[[OPENS]], %[[END]], %[[HOLES]] : index
// CHECK: %[[D:.*]] = arith.select %[[CLOSES]], %[[I]], %[[HOLESEND]] : index
// CHECK: %[[NEXT:.*]] = arith.addi %[[I]], %c1 : index
// CHECK: %[[B:.*]] = arith.select %[[GIVEN]], %[[NEXT]], %[[END]] : index
// CHECK: scf.yield %[[A]], %[[B]], %[[C]], %[[D]]
// CHECK: arith.index_cast %[[HULL]]#3
func.func @hull(%m: !tile.ptr<i8>, %q: !tile.ptr<i32>, %n: i64, %ms: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %four = arith.constant 4 : index
  %size = arith.index_cast %n : i64 to index
  %step = arith.index_cast %ms : i64 to index
  %c = tile.view %m[%one] sizes(%size) strides(%step) : !tile.ptr<i8> -> !tile.view<1 x i8>
  %first, %end, %holes:2 = tile.hull %c : !tile.view<1 x i8>
  %w = tile.view %q[%zero] sizes(%four) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %h = arith.index_cast %holes#1 : index to i32
  tile.fused [4] {
    %t = tile.splat %h : tensor<4xi32>
    tile.store %t, %w[%first] bounds [false] : tensor<4xi32>, !tile.view<1 x i32, unit>
    tile.store %t, %w[%end] bounds [false] : tensor<4xi32>, !tile.view<1 x i32, unit>
    tile.yield
  }
  return
}

// -----

// One pass over the elements that the view has of the stretch.
// CHECK-LABEL: func.func @all_set(
// CHECK: %[[LAST:.*]] = arith.addi %[[FIRST:.*]], %c7 : index
// CHECK: %[[BEGIN:.*]] = arith.maxsi %[[FIRST]], %c0 : index
// CHECK: %[[END:.*]] = arith.minsi %[[LAST]], %[[SIZE:.*]] : index
// CHECK: scf.for %[[I:.*]] = %[[BEGIN]] to %[[END]] step %c1 iter_args(%[[ALL:.*]] = %true) -> (i1) {
// CHECK: %[[BYTE:.*]] = llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr -> i8
// CHECK: %[[SET:.*]] = arith.cmpi ne, %[[BYTE]]
// CHECK: %[[NEXT:.*]] = arith.andi %[[ALL]], %[[SET]] : i1
// CHECK: scf.yield %[[NEXT]]
func.func @all_set(%m: !tile.ptr<i8>, %q: !tile.ptr<i32>, %n: i64, %f: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %four = arith.constant 4 : index
  %size = arith.index_cast %n : i64 to index
  %first = arith.index_cast %f : i64 to index
  %c = tile.view %m[%zero] sizes(%size) strides(%one) : !tile.ptr<i8> -> !tile.view<1 x i8, unit>
  %all = tile.all_set %c[%first] count 7 : !tile.view<1 x i8, unit>
  %w = tile.view %q[%zero] sizes(%four) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %a = arith.extui %all : i1 to i32
  tile.fused [4] {
    %t = tile.splat %a : tensor<4xi32>
    tile.store %t, %w[%zero] bounds [false] : tensor<4xi32>, !tile.view<1 x i32, unit>
    tile.yield
  }
  return
}

// -----

// Seven rounds of two multiplications a vector; of the four words, the one for the element's halves of its row and column;
// of that, the lower 16 bits moved up for columns in the second part.
// CHECK-LABEL: func.func @random_bits(
// CHECK-DAG: %[[LANES:.*]] = arith.constant dense<[0, 1, 2, 3]> : vector<4xi32>
// CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<8> : vector<4xi32>
// CHECK: scf.for %[[I:.*]] = %c0 to %c2 step %c1 {
// CHECK: %[[I32:.*]] = arith.index_cast %[[I]] : index to i32
// CHECK: %[[DOWN:.*]] = vector.broadcast %[[I32]]
// CHECK: %[[ROW:.*]] = arith.addi %{{.*}}, %[[DOWN]] : vector<4xi32>
// CHECK: %[[COL:.*]] = arith.addi %{{.*}}, %[[LANES]] : vector<4xi32>
// CHECK-COUNT-14: arith.mului_extended
// CHECK-NOT: arith.mului_extended
// CHECK: %[[ROW8:.*]] = arith.andi %[[ROW]], %[[EIGHT]]
// CHECK: %[[ROWHALF:.*]] = arith.cmpi ne, %[[ROW8]]
// CHECK: %[[COL8:.*]] = arith.andi %[[COL]], %[[EIGHT]]
// CHECK: %[[COLHALF:.*]] = arith.cmpi ne, %[[COL8]]
// CHECK: %[[UPPER:.*]] = arith.select %[[COLHALF]]
// CHECK: %[[LOWER:.*]] = arith.select %[[COLHALF]]
// CHECK: %[[WORD:.*]] = arith.select %[[ROWHALF]], %[[LOWER]], %[[UPPER]]
// CHECK: %[[COL16:.*]] = arith.andi %[[COL]], %{{.*}}
// CHECK: %[[PART:.*]] = arith.cmpi ne, %[[COL16]]
// CHECK: %[[LOW:.*]] = arith.shli %[[WORD]]
// CHECK: arith.select %[[PART]], %[[LOW]], %[[WORD]]
func.func @random_bits(%q: !tile.ptr<i32>, %n: i64) attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %four = arith.constant 4 : index
  %w = tile.view %q[%zero] sizes(%four, %four) strides(%four, %one) : !tile.ptr<i32> -> !tile.view<2 x i32, unit>
  %a = arith.trunci %n : i64 to i32
  tile.fused [2, 4] {
    %t = tile.random_bits [%a, %a] counter(%a, %a) key(%a, %a) : tensor<2x4xi32>
    tile.store %t, %w[%zero, %zero] bounds [false, false] : tensor<2x4xi32>, !tile.view<2 x i32, unit>
    tile.yield
  }
  return
}

// -----

// Transposed, rows of the tile are columns of the scores.
// CHECK-LABEL: func.func @random_bits_transposed(
// CHECK-DAG: %[[LANES:.*]] = arith.constant dense<[0, 1, 2, 3]> : vector<4xi32>
// CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<8> : vector<4xi32>
// CHECK: %[[I32:.*]] = arith.index_cast %{{.*}} : index to i32
// CHECK: %[[DOWN:.*]] = vector.broadcast %[[I32]]
// CHECK: %[[COL:.*]] = arith.addi %{{.*}}, %[[DOWN]] : vector<4xi32>
// CHECK: %[[ROW:.*]] = arith.addi %{{.*}}, %[[LANES]] : vector<4xi32>
// CHECK-COUNT-14: arith.mului_extended
// CHECK: %[[ROW8:.*]] = arith.andi %[[ROW]], %[[EIGHT]]
// CHECK: %[[ROWHALF:.*]] = arith.cmpi ne, %[[ROW8]]
// CHECK: %[[COL8:.*]] = arith.andi %[[COL]], %[[EIGHT]]
// CHECK: %[[COLHALF:.*]] = arith.cmpi ne, %[[COL8]]
// CHECK-COUNT-2: arith.select %[[COLHALF]]
// CHECK: arith.select %[[ROWHALF]]
func.func @random_bits_transposed(%q: !tile.ptr<i32>, %n: i64, %r: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %four = arith.constant 4 : index
  %w = tile.view %q[%zero] sizes(%four, %four) strides(%four, %one) : !tile.ptr<i32> -> !tile.view<2 x i32, unit>
  %a = arith.trunci %n : i64 to i32
  %row = arith.trunci %r : i64 to i32
  tile.fused [2, 4] {
    %t = tile.random_bits [%row, %a] counter(%a, %a) key(%a, %a) transposed : tensor<2x4xi32>
    tile.store %t, %w[%zero, %zero] bounds [false, false] : tensor<2x4xi32>, !tile.view<2 x i32, unit>
    tile.yield
  }
  return
}

// -----

// A tile may begin before the first element of a rank-1 view: what lies there is 0, and is not read.
// CHECK-LABEL: func.func @before_the_first(
// CHECK: %[[LEFT:.*]] = arith.subi %[[SIZE:.*]], %[[COL:.*]] : index
// CHECK: %[[POSITIVE:.*]] = arith.maxsi %[[LEFT]], %c0
// CHECK: %[[COUNT:.*]] = arith.minsi %[[POSITIVE]], %c4
// CHECK: %[[BEFORE:.*]] = arith.subi %c0, %[[COL]] : index
// CHECK: %[[FIRST:.*]] = arith.maxsi %[[BEFORE]], %c0
// CHECK: scf.for %{{.*}} = %[[FIRST]] to %[[COUNT]] step %c1 {
func.func @before_the_first(%p: !tile.ptr<i32>, %q: !tile.ptr<i32>, %c: i64, %s: i64)
    attributes {tile.kernel, tile.target = #tile.cpu<"x86-64-v2">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %four = arith.constant 4 : index
  %col = arith.index_cast %c : i64 to index
  %size = arith.index_cast %s : i64 to index
  %v = tile.view %p[%zero] sizes(%size) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  %w = tile.view %q[%zero] sizes(%four) strides(%one) : !tile.ptr<i32> -> !tile.view<1 x i32, unit>
  tile.fused [4] {
    %t = tile.load %v[%col] bounds [true] : !tile.view<1 x i32, unit> -> tensor<4xi32>
    tile.store %t, %w[%zero] bounds [false] : tensor<4xi32>, !tile.view<1 x i32, unit>
    tile.yield
  }
  return
}
