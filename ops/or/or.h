// Elementwise logical or with broadcasting. Contract: or.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kOr;
} // namespace platen::ops
