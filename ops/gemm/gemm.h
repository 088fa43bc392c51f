// Scaled matrix product plus matrix. Contract: gemm.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kGemm;
} // namespace platen::ops
