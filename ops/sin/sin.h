// Elementwise sine. Contract: sin.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSin;
} // namespace platen::ops
