// SPDX-License-Identifier: Apache-2.0
//
// A kernel key's text, its strict parser, and its digest.
#include "tilewright/runtime/KernelKey.h"
#include "tilewright/runtime/Digest.h"
#include "tilewright/runtime/Error.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <type_traits>
#include <utility>
#include <vector>

using namespace tilewright;
using namespace tilewright::runtime;
using kernels::KernelKind;

namespace {

/// What a key may hold: enumerations, integers, booleans and small aggregates of them. No float (two spellings of one
/// value), no pointer, no string that a user wrote.
template <typename T> struct IsKeyField : std::bool_constant<std::is_enum_v<T> || std::is_integral_v<T>> {};
template <typename T, size_t n> struct IsKeyField<std::array<T, n>> : IsKeyField<T> {};
template <typename... Ts> constexpr bool areKeyFields(const Ts &...) {
  return (IsKeyField<std::remove_cvref_t<Ts>>::value && ...);
}
template <> struct IsKeyField<kernels::Schedule> : std::true_type {};

// The bindings name every member: a member added to KernelKey or Schedule does not compile until it is handled here,
// which is the place to remember toText, parseKey, normalize and hash.
constexpr bool keyIsPlain() {
  KernelKey key;
  auto &[kind, sm, level, dtype, mask, headDim, headDimV, evenM, evenN, evenD, bias, attnMask, biasAlign,
         attnMaskAlign, alibi, softcap, windowLeft, rowBounds, documents, keyPadding, keyPaddingAlign, varlen, seqUsedK,
         dropout, probs, align, schedule] = key;
  auto &[orientation, blockM, blockN, microRows, microVectors, warps, stages, groups, persistent,
         turns, rowByRow, splitLoops, bulkStores, bodies, perSm] = schedule;
  return areKeyFields(kind, sm, level, dtype, mask, headDim, headDimV, evenM, evenN, evenD, bias, attnMask, biasAlign,
                      attnMaskAlign, alibi, softcap, windowLeft, rowBounds, documents, keyPadding, keyPaddingAlign,
                      varlen, seqUsedK, dropout, probs, align, schedule) &&
         areKeyFields(orientation, blockM, blockN, microRows, microVectors, warps, stages, groups, persistent, turns,
                      rowByRow, splitLoops, bulkStores, bodies, perSm);
}
static_assert(keyIsPlain());
static_assert(std::is_trivially_copyable_v<KernelKey>);

/// By KernelKind.
constexpr std::array<std::string_view, 3> kKindNames = {"forward", "row_limits", "row_bounds"};
/// One of the sm_80 family with all else as it is by default.
constexpr kernels::Schedule gpuSchedule(uint16_t blockM, uint16_t blockN, uint8_t warps) {
  return {.orientation = kernels::Orientation::QueriesByKeys,
          .blockM = blockM,
          .blockN = blockN,
          .microRows = 0,
          .microVectors = 0,
          .warps = warps};
}
/// Of row_bounds on every GPU. With documents few rows a program, as each costs it a step, and one warp, as each
/// searches for all of them, or two that share rows where they scan a padding mask too. With that alone more rows, as
/// every warp scans the whole of it.
constexpr kernels::Schedule rowBoundsSchedule(bool documents, bool keyPadding) {
  return documents ? gpuSchedule(32, 64, keyPadding ? 2 : 1) : gpuSchedule(128, 64, 2);
}
constexpr std::string_view kTensorNames[4] = {"q", "k", "v", "out"};
constexpr std::string_view kTargetFamily = "cpu:";
constexpr std::string_view kGpuFamily = "sm_80:";
constexpr std::string_view kSm90aFamily = "sm_90a:"; ///< of keys whose schedule has groups
constexpr std::string_view kSm90aName = "sm_90a";
constexpr std::string_view kPtxName = "ptx";
/// Columns of a matrix instruction's operand: a head dim that they divide needs no predicate.
constexpr unsigned kGpuHeadDimStep = 16;

attn::AlignClass elementAlign(ElementType type) {
  return type == ElementType::F32 ? attn::AlignClass::Bytes4 : attn::AlignClass::Bytes2;
}

unsigned headDimStep(const KernelKey &key) { return key.sm != 0 ? kGpuHeadDimStep : vectorLanes(key.level); }

bool headDimsAreEven(const KernelKey &key) {
  const unsigned step = headDimStep(key);
  return key.headDim % step == 0 && key.headDimV % step == 0;
}

std::string gpuTargetName(uint16_t sm) { return sm == kPtxOnly ? std::string(kPtxName) : "sm_" + std::to_string(sm); }

std::string gpuTargetText(uint16_t sm, bool sm90a = false) {
  return std::string(sm90a ? kSm90aFamily : kGpuFamily) + gpuTargetName(sm);
}

std::string_view view(llvm::StringRef text) { return {text.data(), text.size()}; }

/// One spelling of a tensor that joins the scores, and of how its rows are aligned.
void normalizeScoreOperand(const KernelKey &key, attn::ScoreOperand &kind, attn::AlignClass &align) {
  if (key.dtype == ElementType::F32 && kind == attn::ScoreOperand::VectorF32) {
    kind = attn::ScoreOperand::Vector;
  }
  if (key.dtype == ElementType::F32 && kind == attn::ScoreOperand::MatrixF32) {
    kind = attn::ScoreOperand::Matrix;
  }
  // Bools are read one by one, and on a CPU an element's own alignment is enough for vectors.
  const bool narrow = key.sm == 0 || attn::isBool(kind);
  if (kind == attn::ScoreOperand::None || (narrow && align != attn::AlignClass::Strided)) {
    align = attn::AlignClass::Bytes2;
  }
}

//===-- Parsing ---------------------------------------------------------------------------------------------------===//

[[noreturn]] void bad(const std::string &what) { throw Error(TW_INVALID_ARGUMENT, "key: " + what, "key"); }

[[noreturn]] void badField(std::string_view field, std::string_view text, const std::string &allowed) {
  bad(std::string(field) + " is '" + std::string(text) + "', must be " + allowed);
}

/// The name=value fields of a key, each taken once; whatever is left over at the end is a fault.
class Fields {
public:
  explicit Fields(std::string_view text) {
    size_t at = 0;
    while (true) {
      at = text.find_first_not_of(" \t\n", at);
      if (at == std::string_view::npos) {
        break;
      }
      size_t end = std::min(text.find_first_of(" \t\n", at), text.size());
      add(text.substr(at, end - at));
      at = end;
    }
  }

