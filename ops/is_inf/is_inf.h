// Elementwise test for infinity. Contract: is_inf.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kIsInf;
} // namespace platen::ops
