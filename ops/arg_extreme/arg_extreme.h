// Index of the greatest or least element along an axis. Contract: arg_extreme.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kArgExtreme;
} // namespace platen::ops
