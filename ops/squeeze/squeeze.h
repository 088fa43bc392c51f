// Removes axes of length 1. Contract: squeeze.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSqueeze;
} // namespace platen::ops
