// Replaces slices chosen by index tuples. Contract: scatter_nd.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kScatterNd;
} // namespace platen::ops
