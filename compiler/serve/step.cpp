// One backward pass finds what the outputs need, one forward pass writes it. A value that feeds no
// attention is written for the rows asked for only: select_rows stands where a value of all tokens
// meets an op that needs no more than rows.
#include "compiler/serve/step.h"
#include "compiler/serve/group_query.h"
#include "compiler/serve/rules.h"
#include "compiler/serve/tables.h"
#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"

#include "mlir/IR/IRMapping.h"

namespace platen::compiler::serve {

using base::Result;
using base::Status;
using base::unsupported;

namespace {

using Values = llvm::SmallVector<mlir::Value>;
/// Constants up to this size are written into @step; larger ones keep their ops.
constexpr size_t kSmallBytes = 1024;

class StepWriter {
public:
  StepWriter(mlir::ModuleOp module, const Evaluation &evaluation, const Patterns &patterns,
             const ServeOptions &options, ServeInfo &info)
      : evaluation_(evaluation), patterns_(patterns), builder_(module.getContext()),
        tables_(module, evaluation, options.maxContext, info), info_(info) {
    mlir::Type ids =
        mlir::RankedTensorType::get({mlir::ShapedType::kDynamic}, builder_.getI32Type());
    builder_.setInsertionPointToEnd(module.getBody());
    step_ = builder_.create<mlir::func::FuncOp>(original().getLoc(), "step",
                                                builder_.getFunctionType({ids, ids, ids, ids}, {}));
    mlir::Block *block = step_.addEntryBlock();
    builder_.setInsertionPointToStart(block);
    constexpr std::array<llvm::StringLiteral, 4> kNames{"tokens", "positions", "sequences", "rows"};
    for (unsigned i = 0; i < kNames.size(); ++i)
      step_.setArgAttr(i, "platen.name", builder_.getStringAttr(kNames[i]));
  }

  Status write() {
    Status status = writeBody();
    if (!status.isOk()) {
      step_.erase();
      tables_.discard();
    }
    return status;
  }

private:
  mlir::func::FuncOp original() const { return evaluation_.function(); }
  mlir::Value tokens() { return step_.getArgument(0); }
  mlir::Value positions() { return step_.getArgument(1); }
  mlir::Value sequences() { return step_.getArgument(2); }
  mlir::Value rows() { return step_.getArgument(3); }

  Status writeBody() {
    Values outputs;
    mlir::Operation *terminator = original().getBody().front().getTerminator();
    outputs.push_back(terminator->getOperand(evaluation_.roles().logits));
    for (unsigned index : evaluation_.roles().hidden)
      outputs.push_back(terminator->getOperand(index));
    PLATEN_RETURN_IF_ERROR(checkOutputs(outputs));
    reach(outputs, needed_);
    Values attended;
    for (mlir::Operation *op : needed_)
      if (isAttention(op))
        llvm::append_range(attended, inputsOf(op));
    if (attended.empty())
      return unsupported(
          "no attention over past_key_values was found between input_ids and logits");
    reach(attended, feedsAttention_);
    PLATEN_RETURN_IF_ERROR(checkNeeded());
    all_[original().getArgument(evaluation_.roles().tokens)] = tokens();
    for (mlir::Operation &op : original().getBody().front())
      if (needed_.contains(&op))
        PLATEN_RETURN_IF_ERROR(writeOp(&op));
    return finish(outputs);
  }

  Status checkOutputs(llvm::ArrayRef<mlir::Value> outputs) const {
    for (auto [i, output] : llvm::enumerate(outputs)) {
      unsigned index = i == 0 ? evaluation_.roles().logits : evaluation_.roles().hidden[i - 1];
      std::string origin = "output '" + outputName(original(), index) + "'";
      Extents extents = evaluation_.extents(output);
      auto layout = Layout::of(extents);
      if (!evaluation_.isData(output) || !layout.isOk() || layout->features().size() != 1)
        return unsupported(
            "it has dimensions " + toString(extents) + "; it must be [b, s, features]", origin);
      if (!mlir::getElementTypeOrSelf(output).isF32())
        return unsupported("it is not f32", origin);
    }
    return Status::ok();
  }

  bool isAttention(mlir::Operation *op) const {
    return patterns_.attentions.contains(op) || isGroupQuery(op);
  }

  /// The token-path values that the serving form of `op` reads.
  Values inputsOf(mlir::Operation *op) const {
    if (auto found = patterns_.attentions.find(op); found != patterns_.attentions.end())
      return {found->second.q, found->second.k, found->second.v};
    if (auto found = patterns_.ropes.find(op); found != patterns_.ropes.end())
      return {found->second.x};
    Values inputs;
    mlir::ValueRange operands = op->getOperands();
    for (mlir::Value operand : isGroupQuery(op) ? operands.take_front(3) : operands)
      if (evaluation_.isData(operand) && !mlir::isa<mlir::NoneType>(operand.getType()))
        inputs.push_back(operand);
    return inputs;
  }

