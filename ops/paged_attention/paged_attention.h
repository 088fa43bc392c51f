// Causal attention that owns a paged KV cache. Contract: paged_attention.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kPagedAttention;
} // namespace platen::ops
