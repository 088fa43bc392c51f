// See cast_like.md. The conversions are those of cast.
#include "ops/cast_like/cast_like.h"
#include "ops/cast/cast.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

Attributes asCast(DType to) { return {{"to", std::string(base::dtypeName(to))}}; }

InferResult infer(const InferContext &context) {
  return std::vector{TensorType{context.types[1]->dtype, context.types[0]->dims}};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  return kCast.reference(inputs.first(1), asCast(inputs[1]->dtype()));
}

} // namespace

const OpSpec kCastLike{
    .name = "cast_like",
    .operands = {{"x"}, {"like"}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "CastLike", 15}},
    .loops = lowerCast,
};

} // namespace platen::ops
