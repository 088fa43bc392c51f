// Elementwise quotient with broadcasting. Contract: div.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kDiv;
} // namespace platen::ops
