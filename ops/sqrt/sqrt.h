// Elementwise square root. Contract: sqrt.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSqrt;
} // namespace platen::ops
