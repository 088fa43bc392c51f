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

/// comesFirst() of two values.
loops::Value precedes(loops::Stage &s, loops::Value a, loops::Value b, bool largest,
                      bool isUnsigned) {
  const loops::Value less = largest ? s.binary(loops::Op::kLess, b, a, isUnsigned)
                                    : s.binary(loops::Op::kLess, a, b, isUnsigned);
  if (s.kind(a) == loops::Kind::kInt)
    return less;
  const loops::Value before =
      largest ? s.both(s.isNan(a), s.negate(s.isNan(b))) : s.both(s.negate(s.isNan(a)), s.isNan(b));
  return s.either(less, before);
}

/// Element j of a row is the first of those that come after element j - 1, which is read back: rows
/// run at once, their elements one after the other.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), values = op.result(0), indices = op.result(1);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(x.rank()), "C3: axis"));
  const auto along = static_cast<size_t>(axis);
  const bool largest = intAttribute(op.attributes(), "largest") != 0,
             isUnsigned = x.dtype == DType::kU64;
  std::vector<base::Size> extents = values.dims;
  extents.erase(extents.begin() + axis);
  extents.push_back(values.dims[along]);
  return op.launch(extents, extents.size() - 1, [&](loops::Stage &s, loops::Coordinates at) {
    auto cell = [&](loops::Value index) {
      std::vector<loops::Value> own(at.begin(), at.end() - 1);
      own.insert(own.begin() + axis, index);
      return own;
    };
    const loops::Value j = at.back(), none = s.integer(-1), isFirst = s.equal(j, s.integer(0)),
                       before = s.select(isFirst, s.integer(0), s.sub(j, s.integer(1))),
                       last = s.select(isFirst, none, s.load(indices, cell(before))),
                       lastValue = s.load(x, cell(s.clamped(last, s.dim(x, along))));
    const std::vector<loops::Value> best = s.fold(
        s.integer(0), s.dim(x, along), {none, lastValue},
        [&](loops::Value i, std::span<const loops::Value> carried) {
          const loops::Value value = s.load(x, cell(i));
          const loops::Value behind =
              s.either(precedes(s, lastValue, value, largest, isUnsigned),
                       s.both(s.less(last, i),
                              s.negate(precedes(s, value, lastValue, largest, isUnsigned))));
          const loops::Value better = s.either(s.less(carried[0], s.integer(0)),
                                               precedes(s, value, carried[1], largest, isUnsigned));
          const loops::Value taken = s.both(s.either(isFirst, behind), better);
          return std::vector{s.select(taken, i, carried[0]), s.select(taken, value, carried[1])};
        });
    s.store(values, cell(j), best[1]);
    s.store(indices, cell(j), best[0]);
  });
}

} // namespace

const OpSpec kTopK{
    .name = "top_k",
    .operands = {{"x"}, {"k"}},
    .attributes = {{"axis", int64_t{-1}}, {"largest", int64_t{1}}, {"sorted", int64_t{1}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "TopK", 10}},
    .loops = lower,
};

} // namespace platen::ops
