// Convolution over one or more axes. Contract: conv.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kConv;
} // namespace platen::ops
