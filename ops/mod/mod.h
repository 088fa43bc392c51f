// Elementwise remainder of a division. Contract: mod.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kMod;
} // namespace platen::ops
