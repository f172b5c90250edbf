// SPDX-License-Identifier: Apache-2.0
//
// The parts of checkForward (AttentionProblem.h): each file of checks is about one kind of argument. All throw Error.
#ifndef TILEWRIGHT_LIB_ENGINE_CHECKS_H
#define TILEWRIGHT_LIB_ENGINE_CHECKS_H

#include "tilewright/runtime/AttentionProblem.h"
#include <array>
#include <cstdint>
#include <limits>
#include <string>

namespace tilewright::runtime::checks {

inline constexpr int64_t kMaxExtent = std::numeric_limits<int32_t>::max();

/// "(batch, seqlen_q, heads, head_dim)", and the name of each dimension.
struct DimNames {
  const char *text;
  std::array<const char *, 4> names;
};

/// The sizes of a call, taken from q, k, v and the arguments of varlen.
struct CallSizes {
  bool varlen = false;
  int64_t batch = 0;
  int64_t seqlenQ = 0; ///< varlen: max_seqlen_q
  int64_t seqlenK = 0;
  int64_t heads = 0;
  int64_t headsK = 0;
  int64_t headDim = 0;
  int64_t headDimV = 0;
  int64_t totalQ = 0; ///< varlen only
  int64_t totalK = 0;
};

// CheckTensors.cpp

[[noreturn]] void invalid(const char *argument, const std::string &what);
std::string number(double value);
std::string dtypeName(TwDType dtype);
std::string shapeText(const TwTensor &tensor);
std::string deviceName(const TwTensor &tensor);
/// ", shape (2, 3)" for error messages about the rank; empty if the rank is none that a shape could be read for.
std::string shapeIfAny(const TwTensor &tensor);
int64_t dtypeBytes(TwDType dtype);
bool hasElements(const TwTensor &tensor);

/// Rank, device, extents, and that no element's byte offset leaves int64.
void checkForm(const char *name, const TwTensor &tensor, int32_t rank, const DimNames &dims);
void checkExtent(const char *name, const TwTensor &tensor, int32_t dim, const char *dimName, int64_t expected,
                 const char *whose);
void checkDtype(const char *name, const TwTensor &tensor, TwDType expected);
/// Tensors with elements have an address, aligned to the element.
void checkData(const char *name, const TwTensor &tensor);
/// Two indices of an output may not name one element: threads would race for it.
void checkNoSharedElements(const char *name, const TwTensor &tensor, const DimNames &dims);
enum class Side : uint8_t { Query, Key };
/// A dimension indexed by position inside a sequence: seqlen_q or seqlen_k, in a varlen batch the max_seqlen or more.
void checkPositions(const char *name, const TwTensor &tensor, int32_t dim, Side side, const CallSizes &sizes);
/// For checkExtent: who says how large the batch is.
const char *whoseBatch(const CallSizes &sizes);
/// `tensor`, if it is given, is on q's device.
void checkSameDevice(const char *name, const TwTensor &tensor, const TwTensor &q);
bool isContiguous(const TwTensor &tensor);
/// Bytes to which every row along the last dimension is aligned, at most 16.
uint8_t rowAlignment(const TwTensor &tensor);

// CheckVarlen.cpp

/// Whether the call is varlen; then cu_seqlens and max_seqlen have their form, and `sizes` gets what follows from them.
bool checkVarlenForm(const TwForwardArgs &args, CallSizes &sizes);
void checkSeqUsedForm(const TwForwardArgs &args, const CallSizes &sizes);
/// CPU tensors with data only.
void checkVarlenValues(const TwForwardArgs &args, const CallSizes &sizes);

/// Keys of each batch entry: seqlen_k, or what cu_seqlens_k and seqused_k say, whose values were checked before.
class KeyLengths {
public:
  /// `readable`: the data may be looked at. If not, every length is seqlen_k.
  KeyLengths(const TwForwardArgs &args, const CallSizes &sizes, bool readable);
  int64_t at(int64_t batch) const;

private:
  const TwTensor *cuSeqlens_;
  const TwTensor *seqUsed_;
  const int64_t seqlenK_;
};

// CheckMasks.cpp

attn::MaskKind checkGlmForm(const TwForwardArgs &args, const CallSizes &sizes);
void checkGlmValues(const TwTensor &glm, const KeyLengths &lengths);
/// key_padding_mask, document_ids, and the window's two sides.
void checkMaskForms(const TwForwardArgs &args, const CallSizes &sizes);
void checkDocumentValues(const TwTensor &documents, const KeyLengths &lengths);

// CheckScores.cpp

/// bias, attn_mask, alibi_slopes, softcap, dropout and probs.
void checkScoreForms(const TwForwardArgs &args, const CallSizes &sizes, Purpose purpose);

// CheckFeatures.cpp

/// Whether a call uses any field beyond the stream; one that does not is spared the checks below.
bool usesFeatures(const TwForwardArgs &args);
void checkFeatureForms(const TwForwardArgs &args, const CallSizes &sizes, Purpose purpose);
/// For a block map, which reads them, the tensors that blocks depend on are on the CPU; all others are where q is.
void checkFeatureDevices(const TwForwardArgs &args, bool blockMap);
/// For a block map of those tensors only.
void checkFeatureData(const TwForwardArgs &args, bool blockMap);
void fillFeatures(const TwForwardArgs &args, const CallSizes &sizes, AttentionProblem &problem);
void fillFeaturePointers(const TwForwardArgs &args, ForwardPointers &pointers);
/// TW_UNSUPPORTED for the first feature that kernels of the device do not serve.
void checkFeaturesServed(const AttentionProblem &problem);

} // namespace tilewright::runtime::checks

#endif // TILEWRIGHT_LIB_ENGINE_CHECKS_H
