// Elementwise I1 >= I2, with broadcasting. Contract: greater_or_equal.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kGreaterOrEqual;
} // namespace platen::ops
