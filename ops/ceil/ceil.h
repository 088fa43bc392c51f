// Elementwise rounding up. Contract: ceil.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kCeil;
} // namespace platen::ops
