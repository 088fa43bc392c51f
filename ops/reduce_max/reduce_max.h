// Maximum over axes. Contract: reduce_max.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kReduceMax;
} // namespace platen::ops
