// Conversion to another dtype. Contract: cast.md.
#pragma once

#include "ops/loops/lowering.h"
#include "ops/op.h"

namespace platen::ops {

/// Loops of every conversion from the first operand's dtype to the result's.
base::Status lowerCast(loops::Lowering &op);

extern const OpSpec kCast;
} // namespace platen::ops
