// SPDX-License-Identifier: Apache-2.0
//
// exp2, log2 and the 16-bit float formats on native vectors, without library calls.
#include "Lowering.h"
#include <bit>
#include <limits>

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile2vec;

Type VectorMath::withElement(Value like, Type element) {
  return VectorType::get(cast<VectorType>(like.getType()).getShape(), element);
}

Value VectorMath::f32(Value like, float value) {
  auto type = cast<VectorType>(withElement(like, b.getF32Type()));
  return arith::ConstantOp::create(b, DenseElementsAttr::get(type, value));
}

Value VectorMath::i32(Value like, uint32_t value) {
  auto type = cast<VectorType>(withElement(like, b.getI32Type()));
  return arith::ConstantOp::create(b, DenseElementsAttr::get(type, static_cast<int32_t>(value)));
}

Value VectorMath::bits(Value x, Type element) { return arith::BitcastOp::create(b, withElement(x, element), x); }

Value VectorMath::fma(Value a, Value x, Value y) { return LLVM::FMulAddOp::create(b, a, x, y); }

// 2^x = 2^n * 2^f with n = round(x) and f in [-1/2, 1/2]. Adding 1.5 * 2^23 rounds x to an integer and leaves n in the
// sum's low bits, which a shift moves to the exponent. The coefficients are a minimax fit of 2^f with the constant term
// held at 1 (so exp2(0) is exactly 1): relative error 2e-9 before rounding, 1.1e-7 after.
Value VectorMath::exp2(Value x) {
  const float magic = 12582912.0f;
  // Ordered comparisons are false for NaN, which so passes through to the polynomial and to the result.
  Value low = f32(x, -127.0f), high = f32(x, 128.0f);
  x = arith::SelectOp::create(b, arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, x, low), low, x);
  x = arith::SelectOp::create(b, arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, x, high), high, x);
  Value shifted = arith::AddFOp::create(b, x, f32(x, magic));
  Value n = arith::SubFOp::create(b, shifted, f32(x, magic));
  Value f = arith::SubFOp::create(b, x, n);
  const float c[] = {1.535336196e-04f, 1.339887502e-03f, 9.618436918e-03f, 5.550332367e-02f,
                     2.402264774e-01f, 6.931471825e-01f, 1.0f};
  Value p = f32(x, c[0]);
  for (size_t i = 1; i < std::size(c); ++i) {
    p = fma(p, f, f32(x, c[i]));
  }
  Value exponent = arith::ShLIOp::create(b, bits(shifted, b.getI32Type()), i32(x, 23));
  Value scale = arith::AddIOp::create(b, exponent, i32(x, 127u << 23));
  return arith::MulFOp::create(b, p, bits(scale, b.getF32Type()));
}

// x = 2^e * f with f in [sqrt(1/2), sqrt(2)); log(f) by the series of atanh: log(f) = 2 (s + s^3/3 + s^5/5 + ...) with
// s = (f - 1) / (f + 1), |s| <= 0.1716, so that the first term left out is below 1e-9 of the result.
Value VectorMath::log2(Value x) {
  const uint32_t sqrtHalf = std::bit_cast<uint32_t>(0.70710678f);
  Value raw = bits(x, b.getI32Type());
  Value e = arith::ShRSIOp::create(b, arith::SubIOp::create(b, raw, i32(x, sqrtHalf)), i32(x, 23));
  Value mantissa = arith::SubIOp::create(b, raw, arith::ShLIOp::create(b, e, i32(x, 23)));
  Value f = bits(mantissa, b.getF32Type());
  Value one = f32(x, 1.0f);
  Value s = arith::DivFOp::create(b, arith::SubFOp::create(b, f, one), arith::AddFOp::create(b, f, one));
  Value s2 = arith::MulFOp::create(b, s, s);
  // log2(f) = s * (2 / ln 2) * (1 + s2/3 + s2^2/5 + s2^3/7 + s2^4/9)
  const double twoLog2e = 2.885390081777926815;
  Value p = f32(x, static_cast<float>(twoLog2e / 9));
  for (int odd : {7, 5, 3, 1}) {
    p = fma(p, s2, f32(x, static_cast<float>(twoLog2e / odd)));
  }
  Value result = fma(p, s, arith::SIToFPOp::create(b, x.getType(), e));
  // Unordered or equal: +inf and NaN are their own logarithms.
  Value inf = f32(x, std::numeric_limits<float>::infinity());
  return arith::SelectOp::create(b, arith::CmpFOp::create(b, arith::CmpFPredicate::UGE, x, inf), x, result);
}

