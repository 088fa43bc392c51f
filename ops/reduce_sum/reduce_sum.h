// Sum over axes. Contract: reduce_sum.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kReduceSum;
} // namespace platen::ops
