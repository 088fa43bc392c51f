// Rows that are one value at an index and another elsewhere. Contract: one_hot.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kOneHot;
} // namespace platen::ops
