// Elementwise I1 < I2, with broadcasting. Contract: less.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kLess;
} // namespace platen::ops
