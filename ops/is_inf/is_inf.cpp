// See is_inf.md.
#include "ops/is_inf/is_inf.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <cmath>

namespace platen::ops {

namespace {

InferResult infer(const InferContext &context) {
  PLATEN_ASSIGN_OR_RETURN(std::vector<TensorType> types, inferFloatUnary(context));
  types[0].dtype = DType::kBool;
  return types;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  const bool positive = intAttribute(attributes, "detect_positive") != 0,
             negative = intAttribute(attributes, "detect_negative") != 0;
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{DType::kBool, x.type().dims});
  for (int64_t i = 0; i < x.elementCount(); ++i)
    y.setInt(i, std::isinf(x.get(i)) && (x.get(i) > 0 ? positive : negative));
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value value = s.load(x, at);
    loops::Value found = s.boolean(false);
    if (intAttribute(op.attributes(), "detect_positive") != 0)
      found = s.equal(value, s.greatest(x.kind()));
    if (intAttribute(op.attributes(), "detect_negative") != 0)
      found = s.either(found, s.equal(value, s.least(x.kind())));
    return found;
  });
}

} // namespace

const OpSpec kIsInf{
    .name = "is_inf",
    .operands = {{"x"}},
    .attributes = {{"detect_negative", int64_t{1}}, {"detect_positive", int64_t{1}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "IsInf", 10}},
    .loops = lower,
};

} // namespace platen::ops
