// SPDX-License-Identifier: Apache-2.0
#include "tilewright/Dialect/Attn/IR/AttnEnums.h"

#include "tilewright/Dialect/Attn/IR/AttnEnums.cpp.inc"
