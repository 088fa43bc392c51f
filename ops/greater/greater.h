// Elementwise I1 > I2, with broadcasting. Contract: greater.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kGreater;
} // namespace platen::ops
