// The dialect's table of contents: structure, then one line an operator, in catalog order.
#ifndef PLATEN_OPS_IR_OPS
#define PLATEN_OPS_IR_OPS

include "ops/ir/structure.td"
include "ops/add/add.td"
include "ops/rms_norm/rms_norm.td"

#endif
