// Quantisation to integers. Contract: quantize_linear.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kQuantizeLinear;
} // namespace platen::ops
