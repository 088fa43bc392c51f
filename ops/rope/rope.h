// Rotary position embedding from tables. Contract: rope.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kRope;
} // namespace platen::ops
