// Elements chosen by index along an axis. Contract: gather_elements.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kGatherElements;
} // namespace platen::ops
