// Keeps the rows that the head is asked for. Contract: select_rows.md.
#pragma once

#include "ops/op.h"

namespace platen::ops {
extern const OpSpec kSelectRows;
} // namespace platen::ops
