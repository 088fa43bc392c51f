// A tensor filled with one value. Contract: constant_of_shape.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kConstantOfShape;
} // namespace platen::ops
