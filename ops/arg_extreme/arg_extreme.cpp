// See arg_extreme.md.
#include "ops/arg_extreme/arg_extreme.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <cmath>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

std::vector<int64_t> resultDims(std::span<const int64_t> dims, size_t along, bool keep) {
  std::vector<int64_t> result(dims.begin(), dims.end());
  if (keep)
    result[along] = 1;
  else
    result.erase(result.begin() + static_cast<std::ptrdiff_t>(along));
  return result;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0];
  if (x.dtype == DType::kBool || x.rank() < 1)
    return invalidArgument("C1: I1 is " + x.toString() +
                           "; it must be a numeric tensor of rank 1 or more");
  auto axis = normalizeAxis(intAttribute(context.attributes, "axis"), x.rank(), "C2: axis");
  if (!axis)
    return axis.status();
  if (x.dims[static_cast<size_t>(*axis)] == 0)
    return invalidArgument("C3: axis " + std::to_string(*axis) + " of I1 " + x.toString() +
                           " has no elements");
  return std::vector{
      TensorType{DType::kI64, resultDims(x.dims, static_cast<size_t>(*axis),
                                         intAttribute(context.attributes, "keepdims") != 0)}};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(
      int64_t axis, normalizeAxis(intAttribute(attributes, "axis"), x.type().rank(), "C2: axis"));
  const auto along = static_cast<size_t>(axis);
  const bool largest = intAttribute(attributes, "largest") != 0,
             last = intAttribute(attributes, "select_last_index") != 0;
  const int64_t length = x.dims()[along], inner = stridesOf(x.dims())[along];
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{
      DType::kI64, resultDims(x.dims(), along, intAttribute(attributes, "keepdims") != 0)});
  auto beats = [&](int64_t a, int64_t b) { // elements of x
    if (!base::isFloat(x.dtype())) {
      const int64_t left = x.getInt(a), right = x.getInt(b);
      return last && left == right ? true : largest ? left > right : left < right;
    }
    const double left = x.get(a), right = x.get(b);
    if (std::isnan(left) || std::isnan(right))
      return std::isnan(left) && (last || !std::isnan(right));
    return last && left == right ? true : largest ? left > right : left < right;
  };
  for (int64_t i = 0; i < y.elementCount(); ++i) {
    const int64_t start = i / inner * length * inner + i % inner;
    int64_t best = 0;
    for (int64_t j = 1; j < length; ++j)
      if (beats(start + j * inner, start + best * inner))
        best = j;
    y.setInt(i, best);
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(x.rank()), "C2: axis"));
  const auto along = static_cast<size_t>(axis);
  const bool largest = intAttribute(op.attributes(), "largest") != 0,
             last = intAttribute(op.attributes(), "select_last_index") != 0,
             keep = intAttribute(op.attributes(), "keepdims") != 0,
             isUnsigned = x.dtype == DType::kU64;
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    auto element = [&](loops::Value index) {
      std::vector<loops::Value> own(at.begin(), at.end());
      if (keep)
        own[along] = index;
      else
        own.insert(own.begin() + axis, index);
      return s.load(x, own);
    };
    auto beats = [&](loops::Value a, loops::Value b) {
      loops::Value wins = largest ? s.binary(loops::Op::kLess, b, a, isUnsigned)
                                  : s.binary(loops::Op::kLess, a, b, isUnsigned);
      if (last)
        wins = s.either(wins, s.equal(a, b));
      if (x.kind() == loops::Kind::kInt)
        return wins;
      const loops::Value isNan = s.isNan(a);
      return s.either(wins, last ? isNan : s.both(isNan, s.negate(s.isNan(b))));
    };
    return s.fold(s.integer(1), s.dim(x, along), {s.integer(0), element(s.integer(0))},
                  [&](loops::Value index, std::span<const loops::Value> carried) {
                    const loops::Value value = element(index), wins = beats(value, carried[1]);
                    return std::vector{s.select(wins, index, carried[0]),
                                       s.select(wins, value, carried[1])};
                  })[0];
  });
}

Result<OpCall> fromOnnx(const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(kArgExtreme, node));
  call.attributes["largest"] = int64_t{node.opType == "ArgMax"};
  return call;
}

} // namespace

const OpSpec kArgExtreme{
    .name = "arg_extreme",
    .operands = {{"x"}},
    .attributes = {{"axis", int64_t{0}},
                   {"keepdims", int64_t{1}},
                   {"largest", int64_t{1}},
                   {"select_last_index", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "ArgMax", 1, kAnyVersion, fromOnnx}, {"", "ArgMin", 1, kAnyVersion, fromOnnx}},
    .loops = lower,
};

} // namespace platen::ops
