// Elementwise trigonometric and hyperbolic functions and rounding. Contract: elementary.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kElementary;
} // namespace platen::ops
