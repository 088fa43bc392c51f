// Elementwise bit operations of two integer tensors. Contract: bitwise.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kBitwise;
} // namespace platen::ops
