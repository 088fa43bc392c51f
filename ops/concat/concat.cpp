// See concat.md for the contract.
#include "ops/concat/concat.h"
#include "ops/elementwise.h"

#include <algorithm>

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  if (context.types.empty())
    return invalidArgument("C1: there must be one operand at least");
  TensorType result = *context.types[0];
  auto axis = normalizeAxis(intAttribute(context.attributes, "axis"), result.rank(), "C2: axis");
  if (!axis)
    return axis.status();
  auto along = static_cast<size_t>(*axis);
  for (size_t i = 1; i < context.types.size(); ++i) {
    const TensorType &other = *context.types[i];
    bool fits = other.dtype == result.dtype && other.rank() == result.rank();
    for (size_t d = 0; fits && d < other.dims.size(); ++d)
      fits = d == along || mayEqual(other.dims[d], result.dims[d]);
    if (!fits)
      return invalidArgument("C3: I" + std::to_string(i + 1) + " is " + other.toString() +
                             " and does not continue I1 " + context.types[0]->toString() +
                             " along axis " + std::to_string(along));
    for (size_t d = 0; d < other.dims.size(); ++d) {
      if (d != along && result.dims[d] == kDynamic)
        result.dims[d] = other.dims[d];
      if (d == along)
        result.dims[d] = result.dims[d] == kDynamic || other.dims[d] == kDynamic
                             ? kDynamic
                             : result.dims[d] + other.dims[d];
    }
  }
  return std::vector{std::move(result)};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  TensorType type = inputs[0]->type();
  PLATEN_ASSIGN_OR_RETURN(int64_t axis,
                          normalizeAxis(intAttribute(attributes, "axis"), type.rank(), "C2: axis"));
  auto along = static_cast<size_t>(axis);
  for (const Tensor *input : inputs.subspan(1))
    type.dims[along] += input->dims()[along];
  int64_t outer = productOf(std::span(type.dims).first(along));
  int64_t inner = productOf(std::span(type.dims).subspan(along + 1));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(type);
  int64_t row = type.dims[along] * inner, offset = 0;
  for (const Tensor *input : inputs) {
    int64_t piece = input->dims()[along] * inner;
    for (int64_t i = 0; i < outer; ++i)
      y.copyFrom(*input, i * piece, i * row + offset, piece);
    offset += piece;
  }
  return results;
}

/// Few operands: one launch that readers can absorb; many: one launch each.
constexpr size_t kMostSelected = 4;

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef y = op.result(0);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(y.rank()), "C2: axis"));
  const auto along = static_cast<size_t>(axis);
  if (op.operandCount() <= kMostSelected)
    return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
      // From the last operand to the first: an element is of the first that reaches beyond it.
      base::Size end = y.dims[along];
      loops::Value value = loops::kNoValue;
      for (size_t i = op.operandCount(); i-- > 0;) {
        const loops::TensorRef x = op.operand(i);
        const loops::Value inside = s.less(at[along], s.size(end));
        end = end - x.dims[along];
        if (x.dims[along] == base::Size(0))
          continue;
        std::vector<loops::Value> own(at.begin(), at.end());
        own[along] = s.sub(at[along], s.size(end));
        const bool last = value == loops::kNoValue;
        if (!last || i > 0)
          own[along] = s.select(last ? s.lessEqual(s.size(end), at[along])
                                     : s.both(inside, s.lessEqual(s.size(end), at[along])),
                                own[along], s.integer(0));
        const loops::Value element = s.load(x, own);
        value = last ? element : s.select(inside, element, value);
      }
      return value == loops::kNoValue ? s.number(y.kind(), 0) : value;
    });
  base::Size offset = 0;
  for (size_t i = 0; i < op.operandCount(); ++i) {
    const loops::TensorRef x = op.operand(i);
    PLATEN_RETURN_IF_ERROR(op.launch(x.dims, x.rank(), [&](loops::Stage &s, loops::Coordinates at) {
      std::vector<loops::Value> to(at.begin(), at.end());
      to[along] = s.add(at[along], s.size(offset));
      s.store(y, to, s.load(x, at));
    }));
    offset = offset + x.dims[along];
  }
  return base::Status::ok();
}

} // namespace

const OpSpec kConcat{
    .name = "concat",
    .operands = {{.name = "inputs", .variadic = true}},
    .attributes = {{"axis", int64_t{0}, true}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Concat", 4}},
    .loops = lower,
};

} // namespace platen::ops