  std::string_view kind() const { return kind_; }

  std::optional<std::string_view> takeOptional(std::string_view name) {
    for (auto it = fields_.begin(); it != fields_.end(); ++it) {
      if (it->first == name) {
        std::string_view value = it->second;
        fields_.erase(it);
        return value;
      }
    }
    return std::nullopt;
  }

  std::string_view take(std::string_view name) {
    if (std::optional<std::string_view> value = takeOptional(name)) {
      return *value;
    }
    bad("field " + std::string(name) + " is missing; a " + std::string(kind_) + " key has the fields " + layout());
  }

  void expectNoMore() const {
    if (!fields_.empty()) {
      bad("field '" + std::string(fields_.front().first) + "' is not known here; a " + std::string(kind_) +
          " key has the fields " + layout());
    }
  }

private:
  void add(std::string_view word) {
    if (kind_.empty()) {
      kind_ = word;
      return;
    }
    size_t equals = word.find('=');
    if (equals == 0 || equals == std::string_view::npos) {
      bad("'" + std::string(word) + "' is not a field, expected name=value");
    }
    std::string_view name = word.substr(0, equals);
    for (const auto &field : fields_) {
      if (field.first == name) {
        bad("field '" + std::string(name) + "' is given twice");
      }
    }
    fields_.emplace_back(name, word.substr(equals + 1));
  }

