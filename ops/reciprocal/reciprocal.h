// Elementwise reciprocal. Contract: reciprocal.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kReciprocal;
} // namespace platen::ops
