// Elementwise test for NaN. Contract: is_nan.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kIsNan;
} // namespace platen::ops
