// See one_hot.md.
#include "ops/one_hot/one_hot.h"
#include "ops/elementwise.h"

#include <array>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<std::vector<int64_t>> resultDims(const TensorType &indices, const Tensor *depth,
                                        const Attributes &attributes) {
  auto axis = normalizeAxis(intAttribute(attributes, "axis"), indices.rank() + 1, "C3: axis");
  if (!axis)
    return axis.status();
  int64_t length = kDynamic;
  if (depth)
    length = base::isFloat(depth->dtype()) ? static_cast<int64_t>(depth->get(0)) : depth->getInt(0);
  if (depth && length < 0)
    return invalidArgument("C2: I2, the depth, is " + std::to_string(length));
  std::vector<int64_t> dims = indices.dims;
  dims.insert(dims.begin() + *axis, length);
  return dims;
}

InferResult infer(const InferContext &context) {
  const TensorType &indices = *context.types[0], &depth = *context.types[1],
                   &values = *context.types[2];
  if (indices.dtype == DType::kBool)
    return invalidArgument("C1: I1 is " + indices.toString() + "; it must be numeric");
  if (productOf(depth.dims) != 1 || depth.dtype == DType::kBool)
    return invalidArgument("C2: I2 is " + depth.toString() + "; it must be one number");
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims,
                          resultDims(indices, context.values[1], context.attributes));
  if (values.rank() != 1 || !mayEqual(values.dims[0], 2))
    return invalidArgument("C4: I3 is " + values.toString() + "; it must be a vector of two");
  return std::vector{TensorType{values.dtype, std::move(dims)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &indices = *inputs[0], &values = *inputs[2];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims,
                          resultDims(indices.type(), inputs[1], attributes));
  PLATEN_ASSIGN_OR_RETURN(const int64_t axis,
                          normalizeAxis(intAttribute(attributes, "axis"),
                                        static_cast<int64_t>(dims.size()), "C3: axis"));
  const int64_t depth = dims[static_cast<size_t>(axis)],
                inner = productOf(std::span(dims).subspan(static_cast<size_t>(axis) + 1));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{values.dtype(), std::move(dims)});
  for (int64_t i = 0; i < y.elementCount(); ++i) {
    const int64_t from = i / inner / depth * inner + i % inner;
    int64_t index = base::isFloat(indices.dtype()) ? static_cast<int64_t>(indices.get(from))
                                                   : indices.getInt(from);
    index += index < 0 ? depth : 0;
    y.copyFrom(values, index == i / inner % depth ? 1 : 0, i, 1);
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef indices = op.operand(0), values = op.operand(2), y = op.result(0);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(y.rank()), "C3: axis"));
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> from(at.begin(), at.end());
    from.erase(from.begin() + axis);
    const loops::Value index = s.wrapped(s.convert(loops::Kind::kInt, s.load(indices, from)),
                                         s.dim(y, static_cast<size_t>(axis)));
    return s.load(values, std::array{s.convert(loops::Kind::kInt,
                                               s.equal(index, at[static_cast<size_t>(axis)]))});
  });
}

} // namespace

const OpSpec kOneHot{
    .name = "one_hot",
    .operands = {{"indices"}, {"depth"}, {"values"}},
    .attributes = {{"axis", int64_t{-1}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "OneHot", 9}},
    .loops = lower,
};

} // namespace platen::ops
