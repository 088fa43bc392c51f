// Elementwise product with broadcasting. Contract: mul.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kMul;
} // namespace platen::ops
