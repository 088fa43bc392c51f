// One rule a family of ops; a rule checks that what it moves or reduces are features, then creates
// the same op with axes counted in [T, features…].
#include "compiler/serve/rules.h"
#include "compiler/serve/trace.h"
#include "ops/ir/adaptor.h"
#include "ops/ir/dialect.h"

#include "llvm/ADT/StringSwitch.h"

#include <algorithm>

namespace platen::compiler::serve {

using base::Result;
using base::Status;
using base::unsupported;
using ops::Tensor;

namespace {

using Values = llvm::SmallVector<mlir::Value>;

class Rewriter {
public:
  Rewriter(mlir::Operation *op, const RuleContext &context)
      : op_(op), context_(context), evaluation_(context.evaluation),
        name_(op->getName().stripDialect()) {}

  Result<Values> rewrite() {
    using Rule = Result<Values> (Rewriter::*)();
    Rule rule =
        llvm::StringSwitch<Rule>(name_)
            .Cases("add", "sub", "mul", "div", "pow", "min", "max", "where", "clip",
                   &Rewriter::elementwise)
            .Cases("neg", "abs", "exp", "log", "sqrt", "reciprocal", "sigmoid", "tanh", "erf",
                   "gelu", &Rewriter::elementwise)
            .Cases("relu", "silu", "softplus", "cast", &Rewriter::elementwise)
            .Cases("equal", "less", "less_or_equal", "greater", "greater_or_equal", "is_nan", "and",
                   "or", "not", &Rewriter::elementwise)
            .Cases("reshape", "squeeze", "unsqueeze", "flatten", &Rewriter::reshape)
            .Case("transpose", &Rewriter::transpose)
            .Case("expand", &Rewriter::expand)
            .Case("slice", &Rewriter::slice)
            .Case("split", &Rewriter::split)
            .Case("concat", &Rewriter::concat)
            .Case("gather", &Rewriter::gather)
            .Case("gather_block_quantized", &Rewriter::gatherTable)
            .Cases("reduce_mean", "reduce_sum", "reduce_max", "reduce_min", &Rewriter::reduce)
            .Cases("softmax", "log_softmax", "rms_norm", "layer_norm", &Rewriter::lastAxis)
            .Case("skip_rms_norm", &Rewriter::skipNorm)
            .Case("matmul", &Rewriter::matmul)
            .Case("matmul_nbits", &Rewriter::lastAxis)
            .Default(nullptr);
    if (!rule)
      return refuse("there is no rule for this op on the token path");
    return (this->*rule)();
  }

private:
  Status refuse(const std::string &why) const {
    return unsupported(why + "; the op is " + evaluation_.describe(op_), originOf(op_));
  }

  Result<Layout> layoutOf(mlir::Value value) const {
    auto layout = Layout::of(evaluation_.extents(value));
    if (!layout.isOk())
      return refuse(std::string(layout.status().message()));
    return layout;
  }

  ops::Attributes attributes() const {
    const ops::OpSpec *spec = ops::findOp({name_.data(), name_.size()});
    return ir::toAttributes(*spec, op_->getAttrDictionary());
  }

  Result<Values> create(mlir::ValueRange operands, const ops::Attributes &attributes) const {
    auto created = ir::createOp(context_.builder, op_->getLoc(), {name_.data(), name_.size()},
                                operands, attributes);
    if (!created.isOk())
      return created.status().at(originOf(op_));
    return Values((*created)->getResults());
  }

  mlir::Value constantInts(llvm::ArrayRef<int64_t> values) const {
    return createConstant(context_.builder, op_->getLoc(), Tensor::vectorI64(values));
  }

  Result<Values> same(mlir::Value operand) const { return Values{context_.data(operand)}; }

  Result<int64_t> featureAxis(const Layout &layout, int64_t axis) const {
    if (axis < 0)
      axis += layout.rank();
    if (axis < 0 || axis >= layout.rank() || !layout.isFeature(axis))
      return refuse("it works along axis " + std::to_string(axis) +
                    ", which is no feature dimension");
    return axis;
  }