  std::string layout() const {
    if (kind_ == "row_limits") {
      return "target evenM (varlen seqUsedK) schedule build";
    }
    if (kind_ == "row_bounds") {
      return "target evenM (documents keyPadding varlen seqUsedK) schedule build";
    }
    return "target dtype headDim headDimV evenM evenN evenD mask align (bias attnMask alibi softcap windowLeft "
           "rowBounds keyPadding varlen seqUsedK dropout probs) schedule build";
  }

  std::string_view kind_;
  std::vector<std::pair<std::string_view, std::string_view>> fields_;
};

/// Sets sm, or level. Whether it is a GPU's of the sm_90a family.
bool parseTarget(std::string_view text, KernelKey &key) {
  if (text.starts_with(kTargetFamily)) {
    if (std::optional<CpuLevel> level = parseCpuLevel(text.substr(kTargetFamily.size()))) {
      key.level = *level;
      return false;
    }
  }
  std::string allowed;
  for (const CpuLevelInfo &info : kCpuLevels) {
    allowed += std::string(kTargetFamily) + std::string(info.name) + ", ";
  }
  for (const GpuTarget &target : kGpuTargets) {
    if (text == gpuTargetText(target.sm)) {
      key.sm = target.sm;
      return false;
    }
    allowed += gpuTargetText(target.sm) + ", ";
  }
  if (text == gpuTargetText(kPtxOnly)) {
    key.sm = kPtxOnly;
    return false;
  }
  for (const uint16_t sm : {kSm90aSm, kPtxOnly}) {
    if (text == gpuTargetText(sm, true)) {
      key.sm = sm;
      return true;
    }
  }
  badField("target", text, "one of " + allowed + gpuTargetText(kPtxOnly) + ", " + gpuTargetText(kSm90aSm, true) + ", " +
                               gpuTargetText(kPtxOnly, true));
}

ElementType parseElementType(std::string_view text, bool gpu) {
  for (ElementType type : {ElementType::F32, ElementType::F16, ElementType::BF16}) {
    if (toText(type) == text && !(gpu && type == ElementType::F32)) {
      return type;
    }
  }
  badField("dtype", text, gpu ? "one of f16, bf16 with a GPU target" : "one of f32, f16, bf16");
}

uint16_t parseHeadDim(std::string_view field, std::string_view text) {
  unsigned value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool canonical = error == std::errc() && end == text.data() + text.size() && text.front() != '0';
  if (!canonical || value < 1 || value > 256) {
    badField(field, text, "an integer in [1, 256]");
  }
  return static_cast<uint16_t>(value);
}

bool parseBool(std::string_view field, std::string_view text) {
  if (text != "0" && text != "1") {
    badField(field, text, "0 or 1");
  }
  return text == "1";
}

attn::MaskKind parseMask(std::string_view text) {
  std::optional<attn::MaskKind> mask = attn::symbolizeMaskKind(llvm::StringRef(text.data(), text.size()));
  if (!mask) {
    badField("mask", text, "one of none, causal, glm_break, glm_packed");
  }
  return *mask;
}

std::array<attn::AlignClass, 4> parseAlign(std::string_view text, ElementType dtype, bool gpu) {
  const attn::AlignClass contiguous = elementAlign(dtype);
  const std::string classes =
      gpu ? "a2, a4, a8, a16" : attn::stringifyAlignClass(contiguous).str() + " (the element's size)";
  const std::string allowed = "q:A,k:A,v:A,out:A with each A " + classes + " or strided";
  std::array<attn::AlignClass, 4> align{};
  std::string_view rest = text;
  for (size_t i = 0; i < align.size(); ++i) {
    size_t comma = rest.find(',');
    bool last = i + 1 == align.size();
    if ((comma == std::string_view::npos) != last) {
      badField("align", text, allowed);
    }
    std::string_view item = rest.substr(0, comma);
    rest = last ? std::string_view() : rest.substr(comma + 1);
    size_t colon = item.find(':');
    if (colon == std::string_view::npos || item.substr(0, colon) != kTensorNames[i]) {
      badField("align", text, allowed);
    }
    std::string_view name = item.substr(colon + 1);
    auto parsed = attn::symbolizeAlignClass(llvm::StringRef(name.data(), name.size()));
    if (!parsed || (!gpu && *parsed != attn::AlignClass::Strided && *parsed != contiguous)) {
      badField("align", text, allowed);
    }
    align[i] = *parsed;
  }
  return align;
}

/// "matrix_f32:a8" of the field `name`, if it is there.
void parseScoreOperand(Fields &fields, std::string_view name, bool mayBeBool, attn::ScoreOperand &kind,
                       attn::AlignClass &align) {
  std::optional<std::string_view> text = fields.takeOptional(name);
  if (!text) {
    return;
  }
  const std::string allowed = "KIND:A with KIND vector, matrix, vector_f32, matrix_f32" +
                              std::string(mayBeBool ? ", vector_bool, matrix_bool" : "") +
                              " and A a2, a4, a8, a16 or strided";
  const size_t colon = std::min(text->find(':'), text->size());
  const std::string_view first = text->substr(0, colon);
  const std::string_view second = text->substr(std::min(colon + 1, text->size()));
  auto parsedKind = attn::symbolizeScoreOperand(llvm::StringRef(first.data(), first.size()));
  auto parsedAlign = attn::symbolizeAlignClass(llvm::StringRef(second.data(), second.size()));
  if (!parsedKind || *parsedKind == attn::ScoreOperand::None || !parsedAlign ||
      (attn::isBool(*parsedKind) && !mayBeBool)) {
    badField(name, *text, allowed);
  }
  kind = *parsedKind;
  align = *parsedAlign;
}

bool parseFeature(Fields &fields, std::string_view name) {
  std::optional<std::string_view> text = fields.takeOptional(name);
  if (text && *text != "1") {
    badField(name, *text, "1, or left out");
  }
  return text.has_value();
}

/// "strided", of a padding mask whose bytes are not neighbours, or "a2".
void parseKeyPadding(Fields &fields, KernelKey &key) {
  std::optional<std::string_view> text = fields.takeOptional("keyPadding");
  if (!text) {
    return;
  }
  if (*text != "a2" && *text != "strided") {
    badField("keyPadding", *text, "a2 or strided, or left out");
  }
  key.keyPadding = true;
  key.keyPaddingAlign = *text == "strided" ? attn::AlignClass::Strided : attn::AlignClass::Bytes2;
}

kernels::Schedule parseScheduleField(std::string_view text, bool gpu, bool sm90a) {
  std::optional<kernels::Schedule> schedule = kernels::parseSchedule(text);
  if (!schedule) {
    badField("schedule", text, std::string(kernels::kScheduleForm));
  }
  if ((schedule->warps != 0) != gpu) {
    badField("schedule", text, gpu ? "a GPU's, as is the target: with warps, as in qk:128x64:w4"
                                   : "a CPU's, as is the target: with a register tile, as in kq:64x64:8x2");
  }
  if ((schedule->groups != 0) != sm90a) {
    badField("schedule", text, sm90a ? "one of the target's family sm_90a: with groups, as in qk:128x128:g2:s2"
                                     : "one of the target's family sm_80: with warps, as in qk:128x64:w4");
  }
  return *schedule;
}

void checkBuild(Fields &fields) {
  std::optional<std::string_view> build = fields.takeOptional("build");
  if (build && *build != buildId()) {
    bad("build is '" + std::string(*build) + "', but this library's is " + std::string(buildId()) +
        ": its kernels are not interchangeable with another build's");
  }
}

uint64_t mix(uint64_t a, uint64_t b) {
  __uint128_t product = static_cast<__uint128_t>(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd6e8feb86659fd93u);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

} // namespace

std::string_view runtime::toText(ElementType type) {
  switch (type) {
  case ElementType::F32:
    return "f32";
  case ElementType::F16:
    return "f16";
  case ElementType::BF16:
    return "bf16";
  }
  return "";
}

std::optional<uint16_t> runtime::smOf(int major, int minor) {
  if (major < 8) {
    return std::nullopt;
  }
  uint16_t found = kPtxOnly;
  for (const GpuTarget &target : kGpuTargets) {
    if (target.sm / 10 == major && target.sm % 10 <= minor) {
      found = target.sm;
    }
  }
  return found;
}

std::optional<GpuTargetChoice> runtime::parseGpuTarget(std::string_view text) {
  for (const GpuTarget &target : kGpuTargets) {
    if (text == gpuTargetName(target.sm)) {
      return GpuTargetChoice{target.sm, false};
    }
  }
  if (text == kSm90aName) {
    return GpuTargetChoice{kSm90aSm, true};
  }
  return text == kPtxName ? std::optional(GpuTargetChoice{kPtxOnly, false}) : std::nullopt;
}

std::string runtime::gpuTargetNames() {
  std::string names;
  for (const GpuTarget &target : kGpuTargets) {
    names += gpuTargetName(target.sm) + ", ";
    names += target.sm == kSm90aSm ? std::string(kSm90aName) + ", " : "";
  }
  return names + std::string(kPtxName);
}

void KernelKey::setFeatures(const kernels::ForwardFeatures &features) {
  mask = features.mask;
  bias = features.bias;
  attnMask = features.attnMask;
  alibi = features.alibi;
  softcap = features.softcap;
  windowLeft = features.windowLeft;
  rowBounds = features.rowBounds;
  documents = features.documents;
  keyPadding = features.keyPadding;
  varlen = features.varlen;
  seqUsedK = features.seqUsedK;
  dropout = features.dropout;
  probs = features.probs;
}

void KernelKey::normalize() {
  const bool gpu = sm != 0;
  if (gpu) {
    level = CpuLevel::X86_64_v2;
    schedule.orientation = kernels::Orientation::QueriesByKeys;
    schedule.microRows = 0;
    schedule.microVectors = 0;
  } else {
    schedule = {.orientation = schedule.orientation,
                .blockM = schedule.blockM,
                .blockN = schedule.blockN,
                .microRows = schedule.microRows,
                .microVectors = schedule.microVectors};
  }
  // Programs of a varlen batch may have rows past their sequence.
  evenM = evenM && !varlen;
  if (kind != KernelKind::Forward) {
    // Its code depends on the target and on how many rows a program has; the rest of the schedule is canonical.
    KernelKey limits;
    limits.kind = kind;
    limits.sm = sm;
    limits.level = level;
    limits.evenM = evenM;
    limits.varlen = varlen;
    limits.seqUsedK = seqUsedK;
    if (kind == KernelKind::RowBounds) {
      limits.documents = documents;
      limits.keyPadding = keyPadding;
    }
    if (gpu && kind == KernelKind::RowBounds) {
      limits.schedule = rowBoundsSchedule(documents, keyPadding);
    } else if (gpu) {
      // Nothing in it multiplies: of the sm_80 family everywhere.
      limits.schedule = gpuSchedule(schedule.blockM, kernels::Schedule().blockN, schedule.warps);
    } else {
      limits.schedule.blockM = schedule.blockM;
    }
    *this = limits;
    return;
  }
  rowBounds = rowBounds || documents || keyPadding;
  documents = false;
  if (!keyPadding || keyPaddingAlign != attn::AlignClass::Strided) {
    keyPaddingAlign = attn::AlignClass::Bytes2;
  }
  evenN = evenN && mask == attn::MaskKind::None && !windowLeft && !rowBounds && !varlen && !seqUsedK;
  if (evenN || bias != attn::ScoreOperand::None || attnMask != attn::ScoreOperand::None) {
    schedule.bodies = 1; // no block is partial, or a tensor is read beside the products
  }
  schedule.splitLoops = schedule.splitLoops && !evenN;
  // The queries' buffer must have a box for each of the output's.
  schedule.bulkStores = schedule.bulkStores && gpuBoxedPitch(headDimV) <= gpuBoxedPitch(headDim);
  normalizeScoreOperand(*this, bias, biasAlign);
  normalizeScoreOperand(*this, attnMask, attnMaskAlign);
  evenD = headDimsAreEven(*this);
  if (gpu) {
    return;
  }
  // A CPU's vector loads need no more than the element's own alignment.
  for (attn::AlignClass &tensor : align) {
    tensor = tensor == attn::AlignClass::Strided ? tensor : elementAlign(dtype);
  }
}

const char *runtime::whyNotSm90a(const KernelKey &key) {
  if (key.kind != KernelKind::Forward) {
    return "it has forward kernels only";
  }
  const std::pair<bool, const char *> features[] = {
      {key.bias != attn::ScoreOperand::None, "its kernels take no bias"},
      {key.attnMask != attn::ScoreOperand::None, "its kernels take no attn_mask"},
      {key.alibi, "its kernels take no alibi_slopes"},
      {key.softcap, "its kernels take no softcap"},
      {key.windowLeft, "its kernels take no window with a left edge"},
      {key.documents, "its kernels take no document_ids"},
      {key.keyPadding, "its kernels take no key_padding_mask"},
      {key.rowBounds, "its kernels take no row bounds"},
      {key.varlen, "its kernels take no cu_seqlens"},
      {key.seqUsedK, "its kernels take no seqused_k"},
      {key.dropout, "its kernels take no dropout"},
      {key.probs, "its kernels return no probabilities"}};
  for (const auto &[given, reason] : features) {
    if (given) {
      return reason;
    }
  }
  if (key.headDim % 8 != 0 || key.headDimV % 8 != 0) {
    return "headDim and headDimV must be multiples of 8";
  }
  constexpr std::array reasons = {
      "rows of q must be aligned to 16 bytes, their elements next to each other",
      "rows of k must be aligned to 16 bytes, their elements next to each other",
      "rows of v must be aligned to 16 bytes, their elements next to each other",
      "rows of out must be aligned to 16 bytes, their elements next to each other"};
  static_assert(reasons.size() == std::tuple_size_v<decltype(key.align)>);
  for (size_t i = 0; i < key.align.size(); ++i) {
    if (key.align[i] != attn::AlignClass::Bytes16) {
      return reasons[i];
    }
  }
  return nullptr;
}

size_t KernelKey::hash() const {
  uint64_t scalars = static_cast<uint64_t>(kind) | static_cast<uint64_t>(level) << 8 |
                     static_cast<uint64_t>(dtype) << 16 | static_cast<uint64_t>(mask) << 24 |
                     static_cast<uint64_t>(headDim) << 32 | static_cast<uint64_t>(headDimV) << 48;
  uint64_t rest = static_cast<uint64_t>(evenM) | static_cast<uint64_t>(evenN) << 1 | static_cast<uint64_t>(evenD) << 2 |
                  static_cast<uint64_t>(sm) << 40 | static_cast<uint64_t>(schedule.stages) << 56 |
                  static_cast<uint64_t>(schedule.bodies) << 60;
  for (size_t i = 0; i < align.size(); ++i) {
    rest |= static_cast<uint64_t>(align[i]) << (8 + 8 * i);
  }
  uint64_t blocks = static_cast<uint64_t>(schedule.orientation) | static_cast<uint64_t>(schedule.microRows) << 8 |
                    static_cast<uint64_t>(schedule.microVectors) << 16 |
                    static_cast<uint64_t>(schedule.blockM) << 24 | static_cast<uint64_t>(schedule.blockN) << 40 |
                    static_cast<uint64_t>(schedule.warps) << 56;
  uint64_t features = static_cast<uint64_t>(bias) | static_cast<uint64_t>(attnMask) << 8 |
                      static_cast<uint64_t>(biasAlign) << 16 | static_cast<uint64_t>(attnMaskAlign) << 24 |
                      static_cast<uint64_t>(alibi) << 32 | static_cast<uint64_t>(softcap) << 33 |
                      static_cast<uint64_t>(windowLeft) << 34 | static_cast<uint64_t>(rowBounds) << 35 |
                      static_cast<uint64_t>(documents) << 36 | static_cast<uint64_t>(keyPadding) << 37 |
                      static_cast<uint64_t>(varlen) << 38 | static_cast<uint64_t>(seqUsedK) << 39 |
                      static_cast<uint64_t>(dropout) << 40 | static_cast<uint64_t>(probs) << 41 |
                      static_cast<uint64_t>(schedule.splitLoops) << 42 |
                      static_cast<uint64_t>(schedule.bulkStores) << 43 |
                      static_cast<uint64_t>(schedule.perSm) << 44 |
                      static_cast<uint64_t>(keyPaddingAlign) << 48 |
                      static_cast<uint64_t>(schedule.rowByRow) << 52 |
                      static_cast<uint64_t>(schedule.persistent) << 53 | static_cast<uint64_t>(schedule.turns) << 55 |
                      static_cast<uint64_t>(schedule.groups) << 56;
  return mix(mix(mix(scalars, rest), blocks), features);
}

std::string runtime::toText(const KernelKey &key) {
  std::string text;
  text.reserve(256);
  auto field = [&](std::string_view name, std::string_view value) {
    text.append(" ").append(name).append("=").append(value);
  };
  auto boolean = [](bool value) { return value ? std::string_view("1") : std::string_view("0"); };
  auto feature = [&](std::string_view name, bool given) {
    if (given) {
      field(name, "1");
    }
  };
  const bool forward = key.kind == KernelKind::Forward;
  text = kKindNames[static_cast<size_t>(key.kind)];
  field("target", key.sm != 0 ? gpuTargetText(key.sm, key.isSm90a())
                              : std::string(kTargetFamily) + std::string(cpuLevelInfo(key.level).name));
  if (forward) {
    field("dtype", toText(key.dtype));
    field("headDim", std::to_string(key.headDim));
    field("headDimV", std::to_string(key.headDimV));
  }
  field("evenM", boolean(key.evenM));
  if (forward) {
    field("evenN", boolean(key.evenN));
    field("evenD", boolean(key.evenD));
    field("mask", view(attn::stringifyMaskKind(key.mask)));
    std::string align;
    for (size_t i = 0; i < key.align.size(); ++i) {
      align.append(i == 0 ? "" : ",").append(kTensorNames[i]).append(":");
      align.append(view(attn::stringifyAlignClass(key.align[i])));
    }
    field("align", align);
    auto operand = [&](std::string_view name, attn::ScoreOperand kind, attn::AlignClass rows) {
      if (kind != attn::ScoreOperand::None) {
        field(name, attn::stringifyScoreOperand(kind).str() + ":" + attn::stringifyAlignClass(rows).str());
      }
    };
    operand("bias", key.bias, key.biasAlign);
    operand("attnMask", key.attnMask, key.attnMaskAlign);
    feature("alibi", key.alibi);
    feature("softcap", key.softcap);
    feature("windowLeft", key.windowLeft);
    feature("rowBounds", key.rowBounds);
    if (key.keyPadding) {
      field("keyPadding", view(attn::stringifyAlignClass(key.keyPaddingAlign)));
    }
  } else {
    feature("documents", key.documents);
    feature("keyPadding", key.keyPadding);
  }
  feature("varlen", key.varlen);
  feature("seqUsedK", key.seqUsedK);
  feature("dropout", key.dropout);
  feature("probs", key.probs);
  field("schedule", kernels::toText(key.schedule));
  field("build", buildId());
  return text;
}

KernelKey runtime::parseKey(std::string_view text) {
  Fields fields(text);
  KernelKey key;
  const auto *kind = std::find(kKindNames.begin(), kKindNames.end(), fields.kind());
  if (kind == kKindNames.end()) {
    badField("kernel kind (the first word)", fields.kind(), "forward, row_limits or row_bounds");
  }
  key.kind = static_cast<KernelKind>(kind - kKindNames.begin());
  const bool sm90a = parseTarget(fields.take("target"), key);
  const bool gpu = key.sm != 0;
  if (key.kind == KernelKind::Forward) {
    key.dtype = parseElementType(fields.take("dtype"), gpu);
    key.headDim = parseHeadDim("headDim", fields.take("headDim"));
    key.headDimV = parseHeadDim("headDimV", fields.take("headDimV"));
  }
  key.evenM = parseBool("evenM", fields.take("evenM"));
  if (key.kind == KernelKind::Forward) {
    key.evenN = parseBool("evenN", fields.take("evenN"));
    key.evenD = parseBool("evenD", fields.take("evenD"));
    key.mask = parseMask(fields.take("mask"));
    key.align = parseAlign(fields.take("align"), key.dtype, gpu);
    parseScoreOperand(fields, "bias", /*mayBeBool=*/false, key.bias, key.biasAlign);
    parseScoreOperand(fields, "attnMask", /*mayBeBool=*/true, key.attnMask, key.attnMaskAlign);
    key.alibi = parseFeature(fields, "alibi");
    key.softcap = parseFeature(fields, "softcap");
    key.windowLeft = parseFeature(fields, "windowLeft");
    key.rowBounds = parseFeature(fields, "rowBounds");
    parseKeyPadding(fields, key);
    key.dropout = parseFeature(fields, "dropout");
    key.probs = parseFeature(fields, "probs");
  } else if (key.kind == KernelKind::RowBounds) {
    key.documents = parseFeature(fields, "documents");
    key.keyPadding = parseFeature(fields, "keyPadding");
    if (!key.documents && !key.keyPadding) {
      bad("a row_bounds kernel has documents=1, keyPadding=1 or both");
    }
  }
  key.varlen = parseFeature(fields, "varlen");
  key.seqUsedK = parseFeature(fields, "seqUsedK");
  key.schedule = parseScheduleField(fields.take("schedule"), gpu, sm90a);
  checkBuild(fields);
  fields.expectNoMore();

  KernelKey normalized = key;
  normalized.normalize();
  if (key.evenD != normalized.evenD) {
    bad("evenD is " + std::to_string(key.evenD) + ", but head dims " + std::to_string(key.headDim) + " and " +
        std::to_string(key.headDimV) + " with " +
        (gpu ? "a GPU's step of " + std::to_string(kGpuHeadDimStep)
             : std::to_string(vectorLanes(key.level)) + " lanes") +
        " make it " +
        std::to_string(normalized.evenD));
  }
  if (key.evenM != normalized.evenM) {
    bad("evenM is 1, must be 0 with varlen=1");
  }
  if (key.rowBounds != normalized.rowBounds) {
    bad("rowBounds is not given, must be 1 with keyPadding");
  }
  if (key.evenN != normalized.evenN) {
    bad("evenN is 1, must be 0 with " + (key.windowLeft  ? std::string("windowLeft=1")
                                         : key.rowBounds ? std::string("rowBounds=1")
                                         : key.varlen    ? std::string("varlen=1")
                                         : key.seqUsedK  ? std::string("seqUsedK=1")
                                                         : "mask=" + attn::stringifyMaskKind(key.mask).str()));
  }
  if (key.bias != normalized.bias || key.biasAlign != normalized.biasAlign || key.attnMask != normalized.attnMask ||
      key.attnMaskAlign != normalized.attnMaskAlign) {
    bad("bias and attnMask must be spelled as in '" + toText(normalized) + "'");
  }
  if (key.isSm90a() && key.kind != KernelKind::Forward) {
    bad("target is of the family sm_90a, but a " + std::string(fields.kind()) + " kernel is of sm_80 on every GPU");
  }
  if (key.isSm90a()) {
    if (const char *reason = whyNotSm90a(key)) {
      bad("target is of the family sm_90a, which has no kernel for this: " + std::string(reason));
    }
  }
  if (key != normalized) {
    std::string why = "what changes nothing in a kernel is left out";
    if (gpu && key.kind == KernelKind::RowBounds) {
      why = "row_bounds kernels of GPUs with these fields have it";
    } else if (key.kind != KernelKind::Forward) {
      why = "a " + std::string(fields.kind()) + " kernel depends on " + (gpu ? "blockM and warps" : "blockM") + " only";
    }
    bad("schedule is '" + kernels::toText(key.schedule) + "', must be '" + kernels::toText(normalized.schedule) +
        "': " + why);
  }
  return key;
}

std::string runtime::digest(const KernelKey &key) { return blake3Hex(toText(key)); }
