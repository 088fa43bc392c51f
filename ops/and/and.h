// Elementwise logical and with broadcasting. Contract: and.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kAnd;
} // namespace platen::ops
