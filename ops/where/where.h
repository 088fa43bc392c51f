// Elementwise choice with broadcasting. Contract: where.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kWhere;
} // namespace platen::ops
