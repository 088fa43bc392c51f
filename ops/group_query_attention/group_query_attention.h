// Grouped-query attention over a past. Contract: group_query_attention.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kGroupQueryAttention;
} // namespace platen::ops
