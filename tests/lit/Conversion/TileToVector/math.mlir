// exp2, log2 and the 16-bit formats: arithmetic on vectors of each level's width.
// RUN: sed -e "s/LEVEL/x86-64-v2/" "%s" | tilewright-opt -convert-tile-to-vector -canonicalize -cse | FileCheck "%s" --check-prefixes=CHECK,V2 -DW=4
// RUN: sed -e "s/LEVEL/x86-64-v3/" "%s" | tilewright-opt -convert-tile-to-vector -canonicalize -cse | FileCheck "%s" --check-prefixes=CHECK,F16C -DW=8
// RUN: sed -e "s/LEVEL/x86-64-v4/" "%s" | tilewright-opt -convert-tile-to-vector -canonicalize -cse | FileCheck "%s" --check-prefixes=CHECK,F16C -DW=16

// 2^x: clamp without touching NaN, split at the nearest integer, a polynomial of degree 6, the exponent by a shift.
// CHECK-LABEL: func.func @exp2(
// CHECK-DAG: %[[LOW:.*]] = arith.constant dense<-1.270000e+02> : vector<[[W]]xf32>
// CHECK-DAG: %[[HIGH:.*]] = arith.constant dense<1.280000e+02> : vector<[[W]]xf32>
// CHECK-DAG: %[[MAGIC:.*]] = arith.constant dense<0x4B400000> : vector<[[W]]xf32>
// CHECK-DAG: %[[ONE:.*]] = arith.constant dense<1.000000e+00> : vector<[[W]]xf32>
// CHECK-DAG: %[[BIAS:.*]] = arith.constant dense<1065353216> : vector<[[W]]xi32>
// CHECK-DAG: %[[SHIFT:.*]] = arith.constant dense<23> : vector<[[W]]xi32>
// CHECK: %[[X:.*]] = llvm.load {{.*}} -> vector<[[W]]xf32>
// CHECK: %[[BELOW:.*]] = arith.cmpf olt, %[[X]], %[[LOW]]
// CHECK: %[[X1:.*]] = arith.select %[[BELOW]], %[[LOW]], %[[X]]
// CHECK: %[[ABOVE:.*]] = arith.cmpf ogt, %[[X1]], %[[HIGH]]
// CHECK: %[[X2:.*]] = arith.select %[[ABOVE]], %[[HIGH]], %[[X1]]
// CHECK: %[[SHIFTED:.*]] = arith.addf %[[X2]], %[[MAGIC]]
// CHECK: %[[N:.*]] = arith.subf %[[SHIFTED]], %[[MAGIC]]
// CHECK: %[[F:.*]] = arith.subf %[[X2]], %[[N]]
// CHECK: llvm.intr.fmuladd(%{{.*}}, %[[F]], %{{.*}}) : (vector<[[W]]xf32>,
// CHECK-COUNT-4: llvm.intr.fmuladd
// CHECK: %[[P:.*]] = llvm.intr.fmuladd(%{{.*}}, %[[F]], %[[ONE]])
// CHECK: %[[RAW:.*]] = arith.bitcast %[[SHIFTED]] : vector<[[W]]xf32> to vector<[[W]]xi32>
// CHECK: %[[EXPONENT:.*]] = arith.shli %[[RAW]], %[[SHIFT]]
// CHECK: %[[BIASED:.*]] = arith.addi %[[EXPONENT]], %[[BIAS]]
// CHECK: %[[SCALE:.*]] = arith.bitcast %[[BIASED]]
// CHECK: arith.mulf %[[P]], %[[SCALE]]
func.func @exp2(%p: !tile.ptr<f32>) attributes {tile.kernel, tile.target = #tile.cpu<"LEVEL">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 16 : index
  %v = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  tile.fused [16] {
    %t = tile.load %v[%zero] bounds [false] : !tile.view<1 x f32, unit> -> tensor<16xf32>
    %e = tile.exp2 %t : tensor<16xf32>
    tile.store %e, %v[%zero] bounds [false] : tensor<16xf32>, !tile.view<1 x f32, unit>
    tile.yield
  }
  return
}

