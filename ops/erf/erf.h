// Elementwise error function. Contract: erf.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kErf;
} // namespace platen::ops
