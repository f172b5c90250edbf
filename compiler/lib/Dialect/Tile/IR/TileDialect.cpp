// SPDX-License-Identifier: Apache-2.0
//
// Registration, types and attributes of the tile dialect. Operations' verifiers are in TileOps.cpp.
#include "tilewright/Dialect/Tile/IR/Tile.h"
#include "tilewright/Target/CpuLevel.h"
#include "tilewright/Target/GpuTarget.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace tilewright;
using namespace tilewright::tile;

#include "tilewright/Dialect/Tile/IR/TileDialect.cpp.inc"
#include "tilewright/Dialect/Tile/IR/TileEnums.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "tilewright/Dialect/Tile/IR/TileTypes.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "tilewright/Dialect/Tile/IR/TileAttributes.cpp.inc"

void TileDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "tilewright/Dialect/Tile/IR/TileTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "tilewright/Dialect/Tile/IR/TileAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "tilewright/Dialect/Tile/IR/TileOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// !tile.view<rank x type[, unit]>
//===----------------------------------------------------------------------===//

Type ViewType::parse(AsmParser &parser) {
  unsigned rank = 0;
  Type element;
  bool unit = false;
  unsigned align = 0;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseInteger(rank) || parser.parseKeyword("x") || parser.parseType(element)) {
    return {};
  }
  if (succeeded(parser.parseOptionalComma())) {
    if (parser.parseKeyword("unit")) {
      return {};
    }
    unit = true;
    OptionalParseResult number = parser.parseOptionalInteger(align);
    if (number.has_value() && failed(*number)) {
      return {};
    }
  }
  if (parser.parseGreater()) {
    return {};
  }
  return getChecked([&] { return parser.emitError(loc); }, parser.getContext(), rank, element, unit, align);
}

void ViewType::print(AsmPrinter &printer) const {
  printer << "<" << getRank() << " x " << getElementType() << (getUnit() ? ", unit" : "");
  if (getAlign() != 0) {
    printer << " " << getAlign();
  }
  printer << ">";
}

LogicalResult ViewType::verify(function_ref<InFlightDiagnostic()> emitError, unsigned rank, Type elementType,
                               bool unit, unsigned align) {
  if (rank != 1 && rank != 2) {
    return emitError() << "expected a view of rank 1 or 2, got " << rank;
  }
  if (align != 0 && align != 4 && align != 8 && align != 16) {
    return emitError() << "expected rows aligned to 4, 8 or 16 bytes, got " << align;
  }
  return success();
}

LogicalResult SharedType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t cols,
                                 Type elementType, int64_t stages) {
  // More would not be addressable with the 32-bit offsets that shared memory has.
  if (rows < 1 || rows > 65536 || cols < 1 || cols > 4096) {
    return emitError() << "expected 1 to 65536 rows and 1 to 4096 columns, got " << rows << " x " << cols;
  }
  if (!elementType.isIntOrFloat()) {
    return emitError() << "expected integers or floats, got " << elementType;
  }
  if (stages < 1 || stages > 4) {
    return emitError() << "expected 1 to 4 stages, got " << stages;
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

LogicalResult ScheduleAttr::verify(function_ref<InFlightDiagnostic()> emitError, Orientation orientation,
                                   int64_t blockM, int64_t blockN, int64_t microRows, int64_t microVectors) {
  for (const auto &[name, value] : {std::pair{"block m", blockM}, {"block n", blockN}}) {
    if (value < 16 || value > 512 || value % 16 != 0) {
      return emitError() << "expected " << name << " to be a multiple of 16 within 16..512, got " << value;
    }
  }
  if (microRows < 1 || microRows > 16) {
    return emitError() << "expected micro rows within 1..16, got " << microRows;
  }
  if (microVectors < 1 || microVectors > 8) {
    return emitError() << "expected micro vectors within 1..8, got " << microVectors;
  }
  return success();
}

LogicalResult CpuTargetAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef level) {
  if (!tilewright::parseCpuLevel(std::string_view(level))) {
    return emitError() << "expected x86-64-v2, x86-64-v3 or x86-64-v4, got \"" << level << "\"";
  }
  return success();
}

LogicalResult GpuScheduleAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t blockM, int64_t blockN,
                                      int64_t warps, int64_t stages, int64_t persistent, bool turns,
                                      bool rowByRow, bool /*splitLoops*/, bool /*bulkStores*/, int64_t bodies,
                                      int64_t perSm) {
  if (warps < 1 || warps > 16) {
    return emitError() << "expected 1 to 16 warps, got " << warps;
  }
  if (blockM < 16 || blockM > 512 || blockM % (16 * warps) != 0) {
    return emitError() << "expected block m to be a multiple of 16 rows a warp (" << 16 * warps
                       << ") up to 512, got " << blockM;
  }
  if (blockN < 16 || blockN > 512 || blockN % 16 != 0) {
    return emitError() << "expected block n to be a multiple of 16 within 16..512, got " << blockN;
  }
  if (stages < 1 || stages > 4) {
    return emitError() << "expected 1 to 4 stages, got " << stages;
  }
  if (persistent < 0 || persistent > 2) {
    return emitError() << "expected 1 or 2 buffers for the queries of persistent blocks, got " << persistent;
  }
  if (bodies != 1 && (bodies != 2 || stages == 1)) {
    return emitError() << "expected 1 body, or 2 with more than one stage, got " << bodies << " with " << stages;
  }
  if (perSm < 1 || perSm * warps > kGpuWarpsPerSm) {
    return emitError() << "expected 1 or more programs per SM, of at most " << kGpuWarpsPerSm
                       << " warps together, got " << perSm << " of " << warps;
  }
  return success();
}

LogicalResult GpuTargetAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef family, unsigned sm) {
  if (family != kSm80Family && family != kSm90aFamily) {
    return emitError() << "expected " << kSm80Family << " or " << kSm90aFamily << ", got \"" << family << "\"";
  }
  if (family == kSm90aFamily && sm != 90 && sm != kPtxOnlySm) {
    return emitError() << "expected SM 90 or " << kPtxOnlySm << " (PTX only) with the family " << kSm90aFamily
                       << ", whose code no other GPU runs, got " << sm;
  }
  if (sm != kPtxOnlySm && !findGpuTarget(sm)) {
    InFlightDiagnostic error = emitError() << "expected an SM among ";
    for (const GpuTarget &target : kGpuTargets) {
      error << target.sm << ", ";
    }
    return error << "or " << kPtxOnlySm << " (PTX only), got " << sm;
  }
  return success();
}
