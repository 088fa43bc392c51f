// The MLIR dialect `platen` and its structural ops: see ARCHITECTURE.md, "The intermediate
// representation". Classes of catalog operators stand in operators.h, which is slow to compile; ops
// are created by createOp (adaptor.h) and recognised by name.
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
#include "ops/ir/structure.h.inc"
