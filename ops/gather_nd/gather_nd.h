// Picks slices by index tuples. Contract: gather_nd.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kGatherNd;
} // namespace platen::ops
