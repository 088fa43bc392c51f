// Elementwise power with broadcasting. Contract: pow.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kPow;
} // namespace platen::ops
