// Matrix product by block-quantised weights. Contract: matmul_nbits.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kMatmulNbits;
} // namespace platen::ops
