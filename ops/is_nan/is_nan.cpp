// See is_nan.md for the contract; constraint C1 is that of inferFloatUnary.
#include "ops/is_nan/is_nan.h"
#include "ops/elementwise.h"

#include <cmath>

namespace platen::ops {
namespace {

InferResult infer(const InferContext &context) {
  PLATEN_ASSIGN_OR_RETURN(std::vector<TensorType> types, inferFloatUnary(context));
  types[0].dtype = DType::kBool;
  return types;
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return mapUnary(
      inputs, DType::kBool, [](double x) { return std::isnan(x) ? 1.0 : 0.0; }, nullptr);
}

} // namespace

const OpSpec kIsNan{
    .name = "is_nan",
    .operands = {{"x"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "IsNaN", 9}},
    .loops =
        [](loops::Lowering &op) {
          return loopUnary(op, [](loops::Stage &s, loops::Value x) { return s.isNan(x); });
        },
};

} // namespace platen::ops
