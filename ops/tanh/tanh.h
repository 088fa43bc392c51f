// Elementwise hyperbolic tangent. Contract: tanh.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kTanh;
} // namespace platen::ops
