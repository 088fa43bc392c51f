// Matrix product with batch broadcasting. Contract: matmul.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kMatmul;
} // namespace platen::ops
