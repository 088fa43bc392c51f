// The same elements under another shape. Contract: reshape.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kReshape;
} // namespace platen::ops
