// Elementwise I1 <= I2, with broadcasting. Contract: less_or_equal.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kLessOrEqual;
} // namespace platen::ops
