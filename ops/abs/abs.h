// Elementwise absolute value. Contract: abs.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kAbs;
} // namespace platen::ops
