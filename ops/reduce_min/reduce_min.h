// Minimum over axes. Contract: reduce_min.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kReduceMin;
} // namespace platen::ops
