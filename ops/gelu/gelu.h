// Gaussian error linear unit. Contract: gelu.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kGelu;
} // namespace platen::ops
