// The greatest or least elements along an axis. Contract: top_k.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kTopK;
} // namespace platen::ops
