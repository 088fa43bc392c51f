// Mean over axes. Contract: reduce_mean.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kReduceMean;
} // namespace platen::ops
