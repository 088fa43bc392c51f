// Elementwise rounding down. Contract: floor.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kFloor;
} // namespace platen::ops
