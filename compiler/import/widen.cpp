// See widen.h.
#include "compiler/import/widen.h"

#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"
#include "ops/ir/widened_type.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace platen::compiler {

namespace {

bool isHalf(mlir::Type element) { return element.isF16() || element.isBF16(); }

mlir::ElementsAttr widened(mlir::ElementsAttr attribute) {
  const ops::Tensor half = *ir::toTensor(attribute);
  ops::Tensor wide(ops::TensorType{ops::DType::kF32, {half.dims().begin(), half.dims().end()}});
  for (int64_t i = 0, count = wide.elementCount(); i < count; ++i)
    wide.set(i, half.get(i));
  return ir::toMlirConstant(attribute.getContext(), wide);
}

/// Constants, and attributes that name the result's element type.
void widenAttributes(mlir::Operation &op) {
  for (mlir::NamedAttribute attribute : op.getAttrs()) {
    if (auto elements = mlir::dyn_cast<mlir::ElementsAttr>(attribute.getValue());
        elements && isHalf(elements.getElementType()))
      op.setAttr(attribute.getName(), widened(elements));
    auto text = mlir::dyn_cast<mlir::StringAttr>(attribute.getValue());
    const bool names = attribute.getName() == "to" || attribute.getName() == "dtype";
    if (text && names && (text.getValue() == "f16" || text.getValue() == "bf16"))
      op.setAttr(attribute.getName(), mlir::StringAttr::get(op.getContext(), "f32"));
  }
}

void widen(mlir::func::FuncOp function) {
  mlir::Block &block = function.getBody().front();
  for (mlir::BlockArgument argument : block.getArguments())
    argument.setType(ir::widenedType(argument.getType()));
  for (mlir::Operation &op : llvm::make_early_inc_range(block)) {
    widenAttributes(op);
    for (mlir::Value result : op.getResults())
      result.setType(ir::widenedType(result.getType()));
    const bool isCast = op.getName().getStringRef() == "platen.cast";
    if (isCast && op.getOperand(0).getType() == op.getResult(0).getType()) {
      op.getResult(0).replaceAllUsesWith(op.getOperand(0));
      op.erase();
    }
  }
  function.setType(mlir::FunctionType::get(function.getContext(), block.getArgumentTypes(),
                                           block.getTerminator()->getOperandTypes()));
}

class WidenPass : public mlir::PassWrapper<WidenPass, mlir::OperationPass<mlir::ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(WidenPass)
  llvm::StringRef getArgument() const final { return "platen-widen"; }
  llvm::StringRef getDescription() const final {
    return "gives values of f16 and bf16 the type f32; weights keep their bytes";
  }
  void runOnOperation() final {
    for (auto function : getOperation().getOps<mlir::func::FuncOp>())
      if (!function.isExternal())
        widen(function);
  }
};

} // namespace

std::unique_ptr<mlir::Pass> createWidenPass() { return std::make_unique<WidenPass>(); }

} // namespace platen::compiler
