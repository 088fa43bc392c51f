// Elementwise exponential. Contract: exp.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kExp;
} // namespace platen::ops
