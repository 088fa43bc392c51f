// Layer normalisation. Contract: layer_norm.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kLayerNorm;
} // namespace platen::ops
