// The dimensions of a tensor. Contract: shape.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kShape;
} // namespace platen::ops
