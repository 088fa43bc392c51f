// Elementwise minimum of one or more tensors with broadcasting. Contract: min.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kMin;
} // namespace platen::ops
