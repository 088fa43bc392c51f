// Root-mean-square normalisation over the last axis. Contract: rms_norm.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kRmsNorm;
} // namespace platen::ops
