// Running sum or product along an axis. Contract: cumulative.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kCumulative;
} // namespace platen::ops
