// Registration and the few hand-written methods of the structural ops.
#include "ops/ir/dialect.h"

#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/OpImplementation.h"

#include "ops/ir/dialect.cpp.inc"

namespace platen::ir {

void PlatenDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "ops/ir/structure.cpp.inc"
      >();
  registerOperators();
}

mlir::Operation *PlatenDialect::materializeConstant(mlir::OpBuilder &builder, mlir::Attribute value,
                                                    mlir::Type type, mlir::Location location) {
  auto elements = mlir::dyn_cast<mlir::ElementsAttr>(value);
  if (!elements || elements.getType() != type)
    return nullptr;
  return builder.create<ConstantOp>(location, elements);
}

mlir::OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValue(); }

llvm::LogicalResult FusedOp::verify() {
  mlir::Block &block = getBody().front();
  if (!llvm::equal(block.getArgumentTypes(), getInputs().getTypes()))
    return emitOpError("the body's arguments must have the types of the inputs");
  auto yield = mlir::dyn_cast<YieldOp>(block.getTerminator());
  if (!yield || !llvm::equal(yield.getValues().getTypes(), getResultTypes()))
    return emitOpError("the body must end in platen.yield of the results' types");
  return mlir::success();
}

} // namespace platen::ir

#define GET_OP_CLASSES
#include "ops/ir/structure.cpp.inc"
