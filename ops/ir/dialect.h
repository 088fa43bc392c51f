// The MLIR dialect `platen`: see ARCHITECTURE.md, "The intermediate representation".
#pragma once

#include "ops/ir/adaptor.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "ops/ir/dialect.h.inc"
#define GET_OP_CLASSES
#include "ops/ir/ops.h.inc"