  void reach(llvm::ArrayRef<mlir::Value> from, llvm::SetVector<mlir::Operation *> &ops) const {
    Values work(from);
    while (!work.empty()) {
      mlir::Operation *op = work.pop_back_val().getDefiningOp();
      if (op && ops.insert(op))
        llvm::append_range(work, inputsOf(op));
    }
  }

  /// A cache may be read by a known attention only.
  Status checkNeeded() const {
    for (mlir::Operation *op : needed_)
      for (mlir::Value input : inputsOf(op))
        if (auto argument = mlir::dyn_cast<mlir::BlockArgument>(input);
            argument && argument.getArgNumber() != evaluation_.roles().tokens)
          return unsupported(
              "'" + inputName(original(), argument.getArgNumber()) +
                  "' is read here, outside of an attention that is understood; the op is " +
                  evaluation_.describe(op),
              originOf(op));
    return Status::ok();
  }

  // --- values ---

  /// The serving form of a token-path value, for all tokens or for the rows asked for.
  mlir::Value data(mlir::Value value, bool rowsOnly) {
    if (!rowsOnly)
      return all_.lookup(value);
    mlir::Value &selected = selected_[value];
    if (!selected) {
      auto created =
          createValue(builder_, value.getLoc(), "select_rows", {all_.lookup(value), rows()});
      selected = created.isOk() ? *created : mlir::Value();
    }
    return selected;
  }

  /// A weight or constant as it stands in @step.
  Result<mlir::Value> fixed(mlir::Value value) {
    if (mlir::Value known = fixed_.lookup(value))
      return known;
    const ops::Tensor *constant = evaluation_.constant(value);
    if (constant && constant->bytes().size() <= kSmallBytes)
      return fixed_[value] = createConstant(builder_, value.getLoc(), *constant);
    mlir::Operation *op = value.getDefiningOp();
    if (!op || evaluation_.kind(value) > Kind::kWeight)
      return unsupported(
          "a value depends on positions in a way that is neither a mask nor a rotary embedding",
          op ? originOf(op) : "input");
    mlir::IRMapping mapping;
    for (mlir::Value operand : op->getOperands()) {
      PLATEN_ASSIGN_OR_RETURN(mlir::Value mapped, fixed(operand));
      mapping.map(operand, mapped);
    }
    mlir::Operation *clone = builder_.clone(*op, mapping);
    for (auto [from, to] : llvm::zip(op->getResults(), clone->getResults()))
      fixed_[from] = to;
    return fixed_[value];
  }

  // --- ops ---

  Status writeOp(mlir::Operation *op) {
    if (isAttention(op))
      return writeAttention(op);
    bool rowsOnly = !feedsAttention_.contains(op);
    Result<Values> results = Values();
    if (auto found = patterns_.ropes.find(op); found != patterns_.ropes.end()) {
      results = writeRope(op, found->second, rowsOnly);
    } else {
      auto fixedOf = [&](mlir::Value value) { return fixed(value); };
      auto dataOf = [&](mlir::Value value) { return data(value, rowsOnly); };
      results = rewriteOp(op, RuleContext{evaluation_, builder_, dataOf, fixedOf});
    }
    if (!results.isOk())
      return results.status();
    for (auto [from, to] : llvm::zip(op->getResults(), *results)) {
      PLATEN_RETURN_IF_ERROR(checkForm(op, from, to));
      (rowsOnly ? selected_ : all_)[from] = to;
    }
    return Status::ok();
  }

  /// What was written must be [T, features…] of the original; anything else is a bug here.
  Status checkForm(mlir::Operation *op, mlir::Value original, mlir::Value written) const {
    auto layout = Layout::of(evaluation_.extents(original));
    auto type = mlir::dyn_cast<mlir::RankedTensorType>(written.getType());
    if (!layout.isOk() || !type || type.getRank() == 0 ||
        type.getShape().drop_front() != llvm::ArrayRef(layout->features()))
      return base::internalError("the serving form of " + toString(evaluation_.extents(original)) +
                                     " has other features",
                                 originOf(op));
    return Status::ok();
  }

