// SPDX-License-Identifier: Apache-2.0
//
// Philox4x32 (kernels/Philox.h) as operations, on scalars or vectors of i32: what both conversions lower
// tile.random_bits with. Internal to the conversions.
#ifndef TILEWRIGHT_CONVERSION_PHILOXEMITTER_H
#define TILEWRIGHT_CONVERSION_PHILOXEMITTER_H

#include "tilewright/kernels/Philox.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include <array>

namespace tilewright {

class PhiloxEmitter {
public:
  using Words = std::array<mlir::Value, 4>;

  /// The key's words are scalars or vectors as the counters will be; the keys of all rounds are made here, once.
  PhiloxEmitter(mlir::ImplicitLocOpBuilder &b, mlir::Value key0, mlir::Value key1) : b(b), type(key0.getType()) {
    for (unsigned round = 0; round < kernels::kDropoutRounds; ++round) {
      keys.push_back({key0, key1});
      key0 = mlir::arith::AddIOp::create(b, key0, constant(kernels::kPhiloxBump0));
      key1 = mlir::arith::AddIOp::create(b, key1, constant(kernels::kPhiloxBump1));
    }
  }

  Words operator()(Words counter) {
    using namespace mlir;
    for (const auto &key : keys) {
      auto first = arith::MulUIExtendedOp::create(b, counter[0], constant(kernels::kPhiloxMultiply0));
      auto second = arith::MulUIExtendedOp::create(b, counter[2], constant(kernels::kPhiloxMultiply1));
      Value c0 = arith::XOrIOp::create(b, second.getHigh(), counter[1]);
      Value c2 = arith::XOrIOp::create(b, first.getHigh(), counter[3]);
      counter = {arith::XOrIOp::create(b, c0, key[0]), second.getLow(), arith::XOrIOp::create(b, c2, key[1]),
                 first.getLow()};
    }
    return counter;
  }

  mlir::Value constant(uint32_t value) {
    auto bits = b.getI32IntegerAttr(static_cast<int32_t>(value));
    if (auto vector = mlir::dyn_cast<mlir::VectorType>(type)) {
      return mlir::arith::ConstantOp::create(b, mlir::cast<mlir::TypedAttr>(mlir::DenseElementsAttr::get(vector, bits)));
    }
    return mlir::arith::ConstantOp::create(b, bits);
  }
  /// kernels::dropoutRowGroup and dropoutColumnGroup.
  mlir::Value rowGroup(mlir::Value row) { return group(row, 4); }
  mlir::Value columnGroup(mlir::Value column) { return group(column, 5); }
  /// kernels::dropoutHalf and dropoutPart, as i1.
  mlir::Value half(mlir::Value index) { return bit(index, 8); }
  mlir::Value part(mlir::Value column) { return bit(column, 16); }
  /// The word with the bits of part 1 in the upper half, where those of part 0 are.
  mlir::Value lowerPart(mlir::Value word) { return mlir::arith::ShLIOp::create(b, word, constant(16)); }

private:
  mlir::Value group(mlir::Value index, uint32_t shift) {
    using namespace mlir;
    Value block = arith::ShLIOp::create(b, arith::ShRUIOp::create(b, index, constant(shift)), constant(3));
    return arith::OrIOp::create(b, block, arith::AndIOp::create(b, index, constant(7)));
  }
  mlir::Value bit(mlir::Value index, uint32_t which) {
    using namespace mlir;
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, arith::AndIOp::create(b, index, constant(which)),
                                 constant(0));
  }

  mlir::ImplicitLocOpBuilder &b;
  mlir::Type type;
  llvm::SmallVector<std::array<mlir::Value, 2>> keys;
};

} // namespace tilewright

#endif // TILEWRIGHT_CONVERSION_PHILOXEMITTER_H
