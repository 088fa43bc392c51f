// Repetition along axes. Contract: tile.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kTile;
} // namespace platen::ops