  /// An integer operand that is a constant, or nullopt if it is absent.
  Result<std::optional<std::vector<int64_t>>> ints(unsigned index) const {
    std::optional<std::vector<int64_t>> none;
    if (index >= op_->getNumOperands() ||
        mlir::isa<mlir::NoneType>(op_->getOperand(index).getType()))
      return none;
    const Tensor *value = evaluation_.constant(op_->getOperand(index));
    if (!value)
      return refuse("operand " + std::to_string(index) + " depends on the sequence");
    return std::optional(value->toInts());
  }

  // --- elementwise ---

  /// The serving form of a token-path operand, broadcast-compatible with a result of that layout.
  Result<mlir::Value> alignData(mlir::Value operand, const Layout &result) const {
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(operand));
    int64_t missing = result.rank() - layout.rank();
    std::vector<int64_t> features(static_cast<size_t>(std::max<int64_t>(missing, 0)), 1);
    for (int64_t dim = 0; dim < result.rank(); ++dim)
      if (dim < missing ? !result.isFeature(dim) : layout.dim(dim - missing) != result.dim(dim))
        return refuse("its operands' token dimensions do not lie in the same place");
    features.insert(features.end(), layout.features().begin(), layout.features().end());
    return reshapeFeatures(context_.builder, op_->getLoc(), context_.data(operand), features);
  }

  /// A weight or constant, broadcast-compatible with a result of that layout.
  Result<mlir::Value> alignFixed(mlir::Value operand, const Layout &result) const {
    Extents extents = evaluation_.extents(operand);
    auto rank = static_cast<int64_t>(extents.size());
    int64_t missing = result.rank() - rank;
    std::vector<int64_t> dims;
    bool skips = false;
    for (int64_t i = 0; i < rank; ++i) {
      int64_t extent = extents[static_cast<size_t>(i)][0];
      if (result.isFeature(missing + i))
        dims.push_back(extent);
      else if (extent != 1)
        return refuse("operand with dimensions " + toString(extents) + " differs between tokens");
      else
        skips = true;
      if (result.dim(missing + i).factor != 1)
        dims.push_back(1);
    }
    PLATEN_ASSIGN_OR_RETURN(mlir::Value fixed, context_.fixed(operand));
    if (!skips)
      return fixed;
    while (!dims.empty() && dims.front() == 1)
      dims.erase(dims.begin());
    if (const Tensor *value = evaluation_.constant(operand); value && ir::constantValue(fixed)) {
      Tensor reshaped(ops::TensorType{value->dtype(), dims});
      std::ranges::copy(value->bytes(), reshaped.bytes().begin());
      return createConstant(context_.builder, op_->getLoc(), reshaped);
    }
    mlir::Value shape = constantInts(dims);
    return createValue(context_.builder, op_->getLoc(), "reshape", {fixed, shape});
  }

  Result<Values> elementwise() {
    mlir::Value result = op_->getResult(0);
    if (name_ == "cast" && behindCasts(result) != result)
      return same(op_->getOperand(0));
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(result));
    Values operands;
    for (mlir::Value operand : op_->getOperands()) {
      if (mlir::isa<mlir::NoneType>(operand.getType())) {
        operands.push_back({});
        continue;
      }
      auto aligned =
          evaluation_.isData(operand) ? alignData(operand, layout) : alignFixed(operand, layout);
      if (!aligned.isOk())
        return aligned.status();
      operands.push_back(*aligned);
    }
    return create(operands, attributes());
  }

  // --- moves ---

