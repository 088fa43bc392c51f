// One at the first greatest element of each row. Contract: hardmax.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kHardmax;
} // namespace platen::ops
