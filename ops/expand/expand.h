// Broadcasting to a shape. Contract: expand.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kExpand;
} // namespace platen::ops
