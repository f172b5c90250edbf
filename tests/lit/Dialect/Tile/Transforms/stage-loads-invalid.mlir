// Copies are started in another iteration than the one that reads them: what cannot be is refused.
// RUN: tilewright-opt "%s" -tile-stage-loads -split-input-file -verify-diagnostics

// expected-error @+1 {{'func.func' op expected a body}}
func.func private @no_body() attributes {tile.kernel}

// -----

// The index is carried from iteration to iteration.
func.func @carried_index(%v: !tile.view<2 x bf16, unit 16>, %q: tensor<16x16xbf16>, %acc: tensor<16x16xf32>, %n: index)
    attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %r = scf.for %i = %c0 to %n step %c1 iter_args(%row = %c0) -> index {
    // expected-error @+1 {{'tile.load' op expected its indices to be computed from the loop's number, without side effects}}
    %k = tile.load %v[%row, %c0] bounds [true, false] : !tile.view<2 x bf16, unit 16> -> tensor<16x16xbf16>
    %s = tile.dot %q, %k, %acc trans_b : tensor<16x16xbf16>, tensor<16x16xbf16> -> tensor<16x16xf32>
    %next = arith.addi %row, %c1 : index
    scf.yield %next : index
  }
  return
}

// -----

func.func @read_index(%v: !tile.view<2 x bf16, unit 16>, %rows: !tile.view<1 x i64>, %q: tensor<16x16xbf16>,
                      %acc: tensor<16x16xf32>, %n: index) attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    %read = tile.load_scalar %rows[%i] : !tile.view<1 x i64> -> i64
    %row = arith.index_cast %read : i64 to index
    // expected-error @+1 {{'tile.load' op expected its indices to be computed from the loop's number, without side effects}}
    %k = tile.load %v[%row, %c0] bounds [true, false] : !tile.view<2 x bf16, unit 16> -> tensor<16x16xbf16>
    %s = tile.dot %q, %k, %acc trans_b : tensor<16x16xbf16>, tensor<16x16xbf16> -> tensor<16x16xf32>
  }
  return
}

// -----

func.func @view_inside(%p: !tile.ptr<bf16>, %q: tensor<16x16xbf16>, %acc: tensor<16x16xf32>, %n: index)
    attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    %v = tile.view %p[%i] sizes(%n, %n) strides(%n, %c1) : !tile.ptr<bf16> -> !tile.view<2 x bf16, unit 16>
    // expected-error @+1 {{'tile.load' op expected the view of a product's operand to be made outside the loop}}
    %k = tile.load %v[%i, %c0] bounds [true, false] : !tile.view<2 x bf16, unit 16> -> tensor<16x16xbf16>
    %s = tile.dot %q, %k, %acc trans_b : tensor<16x16xbf16>, tensor<16x16xbf16> -> tensor<16x16xf32>
  }
  return
}

// -----

func.func @reader_elsewhere(%v: !tile.view<2 x bf16, unit 16>, %q: tensor<16x16xbf16>, %acc: tensor<16x16xf32>,
                            %n: index, %c: i1) attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    // expected-error @+1 {{'tile.load' op expected the products that read it in the same block}}
    %k = tile.load %v[%i, %c0] bounds [true, false] : !tile.view<2 x bf16, unit 16> -> tensor<16x16xbf16>
    scf.if %c {
      %s = tile.dot %q, %k, %acc trans_b : tensor<16x16xbf16>, tensor<16x16xbf16> -> tensor<16x16xf32>
    }
  }
  return
}

// -----

// Rows are cleared once the copy has arrived, right before its first reader: that one must be in the load's own block.
func.func @chosen_rows_ahead_of_the_loop(%v: !tile.view<2 x bf16, unit 16>, %w: !tile.view<1 x i8, unit>,
                                         %acc: tensor<16x16xf32>, %n: index, %holes: i1) attributes {tile.kernel} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  // expected-error @+1 {{'tile.load' op expected a load whose rows are chosen to stand in a loop, beside its readers}}
  %q = tile.load %v[%c0, %c0] bounds [true, false] where %w when %holes : !tile.view<1 x i8, unit> : !tile.view<2 x bf16, unit 16> -> tensor<16x16xbf16>
  scf.for %i = %c0 to %n step %c1 {
    %k = tile.load %v[%i, %c0] bounds [true, false] : !tile.view<2 x bf16, unit 16> -> tensor<16x16xbf16>
    %s = tile.dot %q, %k, %acc trans_b : tensor<16x16xbf16>, tensor<16x16xbf16> -> tensor<16x16xf32>
  }
  return
}
