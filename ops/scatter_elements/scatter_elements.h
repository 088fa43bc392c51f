// Replaces elements chosen by index along an axis. Contract: scatter_elements.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kScatterElements;
} // namespace platen::ops
