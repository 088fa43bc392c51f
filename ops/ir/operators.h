// The classes of the catalog's operators, generated. Including this costs seconds: see dialect.h.
#pragma once

#include "ops/ir/dialect.h"

#define GET_OP_CLASSES
#include "ops/ir/ops.h.inc"
