// Elementwise logical negation. Contract: not.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kNot;
} // namespace platen::ops
