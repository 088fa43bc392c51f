// Gather from a block-quantised table. Contract: gather_block_quantized.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kGatherBlockQuantized;
} // namespace platen::ops
