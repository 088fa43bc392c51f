// An arithmetic progression. Contract: range.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kRange;
} // namespace platen::ops
