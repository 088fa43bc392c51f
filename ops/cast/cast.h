// Conversion to another dtype. Contract: cast.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kCast;
} // namespace platen::ops
