// Picks slices along an axis by index. Contract: gather.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kGather;
} // namespace platen::ops
