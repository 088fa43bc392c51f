// The pass itself: evaluation through the catalog, type refinement, clean-up. What is known of the
// elements of shape vectors lives in shape_values.h.
#include "compiler/import/fold.h"

#include "compiler/import/shape_values.h"
#include "ops/ir/dialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Transforms/CSE.h"
#include "llvm/ADT/DenseSet.h"

namespace platen::compiler {
namespace {

using base::Result;
using base::Status;
using ops::Tensor;
using ops::TensorType;

/// The operands of one catalog op as the catalog wants them. Pointers are null where absent or
/// unknown.
struct Operands {
  std::vector<std::optional<TensorType>> types;
  std::vector<std::optional<Tensor>> values;
  std::vector<const TensorType *> typePointers;
  std::vector<const Tensor *> valuePointers;
  bool allKnown = true;

  explicit Operands(mlir::Operation &op) {
    for (mlir::Value operand : op.getOperands()) {
      types.push_back(ir::toTensorType(operand.getType()));
      values.push_back(ir::constantValue(operand));
      allKnown &= values.back().has_value() || !types.back();
    }
    for (size_t i = 0; i < types.size(); ++i) {
      typePointers.push_back(types[i] ? &*types[i] : nullptr);
      valuePointers.push_back(values[i] ? &*values[i] : nullptr);
    }
  }
};

bool fitsIntoIr(const TensorType &type) {
  if (!type.isStatic())
    return false;
  int64_t limit = kFoldLimitBytes * 8 / base::bitWidth(type.dtype), count = 1;
  for (int64_t dim : type.dims)
    if (dim < 0 || __builtin_mul_overflow(count, dim, &count) || count > limit)
      return false;
  return true;
}

class Folder {
public:
  explicit Folder(mlir::func::FuncOp function) : function_(function), shapes_(function) {}

  /// Leaves replaced ops in place, dead: what is known is keyed by values, whose addresses must not
  /// be reused.
  Status run() {
    for (mlir::Operation &op : llvm::make_early_inc_range(function_.getBody().front()))
      if (const ops::OpSpec *spec = catalogOp(op))
        if (Status status = visit(op, *spec); !status.isOk())
          return status.at(locationName(op));
    updateFunctionType();
    return Status::ok();
  }

private:
  static const ops::OpSpec *catalogOp(mlir::Operation &op) {
    if (op.getName().getDialectNamespace() != "platen")
      return nullptr;
    llvm::StringRef name = op.getName().stripDialect();
    return ops::findOp({name.data(), name.size()});
  }

  static std::string locationName(mlir::Operation &op) {
    if (auto name = mlir::dyn_cast<mlir::NameLoc>(op.getLoc()))
      return name.getName().str();
    return op.getName().getStringRef().str();
  }

  Status visit(mlir::Operation &op, const ops::OpSpec &spec) {
    Operands operands(op);
    ops::Attributes attributes = ir::toAttributes(spec, op.getAttrDictionary());
    PLATEN_ASSIGN_OR_RETURN(
        std::vector<TensorType> types,
        ops::inferTypes(spec, operands.typePointers, operands.valuePointers, attributes));
    PLATEN_RETURN_IF_ERROR(refine(op, types));
    if (operands.allKnown && llvm::all_of(types, fitsIntoIr)) {
      PLATEN_ASSIGN_OR_RETURN(std::vector<Tensor> results,
                              ops::evaluate(spec, operands.valuePointers, attributes));
      for (auto [result, tensor] : llvm::zip(op.getResults(), results))
        replaceByConstant(result, tensor);
      return Status::ok();
    }
    return followShapes(op, spec);
  }

  /// Narrows the result types to what both the op and its shape rule know.
  static Status refine(mlir::Operation &op, std::span<const TensorType> inferred) {
    for (auto [result, type] : llvm::zip(op.getResults(), inferred)) {
      auto known = ir::toTensorType(result.getType());
      TensorType merged = type;
      if (!known || known->dtype != type.dtype || known->rank() != type.rank())
        return base::internalError("the op promised another dtype or rank than " + type.toString());
      for (size_t d = 0; d < merged.dims.size(); ++d) {
        if (merged.dims[d] == ops::kDynamic)
          merged.dims[d] = known->dims[d];
        else if (known->dims[d] != ops::kDynamic && known->dims[d] != merged.dims[d])
          return base::invalidArgument("the result is " + known->toString() +
                                       " on one account and " + type.toString() + " on another");
      }
      result.setType(ir::toMlirType(op.getContext(), merged));
    }
    return Status::ok();
  }

  void replaceByConstant(mlir::Value value, const Tensor &tensor) {
    mlir::OpBuilder builder(value.getContext());
    builder.setInsertionPointAfterValue(value);
    auto constant = builder.create<ir::ConstantOp>(
        value.getLoc(), mlir::ElementsAttr(ir::toMlirConstant(value.getContext(), tensor)));
    value.replaceAllUsesWith(constant.getResult());
  }

  Status followShapes(mlir::Operation &op, const ops::OpSpec &spec) {
    PLATEN_RETURN_IF_ERROR(shapes_.visit(op, spec));
    if (auto tensor = shapes_.asConstant(op.getResults())) {
      replaceByConstant(op.getResult(0), *tensor);
    } else if (mlir::Value same = shapes_.sameOperand(op)) {
      op.getResult(0).replaceAllUsesWith(same);
    } else if (auto dims = shapes_.resultDims(op)) {
      auto type = *ir::toTensorType(op.getResult(0).getType());
      type.dims = *dims;
      return refine(op, std::span(&type, 1));
    }
    return Status::ok();
  }

  void updateFunctionType() {
    mlir::Operation *end = function_.getBody().front().getTerminator();
    function_.setType(mlir::FunctionType::get(function_.getContext(), function_.getArgumentTypes(),
                                              end->getOperandTypes()));
  }

  mlir::func::FuncOp function_;
  ShapeValues shapes_;
};

void eraseUnusedInitializers(mlir::ModuleOp module) {
  llvm::DenseSet<llvm::StringRef> used;
  module.walk([&](ir::WeightOp weight) { used.insert(weight.getInitializer()); });
  for (auto initializer : llvm::make_early_inc_range(module.getOps<ir::InitializerOp>()))
    if (!used.contains(initializer.getSymName()))
      initializer.erase();
}

class FoldPass : public mlir::PassWrapper<FoldPass, mlir::OperationPass<mlir::ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(FoldPass)
  llvm::StringRef getArgument() const final { return "platen-fold"; }
  llvm::StringRef getDescription() const final {
    return "evaluates constants and shape arithmetic; removes dead and double ops";
  }

  void runOnOperation() final {
    for (auto function : getOperation().getOps<mlir::func::FuncOp>()) {
      if (function.isExternal())
        continue;
      if (Status status = Folder(function).run(); !status.isOk()) {
        function.emitError(status.toString());
        return signalPassFailure();
      }
      mlir::IRRewriter rewriter(&getContext());
      mlir::DominanceInfo dominance(function);
      mlir::eliminateCommonSubExpressions(rewriter, dominance, function);
      eraseDead(function);
    }
    eraseUnusedInitializers(getOperation());
  }

private:
  static void eraseDead(mlir::func::FuncOp function) {
    for (mlir::Operation &op :
         llvm::make_early_inc_range(llvm::reverse(function.getBody().front())))
      if (mlir::isOpTriviallyDead(&op))
        op.erase();
  }
};

} // namespace

std::unique_ptr<mlir::Pass> createFoldPass() { return std::make_unique<FoldPass>(); }

} // namespace platen::compiler
