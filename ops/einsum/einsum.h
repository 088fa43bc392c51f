// Sum of products over named axes. Contract: einsum.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kEinsum;
} // namespace platen::ops
