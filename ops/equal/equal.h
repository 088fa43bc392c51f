// Elementwise equality, with broadcasting. Contract: equal.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kEqual;
} // namespace platen::ops