// log2: exponent and mantissa by integers, the series of atanh, and +inf and NaN as they are.
// CHECK-LABEL: func.func @log2(
// CHECK-DAG: %[[INF:.*]] = arith.constant dense<0x7F800000> : vector<[[W]]xf32>
// CHECK-DAG: %[[ONE:.*]] = arith.constant dense<1.000000e+00> : vector<[[W]]xf32>
// CHECK: %[[X:.*]] = llvm.load {{.*}} -> vector<[[W]]xf32>
// CHECK: %[[RAW:.*]] = arith.bitcast %[[X]] : vector<[[W]]xf32> to vector<[[W]]xi32>
// CHECK: %[[E:.*]] = arith.shrsi
// CHECK: %[[HIGH:.*]] = arith.shli %[[E]],
// CHECK: %[[LOW:.*]] = arith.subi %[[RAW]], %[[HIGH]]
// CHECK: %[[F:.*]] = arith.bitcast %[[LOW]] : vector<[[W]]xi32> to vector<[[W]]xf32>
// CHECK-DAG: %[[SUM:.*]] = arith.addf %[[F]], %[[ONE]]
// CHECK-DAG: %[[DIFFERENCE:.*]] = arith.subf %[[F]], %[[ONE]]
// CHECK: %[[S:.*]] = arith.divf %[[DIFFERENCE]], %[[SUM]]
// CHECK: arith.mulf %[[S]], %[[S]]
// CHECK: %[[WHOLE:.*]] = arith.sitofp %[[E]]
// CHECK: %[[Y:.*]] = llvm.intr.fmuladd(%{{.*}}, %[[S]], %[[WHOLE]])
// CHECK: %[[SPECIAL:.*]] = arith.cmpf uge, %[[X]], %[[INF]]
// CHECK: arith.select %[[SPECIAL]], %[[X]], %[[Y]]
func.func @log2(%p: !tile.ptr<f32>) attributes {tile.kernel, tile.target = #tile.cpu<"LEVEL">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 16 : index
  %v = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  tile.fused [16] {
    %t = tile.load %v[%zero] bounds [false] : !tile.view<1 x f32, unit> -> tensor<16xf32>
    %e = tile.log2 %t : tensor<16xf32>
    tile.store %e, %v[%zero] bounds [false] : tensor<16xf32>, !tile.view<1 x f32, unit>
    tile.yield
  }
  return
}

// f16 in memory is i16. Below x86-64-v3 there is no instruction for it, and LLVM would call a library: integers there,
// one conversion instruction from then on.
// CHECK-LABEL: func.func @from_f16(
// CHECK: %[[X:.*]] = llvm.load {{.*}} {alignment = 2 : i64} : !llvm.ptr -> vector<[[W]]xi16>
// V2-NOT: arith.extf
// V2: arith.extui %{{.*}} : vector<4xi16> to vector<4xi32>
// V2: arith.mulf %{{.*}} : vector<4xf32>
// V2-NOT: arith.extf
// V2: return
// F16C: %[[H:.*]] = arith.bitcast %[[X]] : vector<[[W]]xi16> to vector<[[W]]xf16>
// F16C: arith.extf %[[H]] : vector<[[W]]xf16> to vector<[[W]]xf32>
func.func @from_f16(%p: !tile.ptr<f16>, %q: !tile.ptr<f32>)
    attributes {tile.kernel, tile.target = #tile.cpu<"LEVEL">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 16 : index
  %v = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f16> -> !tile.view<1 x f16, unit>
  %w = tile.view %q[%zero] sizes(%n) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  tile.fused [16] {
    %t = tile.load %v[%zero] bounds [false] : !tile.view<1 x f16, unit> -> tensor<16xf16>
    %e = arith.extf %t : tensor<16xf16> to tensor<16xf32>
    tile.store %e, %w[%zero] bounds [false] : tensor<16xf32>, !tile.view<1 x f32, unit>
    tile.yield
  }
  return
}