  Result<Values> reshape() {
    mlir::Value x = op_->getOperand(0);
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(op_->getResult(0)));
    Status clean = checkReshape(evaluation_.extents(x), evaluation_.extents(op_->getResult(0)));
    if (!clean.isOk())
      return refuse(std::string(clean.message()));
    PLATEN_ASSIGN_OR_RETURN(
        mlir::Value reshaped,
        reshapeFeatures(context_.builder, op_->getLoc(), context_.data(x), layout.features()));
    return Values{reshaped};
  }

  Result<Values> transpose() {
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(op_->getOperand(0)));
    std::vector<int64_t> perm = ops::intsAttribute(attributes(), "perm");
    if (perm.empty())
      for (int64_t dim = layout.rank(); dim-- > 0;)
        perm.push_back(dim);
    std::vector<int64_t> features = featurePermutation(layout, perm);
    if (std::ranges::is_sorted(features))
      return same(op_->getOperand(0));
    return create(context_.data(op_->getOperand(0)), {{"perm", features}});
  }

  Result<Values> expand() {
    mlir::Value x = op_->getOperand(0), result = op_->getResult(0);
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(result));
    PLATEN_ASSIGN_OR_RETURN(mlir::Value aligned, alignData(x, layout));
    if (evaluation_.extents(x) == evaluation_.extents(result))
      return Values{aligned};
    std::vector<int64_t> target{1};
    target.insert(target.end(), layout.features().begin(), layout.features().end());
    return create({aligned, constantInts(target)}, {});
  }

  /// One axis of a slice, normalised for a positive step.
  struct Cut {
    int64_t axis, start, end, step;
    friend bool operator==(const Cut &, const Cut &) = default;
  };

  /// The cuts as run `run` of kSizes has them.
  Result<std::vector<Cut>> cutsAt(size_t run, const Extents &extents) const {
    std::vector<std::vector<int64_t>> parts(4);
    for (unsigned i = 1; i < op_->getNumOperands(); ++i) {
      if (mlir::isa<mlir::NoneType>(op_->getOperand(i).getType()))
        continue;
      const Tensor *value = evaluation_.valueAt(run, op_->getOperand(i));
      if (!value)
        return refuse("operand " + std::to_string(i) + " depends on tokens");
      parts[i - 1] = value->toInts();
    }
    std::vector<Cut> cuts;
    for (size_t i = 0; i < parts[0].size(); ++i) {
      int64_t axis = parts[2].empty() ? static_cast<int64_t>(i) : parts[2][i];
      axis += axis < 0 ? static_cast<int64_t>(extents.size()) : 0;
      int64_t size = extents[static_cast<size_t>(axis)][run],
              step = parts[3].empty() ? 1 : parts[3][i];
      if (step < 1)
        return refuse("it slices backwards");
      auto clamp = [&](int64_t at) {
        return std::clamp(at < 0 ? at + size : at, int64_t{0}, size);
      };
      cuts.push_back({axis, clamp(parts[0][i]), clamp(parts[1][i]), step});
    }
    return cuts;
  }

  Result<Values> slice() {
    mlir::Value x = op_->getOperand(0);
    Extents extents = evaluation_.extents(x);
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(x));
    PLATEN_ASSIGN_OR_RETURN(std::vector<Cut> cuts, cutsAt(0, extents));
    std::vector<int64_t> starts, ends, axes, steps;
    for (size_t run = 0; run < kSizes.size(); ++run) {
      PLATEN_ASSIGN_OR_RETURN(std::vector<Cut> others, cutsAt(run, extents));
      for (size_t i = 0; i < cuts.size(); ++i) {
        const Extent &extent = extents[static_cast<size_t>(cuts[i].axis)];
        bool whole = others[i].start == 0 && others[i].end == extent[run] && others[i].step == 1;
        bool feature = layout.isFeature(cuts[i].axis);
        if (feature ? others[i] != cuts[i] : !whole)
          return refuse("it slices tokens; export the decoder with logits for every token");
        if (run > 0 || whole)
          continue;
        starts.push_back(cuts[i].start);
        ends.push_back(cuts[i].end);
        axes.push_back(layout.axisOf(cuts[i].axis));
        steps.push_back(cuts[i].step);
      }
    }
    if (axes.empty())
      return same(x);
    return create({context_.data(x), constantInts(starts), constantInts(ends), constantInts(axes),
                   constantInts(steps)},
                  {});
  }

  Result<Values> split() {
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(op_->getOperand(0)));
    PLATEN_ASSIGN_OR_RETURN(
        int64_t axis, featureAxis(layout, ops::intAttribute(attributesWithDefaults(), "axis")));
    std::vector<int64_t> parts;
    for (mlir::Value result : op_->getResults())
      parts.push_back(evaluation_.extents(result)[static_cast<size_t>(axis)][0]);
    return create({context_.data(op_->getOperand(0)), constantInts(parts)},
                  {{"axis", layout.axisOf(axis)}});
  }

  Result<Values> concat() {
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(op_->getResult(0)));
    PLATEN_ASSIGN_OR_RETURN(
        int64_t axis, featureAxis(layout, ops::intAttribute(attributesWithDefaults(), "axis")));
    Values operands;
    for (mlir::Value operand : op_->getOperands()) {
      if (!evaluation_.isData(operand))
        return refuse("it joins token values with values that depend on no token");
      PLATEN_ASSIGN_OR_RETURN(Layout part, layoutOf(operand));
      if (!part.sameTokens(layout))
        return refuse("its operands' token dimensions do not lie in the same place");
      operands.push_back(context_.data(operand));
    }
    return create(operands, {{"axis", layout.axisOf(axis)}});
  }

  Result<Values> gather() {
    if (!evaluation_.isData(op_->getOperand(0)))
      return gatherTable();
    if (evaluation_.isData(op_->getOperand(1)))
      return refuse("it gathers token values at positions that depend on tokens");
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(op_->getOperand(0)));
    PLATEN_ASSIGN_OR_RETURN(
        int64_t axis, featureAxis(layout, ops::intAttribute(attributesWithDefaults(), "axis")));
    PLATEN_ASSIGN_OR_RETURN(mlir::Value indices, context_.fixed(op_->getOperand(1)));
    return create({context_.data(op_->getOperand(0)), indices}, {{"axis", layout.axisOf(axis)}});
  }

  /// A table's rows by token: the embedding.
  Result<Values> gatherTable() {
    ops::Attributes given = attributesWithDefaults();
    std::string axisName = name_ == "gather" ? "axis" : "gather_axis";
    if (given.contains(axisName) && ops::intAttribute(given, axisName) != 0)
      return refuse("a table is indexed by tokens along another axis than its first");
    PLATEN_RETURN_IF_ERROR(layoutOf(op_->getResult(0)).status());
    Values operands;
    for (mlir::Value operand : op_->getOperands()) {
      if (mlir::isa<mlir::NoneType>(operand.getType())) {
        operands.push_back({});
      } else if (evaluation_.isData(operand)) {
        operands.push_back(context_.data(operand));
      } else {
        PLATEN_ASSIGN_OR_RETURN(mlir::Value fixed, context_.fixed(operand));
        operands.push_back(fixed);
      }
    }
    return create(operands, given);
  }

  // --- rows ---

  Result<Values> reduce() {
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(op_->getOperand(0)));
    PLATEN_ASSIGN_OR_RETURN(auto axes, ints(1));
    if (!axes || axes->empty())
      return refuse("it reduces over all dimensions");
    std::vector<int64_t> mapped;
    for (int64_t axis : *axes) {
      PLATEN_ASSIGN_OR_RETURN(int64_t feature, featureAxis(layout, axis));
      mapped.push_back(layout.axisOf(feature));
    }
    return create({context_.data(op_->getOperand(0)), constantInts(mapped)}, attributes());
  }

  /// Ops that read the last axis (or the attribute `axis`) of their token-path operands and weights
  /// beside them.
  Result<Values> lastAxis() {
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(op_->getOperand(0)));
    ops::Attributes given = attributesWithDefaults();
    auto attribute = given.find("axis");
    PLATEN_ASSIGN_OR_RETURN(
        int64_t axis,
        featureAxis(layout, attribute == given.end() ? -1 : std::get<int64_t>(attribute->second)));
    if (attribute != given.end())
      attribute->second = layout.axisOf(axis);
    Values operands;
    for (mlir::Value operand : op_->getOperands()) {
      if (mlir::isa<mlir::NoneType>(operand.getType())) {
        operands.push_back({});
      } else if (evaluation_.isData(operand)) {
        PLATEN_ASSIGN_OR_RETURN(mlir::Value aligned, alignData(operand, layout));
        operands.push_back(aligned);
      } else {
        PLATEN_ASSIGN_OR_RETURN(mlir::Value fixed, context_.fixed(operand));
        operands.push_back(fixed);
      }
    }
    return create(operands, given);
  }

  /// x + skip (+ bias), and its norm: two ordinary ops.
  Result<Values> skipNorm() {
    PLATEN_ASSIGN_OR_RETURN(Layout layout, layoutOf(op_->getOperand(0)));
    PLATEN_ASSIGN_OR_RETURN(mlir::Value skip, alignData(op_->getOperand(1), layout));
    PLATEN_ASSIGN_OR_RETURN(mlir::Value scale, context_.fixed(op_->getOperand(2)));
    PLATEN_ASSIGN_OR_RETURN(mlir::Value sum,
                            createValue(context_.builder, op_->getLoc(), "add",
                                        {context_.data(op_->getOperand(0)), skip}));
    if (!mlir::isa<mlir::NoneType>(op_->getOperand(3).getType())) {
      PLATEN_ASSIGN_OR_RETURN(mlir::Value bias, context_.fixed(op_->getOperand(3)));
      PLATEN_ASSIGN_OR_RETURN(sum,
                              createValue(context_.builder, op_->getLoc(), "add", {sum, bias}));
    }
    double epsilon = ops::floatAttribute(attributesWithDefaults(), "epsilon");
    PLATEN_ASSIGN_OR_RETURN(mlir::Value norm,
                            createValue(context_.builder, op_->getLoc(), "rms_norm", {sum, scale},
                                        {{"epsilon", epsilon}}));
    return Values{norm, sum};
  }

  Result<Values> matmul() {
    mlir::Value x = op_->getOperand(0), weight = op_->getOperand(1);
    if (evaluation_.isData(weight))
      return refuse(evaluation_.isData(x)
                        ? "two token values are multiplied outside of a known attention"
                        : "a weight is multiplied from the left");
    if (evaluation_.extents(weight).size() != 2)
      return refuse("a matmul on the token path needs a weight of rank 2");
    return lastAxis();
  }

  ops::Attributes attributesWithDefaults() const {
    const ops::OpSpec *spec = ops::findOp({name_.data(), name_.size()});
    ops::Attributes given = attributes();
    for (const ops::AttributeSpec &attribute : spec->attributes)
      if (!attribute.required)
        given.emplace(attribute.name, attribute.example);
    return given;
  }

  mlir::Operation *op_;
  const RuleContext &context_;
  const Evaluation &evaluation_;
  llvm::StringRef name_;
};

} // namespace

