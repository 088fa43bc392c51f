// See top_k.md for the contract. Ties go to the smaller index, NaN counts as the greatest value.
#include "ops/top_k/top_k.h"
#include "ops/elementwise.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

Result<std::vector<int64_t>> resultDims(const TensorType &x, const Tensor *k,
                                        const Attributes &attributes) {
  auto axis = normalizeAxis(intAttribute(attributes, "axis"), x.rank(), "C3: axis");
  if (!axis)
    return axis.status();
  std::vector<int64_t> dims = x.dims;
  int64_t &along = dims[static_cast<size_t>(*axis)];
  if (k && (k->getInt(0) < 0 || (along != kDynamic && k->getInt(0) > along)))
    return invalidArgument("C4: I2 asks for " + std::to_string(k->getInt(0)) + " of " +
                           std::to_string(along) + " elements");
  along = k ? k->getInt(0) : kDynamic;
  return dims;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &k = *context.types[1];
  if (x.dtype == DType::kBool || x.rank() < 1)
    return invalidArgument("C1: I1 is " + x.toString() +
                           "; it must be a numeric tensor of rank 1 or more");
  if (k.dtype != DType::kI64 || productOf(k.dims) != 1)
    return invalidArgument("C2: I2 is " + k.toString() + "; it must be one i64");
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims,
                          resultDims(x, context.values[1], context.attributes));
  return std::vector{TensorType{x.dtype, dims}, TensorType{DType::kI64, dims}};
}

/// Strict order in which elements come out.
bool comesFirst(const Tensor &x, int64_t a, int64_t b, bool largest) {
  if (!base::isFloat(x.dtype()))
    return largest ? x.getInt(a) > x.getInt(b) : x.getInt(a) < x.getInt(b);
  double left = x.get(a), right = x.get(b);
  if (std::isnan(left) || std::isnan(right))
    return largest ? std::isnan(left) && !std::isnan(right)
                   : !std::isnan(left) && std::isnan(right);
  return largest ? left > right : left < right;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, resultDims(x.type(), inputs[1], attributes));
  PLATEN_ASSIGN_OR_RETURN(
      int64_t axis, normalizeAxis(intAttribute(attributes, "axis"), x.type().rank(), "C3: axis"));
  auto at = static_cast<size_t>(axis);
  bool largest = intAttribute(attributes, "largest") != 0;
  int64_t length = x.dims()[at], inner = stridesOf(x.dims())[at], kept = dims[at];
  std::vector<Tensor> results{Tensor(TensorType{x.dtype(), dims}),
                              Tensor(TensorType{DType::kI64, dims})};
  std::vector<int64_t> order(static_cast<size_t>(length));
  for (int64_t outer = 0; outer < productOf(x.dims().first(at)); ++outer)
    for (int64_t i = 0; i < inner; ++i) {
      int64_t base = outer * length * inner + i;
      std::iota(order.begin(), order.end(), int64_t{0});
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return comesFirst(x, base + a * inner, base + b * inner, largest);
      });
      for (int64_t j = 0; j < kept; ++j) {
        int64_t to = (outer * kept + j) * inner + i, index = order[static_cast<size_t>(j)];
        results[0].copyFrom(x, base + index * inner, to, 1);
        results[1].setInt(to, index);
      }
    }
  return results;
}

} // namespace

const OpSpec kTopK{
    .name = "top_k",
    .operands = {{"x"}, {"k"}},
    .attributes = {{"axis", int64_t{-1}}, {"largest", int64_t{1}}, {"sorted", int64_t{1}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "TopK", 10}},
};

} // namespace platen::ops