// CHECK-LABEL: func.func @to_f16(
// V2-NOT: arith.truncf
// V2: %[[CODE:.*]] = arith.trunci %{{.*}} : vector<4xi32> to vector<4xi16>
// V2-NOT: arith.truncf
// V2: llvm.store %[[CODE]], %{{.*}} {alignment = 2 : i64} : vector<4xi16>
// F16C: %[[H:.*]] = arith.truncf %{{.*}} : vector<[[W]]xf32> to vector<[[W]]xf16>
// F16C: %[[CODE:.*]] = arith.bitcast %[[H]] : vector<[[W]]xf16> to vector<[[W]]xi16>
// F16C: llvm.store %[[CODE]], %{{.*}} {alignment = 2 : i64} : vector<[[W]]xi16>
func.func @to_f16(%p: !tile.ptr<f32>, %q: !tile.ptr<f16>)
    attributes {tile.kernel, tile.target = #tile.cpu<"LEVEL">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 16 : index
  %v = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<f32> -> !tile.view<1 x f32, unit>
  %w = tile.view %q[%zero] sizes(%n) strides(%one) : !tile.ptr<f16> -> !tile.view<1 x f16, unit>
  tile.fused [16] {
    %t = tile.load %v[%zero] bounds [false] : !tile.view<1 x f32, unit> -> tensor<16xf32>
    %h = arith.truncf %t : tensor<16xf32> to tensor<16xf16>
    tile.store %h, %w[%zero] bounds [false] : tensor<16xf16>, !tile.view<1 x f16, unit>
    tile.yield
  }
  return
}

// bf16 is the upper half of a float32 on every level: a shift one way, nearest even by integers the other, a NaN kept one
// by its quiet bit.
// CHECK-LABEL: func.func @bf16(
// CHECK-DAG: %[[SIXTEEN:.*]] = arith.constant dense<16> : vector<[[W]]xi32>
// CHECK-DAG: %[[ROUND:.*]] = arith.constant dense<32767> : vector<[[W]]xi32>
// CHECK-DAG: %[[QUIET:.*]] = arith.constant dense<4194304> : vector<[[W]]xi32>
// CHECK-DAG: %[[LSB:.*]] = arith.constant dense<1> : vector<[[W]]xi32>
// CHECK: %[[CODES:.*]] = llvm.load {{.*}} -> vector<[[W]]xi16>
// CHECK: %[[WIDE:.*]] = arith.extui %[[CODES]] : vector<[[W]]xi16> to vector<[[W]]xi32>
// CHECK: %[[UP:.*]] = arith.shli %[[WIDE]], %[[SIXTEEN]]
// CHECK: %[[X:.*]] = arith.bitcast %[[UP]] : vector<[[W]]xi32> to vector<[[W]]xf32>
// CHECK: %[[Y:.*]] = arith.addf %[[X]], %[[X]]
// CHECK: %[[RAW:.*]] = arith.bitcast %[[Y]]
// CHECK: %[[DOWN:.*]] = arith.shrui %[[RAW]], %[[SIXTEEN]]
// CHECK: %[[ODD:.*]] = arith.andi %[[DOWN]], %[[LSB]]
// CHECK: %[[HALF:.*]] = arith.addi %[[ODD]], %[[ROUND]]
// CHECK: %[[ROUNDED:.*]] = arith.addi %[[RAW]], %[[HALF]]
// CHECK: %[[NAN:.*]] = arith.ori %[[RAW]], %[[QUIET]]
// CHECK: %[[ISNAN:.*]] = arith.cmpf uno, %[[Y]], %[[Y]]
// CHECK: %[[BITS:.*]] = arith.select %[[ISNAN]], %[[NAN]], %[[ROUNDED]]
// CHECK: %[[UPPER:.*]] = arith.shrui %[[BITS]], %[[SIXTEEN]]
// CHECK: %[[OUT:.*]] = arith.trunci %[[UPPER]] : vector<[[W]]xi32> to vector<[[W]]xi16>
// CHECK: llvm.store %[[OUT]], %{{.*}} {alignment = 2 : i64}
func.func @bf16(%p: !tile.ptr<bf16>) attributes {tile.kernel, tile.target = #tile.cpu<"LEVEL">} {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %n = arith.constant 16 : index
  %v = tile.view %p[%zero] sizes(%n) strides(%one) : !tile.ptr<bf16> -> !tile.view<1 x bf16, unit>
  tile.fused [16] {
    %t = tile.load %v[%zero] bounds [false] : !tile.view<1 x bf16, unit> -> tensor<16xbf16>
    %x = arith.extf %t : tensor<16xbf16> to tensor<16xf32>
    %y = arith.addf %x, %x : tensor<16xf32>
    %h = arith.truncf %y : tensor<16xf32> to tensor<16xbf16>
    tile.store %h, %v[%zero] bounds [false] : tensor<16xbf16>, !tile.view<1 x bf16, unit>
    tile.yield
  }
  return
}
