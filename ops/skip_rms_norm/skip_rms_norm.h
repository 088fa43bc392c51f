// Residual sum and its root-mean-square normalisation. Contract: skip_rms_norm.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSkipRmsNorm;
} // namespace platen::ops
