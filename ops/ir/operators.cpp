// Definitions of the catalog's operators, generated.
#include "ops/ir/operators.h"

#include "mlir/IR/OpImplementation.h"

#define GET_OP_CLASSES
#include "ops/ir/ops.cpp.inc"

namespace platen::ir {

void PlatenDialect::registerOperators() {
  addOperations<
#define GET_OP_LIST
#include "ops/ir/ops.cpp.inc"
      >();
}

} // namespace platen::ir