Value VectorMath::toF32(Value x) {
  if (cast<VectorType>(x.getType()).getElementType().isBF16()) {
    Value wide = arith::ExtUIOp::create(b, withElement(x, b.getI32Type()), bits(x, b.getIntegerType(16)));
    return bits(arith::ShLIOp::create(b, wide, i32(x, 16)), b.getF32Type());
  }
  // x86-64-v3 brings F16C; below it LLVM would call a library.
  return level >= CpuLevel::X86_64_v3 ? arith::ExtFOp::create(b, withElement(x, b.getF32Type()), x) : halfToF32(x);
}

Value VectorMath::fromF32(Value x, Type element) {
  if (element.isBF16()) {
    return f32ToBFloat(x);
  }
  return level >= CpuLevel::X86_64_v3 ? arith::TruncFOp::create(b, withElement(x, element), x) : f32ToHalf(x);
}

// bf16 is the upper half of a float32: add half of the last kept bit, minus one unless that bit is odd, and cut. NaN is
// kept apart, for the addition could carry it into infinity.
Value VectorMath::f32ToBFloat(Value x) {
  Value raw = bits(x, b.getI32Type());
  Value odd = arith::AndIOp::create(b, arith::ShRUIOp::create(b, raw, i32(x, 16)), i32(x, 1));
  Value rounded = arith::AddIOp::create(b, raw, arith::AddIOp::create(b, odd, i32(x, 0x7fff)));
  Value quiet = arith::OrIOp::create(b, raw, i32(x, 0x400000));
  Value isNan = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, x, x);
  Value upper = arith::ShRUIOp::create(b, arith::SelectOp::create(b, isNan, quiet, rounded), i32(x, 16));
  return bits(arith::TruncIOp::create(b, withElement(x, b.getIntegerType(16)), upper), b.getBF16Type());
}

// f16 to float32: put exponent and mantissa in place and multiply by 2^112, which rebiases the exponent and normalises
// subnormals exactly; infinity and NaN get the largest exponent instead.
Value VectorMath::halfToF32(Value x) {
  Value raw = arith::ExtUIOp::create(b, withElement(x, b.getI32Type()), bits(x, b.getIntegerType(16)));
  Value sign = arith::ShLIOp::create(b, arith::AndIOp::create(b, raw, i32(x, 0x8000)), i32(x, 16));
  Value magnitude = arith::ShLIOp::create(b, arith::AndIOp::create(b, raw, i32(x, 0x7fff)), i32(x, 13));
  Value scaled = arith::MulFOp::create(b, bits(magnitude, b.getF32Type()), f32(x, 0x1p112f));
  Value special = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, magnitude, i32(x, 0x7c00u << 13));
  Value infinite = arith::OrIOp::create(b, magnitude, i32(x, 0x7f800000));
  Value value = arith::SelectOp::create(b, special, infinite, bits(scaled, b.getI32Type()));
  return bits(arith::OrIOp::create(b, value, sign), b.getF32Type());
}

// float32 to f16, nearest even. Three ranges by magnitude: from 2^16 on infinity (or NaN); below 2^-14 the sum with 1/2
// rounds at f16's smallest step, leaving the code in the low bits; between, integer rounding of the mantissa.
Value VectorMath::f32ToHalf(Value x) {
  Value raw = bits(x, b.getI32Type());
  Value sign = arith::AndIOp::create(b, raw, i32(x, 0x80000000u));
  Value magnitude = arith::XOrIOp::create(b, raw, sign);
  Value isNan = arith::CmpIOp::create(b, arith::CmpIPredicate::ugt, magnitude, i32(x, 0x7f800000));
  Value large = arith::SelectOp::create(b, isNan, i32(x, 0x7e00), i32(x, 0x7c00));
  Value isLarge = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, magnitude, i32(x, 0x47800000));
  Value sum = arith::AddFOp::create(b, bits(magnitude, b.getF32Type()), f32(x, 0.5f));
  Value small = arith::SubIOp::create(b, bits(sum, b.getI32Type()), i32(x, 0x3f000000));
  Value isSmall = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, magnitude, i32(x, 0x38800000));
  Value odd = arith::AndIOp::create(b, arith::ShRUIOp::create(b, magnitude, i32(x, 13)), i32(x, 1));
  // Rebias by (15 - 127) << 23 and add just under half of the last kept bit, or half if that bit is odd.
  Value rebiased = arith::AddIOp::create(b, magnitude, i32(x, 0xc8000fffu));
  Value normal = arith::ShRUIOp::create(b, arith::AddIOp::create(b, rebiased, odd), i32(x, 13));
  Value code = arith::SelectOp::create(b, isSmall, small, normal);
  code = arith::SelectOp::create(b, isLarge, large, code);
  code = arith::OrIOp::create(b, code, arith::ShRUIOp::create(b, sign, i32(x, 16)));
  return bits(arith::TruncIOp::create(b, withElement(x, b.getIntegerType(16)), code), b.getF16Type());
}
