// Elementwise natural logarithm. Contract: log.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kLog;
} // namespace platen::ops
