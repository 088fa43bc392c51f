// Number of elements. Contract: size.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSize;
} // namespace platen::ops
