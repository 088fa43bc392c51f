// Elementwise difference with broadcasting. Contract: sub.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSub;
} // namespace platen::ops
