// Elementwise negation. Contract: neg.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kNeg;
} // namespace platen::ops
