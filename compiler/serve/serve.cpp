// Roles, runs, patterns, then @step; each file beside this one does one of them.
#include "compiler/serve/serve.h"
#include "compiler/serve/step.h"
#include "ops/ir/dialect.h"

#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Transforms/CSE.h"

namespace platen::compiler {

using base::Result;
using base::Status;

namespace {

void noteRoles(mlir::func::FuncOp function, const serve::Roles &roles, ServeInfo &info) {
  auto note = [&](const std::string &name, std::string role) {
    info.roles[name] = std::move(role);
  };
  note(serve::inputName(function, roles.tokens), "tokens");
  if (roles.attentionMask)
    note(serve::inputName(function, *roles.attentionMask), "attention mask");
  if (roles.positions)
    note(serve::inputName(function, *roles.positions), "positions");
  for (const auto &[layer, pair] : roles.past) {
    note(serve::inputName(function, *pair.key), "past keys of layer " + std::to_string(layer));
    note(serve::inputName(function, *pair.value), "past values of layer " + std::to_string(layer));
  }
  for (const auto &[layer, pair] : roles.present) {
    note(serve::outputName(function, *pair.key), "present keys of layer " + std::to_string(layer));
    note(serve::outputName(function, *pair.value),
         "present values of layer " + std::to_string(layer));
  }
  note(serve::outputName(function, roles.logits), "logits");
  for (unsigned index : roles.hidden)
    note(serve::outputName(function, index), "hidden states");
}

/// Initializers that no function reads any more.
void eraseUnusedInitializers(mlir::ModuleOp module) {
  llvm::DenseSet<mlir::StringAttr> used;
  module.walk([&](ir::WeightOp weight) { used.insert(weight.getInitializerAttr().getAttr()); });
  for (auto initializer : llvm::make_early_inc_range(module.getOps<ir::InitializerOp>()))
    if (!used.contains(initializer.getSymNameAttr()))
      initializer.erase();
}

} // namespace

Result<ServeInfo> convertToServingForm(mlir::ModuleOp module, const ir::WeightReader &reader,
                                       const ServeOptions &options) {
  auto function = module.lookupSymbol<mlir::func::FuncOp>("main");
  if (!function || !function.getBody().hasOneBlock())
    return base::invalidArgument("the module has no function @main with one block");
  if (options.maxContext < 16)
    return base::invalidArgument("the maximum context is " + std::to_string(options.maxContext) +
                                 " positions; it must be at least 16");
  ServeInfo info;
  info.maxContext = options.maxContext;
  PLATEN_ASSIGN_OR_RETURN(serve::Roles roles, serve::findRoles(function));
  noteRoles(function, roles, info);
  mlir::IRRewriter rewriter(module.getContext());
  mlir::DominanceInfo dominance(function);
  mlir::eliminateCommonSubExpressions(rewriter, dominance, function);
  PLATEN_ASSIGN_OR_RETURN(serve::Evaluation evaluation,
                          serve::Evaluation::create(function, roles, reader));
  PLATEN_ASSIGN_OR_RETURN(serve::Patterns patterns,
                          serve::findPatterns(evaluation, options.maxContext));
  info.dialect = patterns.attentions.empty() ? "GroupQueryAttention" : "decomposed attention";
  PLATEN_RETURN_IF_ERROR(serve::writeStep(module, evaluation, patterns, options, info));
  if (!options.keepMain) {
    function.erase();
    eraseUnusedInitializers(module);
  }
  if (mlir::failed(mlir::verify(module)))
    return base::internalError("the serving form does not verify");
  return info;
}

} // namespace platen::compiler
