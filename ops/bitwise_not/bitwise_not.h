// Elementwise complement of bits. Contract: bitwise_not.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kBitwiseNot;
} // namespace platen::ops