  Result<Values> writeRope(mlir::Operation *op, const Rope &rope, bool rowsOnly) {
    mlir::Value x = data(rope.x, rowsOnly);
    if (mlir::cast<mlir::RankedTensorType>(x.getType()).getRank() != 3)
      return unsupported("a rotary embedding is applied to dimensions " +
                             toString(evaluation_.extents(rope.x)) +
                             "; it must be applied to heads, [b, heads, s, head size]",
                         originOf(op));
    PLATEN_ASSIGN_OR_RETURN(TablePair tables, tables_.evaluated(op, rope, builder_));
    mlir::Value at = positions();
    if (rowsOnly) {
      PLATEN_ASSIGN_OR_RETURN(at, createValue(builder_, op->getLoc(), "select_rows", {at, rows()}));
    }
    PLATEN_ASSIGN_OR_RETURN(mlir::Value rotated,
                            createValue(builder_, op->getLoc(), "rope",
                                        {x, tables.cos, tables.sin, at},
                                        {{"interleaved", int64_t{rope.interleaved}}}));
    return Values{rotated};
  }

  Status writeAttention(mlir::Operation *op) {
    ServedLayer layer{};
    Values operands;
    auto found = patterns_.attentions.find(op);
    if (found != patterns_.attentions.end()) {
      const Attention &a = found->second;
      layer = {a.layer, a.heads,  a.kvHeads, a.headSize, patterns_.windows.lookup(a.mask),
               a.scale, a.softcap};
      for (mlir::Value value : {a.q, a.k, a.v})
        operands.push_back(data(value, /*rowsOnly=*/false));
      operands.append({positions(), sequences(), mlir::Value()});
    } else {
      auto dataOf = [&](mlir::Value value) { return data(value, /*rowsOnly=*/false); };
      auto fixedOf = [&](mlir::Value value) { return fixed(value); };
      GroupQueryWriter writer{op, {evaluation_, builder_, dataOf, fixedOf}, tables_, positions()};
      PLATEN_ASSIGN_OR_RETURN(GroupQuery written, writer.write());
      layer = written.layer;
      operands.append({written.q, written.k, written.v, positions(), sequences(), written.sinks});
    }
    auto attention = createValue(builder_, op->getLoc(), "paged_attention", operands,
                                 {{"layer", layer.layer},
                                  {"scale", layer.scale},
                                  {"window", layer.window},
                                  {"softcap", layer.softcap}});
    if (!attention.isOk())
      return attention.status().at(originOf(op));
    mlir::Value result = op->getResult(0);
    PLATEN_ASSIGN_OR_RETURN(Layout layout, Layout::of(evaluation_.extents(result)));
    PLATEN_ASSIGN_OR_RETURN(all_[result],
                            reshapeFeatures(builder_, op->getLoc(), *attention, layout.features()));
    info_.layers.push_back(layer);
    return checkForm(op, result, all_[result]);
  }

  Status finish(llvm::ArrayRef<mlir::Value> outputs) {
    Values results;
    for (mlir::Value output : outputs)
      results.push_back(data(output, /*rowsOnly=*/true));
    builder_.create<mlir::func::ReturnOp>(original().getLoc(), results);
    for (mlir::Operation &op : llvm::make_early_inc_range(llvm::reverse(step_.getBody().front())))
      if (op.use_empty() && !op.hasTrait<mlir::OpTrait::IsTerminator>())
        op.erase();
    step_.setFunctionType(
        builder_.getFunctionType(step_.getArgumentTypes(), mlir::ValueRange(results).getTypes()));
    for (unsigned i = 0; i < results.size(); ++i) {
      unsigned index = i == 0 ? evaluation_.roles().logits : evaluation_.roles().hidden[i - 1];
      step_.setResultAttr(i, "platen.name", builder_.getStringAttr(outputName(original(), index)));
    }
    info_.vocabulary = evaluation_.extents(outputs[0]).back()[0];
    for (mlir::Operation *op : needed_)
      for (mlir::Value input : inputsOf(op))
        if (input == original().getArgument(evaluation_.roles().tokens) && info_.hidden == 0)
          info_.hidden = evaluation_.extents(op->getResult(0)).back()[0];
    return Status::ok();
  }

  const Evaluation &evaluation_;
  const Patterns &patterns_;
  mlir::OpBuilder builder_;
  Tables tables_;
  ServeInfo &info_;
  mlir::func::FuncOp step_;
  llvm::SetVector<mlir::Operation *> needed_, feedsAttention_;
  llvm::DenseMap<mlir::Value, mlir::Value> all_, selected_, fixed_;
};

} // namespace

Status writeStep(mlir::ModuleOp module, const Evaluation &evaluation, const Patterns &patterns,
                 const ServeOptions &options, ServeInfo &info) {
  return StepWriter(module, evaluation, patterns, options, info).write();
}

} // namespace platen::compiler::serve
