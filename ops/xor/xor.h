// Elementwise logical xor with broadcasting. Contract: xor.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kXor;
} // namespace platen::ops
