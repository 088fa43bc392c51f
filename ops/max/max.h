// Elementwise maximum of one or more tensors with broadcasting. Contract: max.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kMax;
} // namespace platen::ops
