// Inserts axes of length 1. Contract: unsqueeze.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kUnsqueeze;
} // namespace platen::ops