Result<llvm::SmallVector<mlir::Value>> rewriteOp(mlir::Operation *op, const RuleContext &context) {
  return Rewriter(op, context).rewrite();
}

mlir::Value createConstant(mlir::OpBuilder &builder, mlir::Location location, const Tensor &value) {
  return builder.create<ir::ConstantOp>(location, ir::toMlirConstant(builder.getContext(), value));
}

Result<mlir::Value> createValue(mlir::OpBuilder &builder, mlir::Location location,
                                std::string_view name, mlir::ValueRange operands,
                                const ops::Attributes &attributes) {
  PLATEN_ASSIGN_OR_RETURN(mlir::Operation * op,
                          ir::createOp(builder, location, name, operands, attributes));
  return op->getResult(0);
}

Result<mlir::Value> reshapeFeatures(mlir::OpBuilder &builder, mlir::Location location,
                                    mlir::Value x, llvm::ArrayRef<int64_t> features) {
  auto type = mlir::cast<mlir::RankedTensorType>(x.getType());
  if (type.getShape().drop_front() == features)
    return x;
  // Features were reshaped before: start from what they were.
  if (mlir::Operation *earlier = x.getDefiningOp();
      earlier && earlier->getName().stripDialect() == "reshape")
    return reshapeFeatures(builder, location, earlier->getOperand(0), features);
  std::vector<int64_t> shape{0}; // 0 copies the token dimension
  shape.insert(shape.end(), features.begin(), features.end());
  mlir::Value target = createConstant(builder, location, Tensor::vectorI64(shape));
  return createValue(builder, location, "reshape", {x, target});
}

} // namespace platen::compiler::serve
