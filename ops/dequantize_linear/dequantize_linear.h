// Integers to floats by scale and zero point. Contract: dequantize_linear.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kDequantizeLinear;
} // namespace platen::ops
