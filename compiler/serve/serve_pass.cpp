#include "compiler/serve/serve_pass.h"
#include "compiler/serve/serve.h"
#include "ops/ir/dialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace platen::compiler {

namespace {

struct ServePass : mlir::PassWrapper<ServePass, mlir::OperationPass<mlir::ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ServePass)

  ServePass() = default;
  ServePass(const ServePass &other) : PassWrapper(other) {}
  llvm::StringRef getArgument() const override { return "platen-serve"; }
  llvm::StringRef getDescription() const override {
    return "rewrite an exported decoder to the serving form @step";
  }
  void getDependentDialects(mlir::DialectRegistry &registry) const override {
    registry.insert<ir::PlatenDialect, mlir::func::FuncDialect>();
  }

  void runOnOperation() override {
    ServeOptions options;
    options.maxContext = maxContext;
    auto info = convertToServingForm(getOperation(), nullptr, options);
    if (!info.isOk()) {
      getOperation().emitError(info.status().toString());
      signalPassFailure();
    }
  }

  Option<int64_t> maxContext{*this, "max-context",
                             llvm::cl::desc("positions that a sequence may reach"),
                             llvm::cl::init(ServeOptions().maxContext)};
};

} // namespace

std::unique_ptr<mlir::Pass> createServePass() { return std::make_unique<ServePass>(); }

} // namespace platen::compiler
