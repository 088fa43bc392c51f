// Two axes out of many. Contract: flatten.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kFlatten;
} // namespace platen::ops
