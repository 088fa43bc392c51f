// Conversion to the dtype of another tensor. Contract: cast_like.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kCastLike;
} // namespace platen::ops
