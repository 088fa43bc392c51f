// Cuts a tensor along an axis. Contract: split.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSplit;
} // namespace platen::ops
