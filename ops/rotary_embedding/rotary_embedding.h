// Rotary position embedding of exported graphs. Contract: rotary_embedding.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kRotaryEmbedding;
} // namespace platen::ops
