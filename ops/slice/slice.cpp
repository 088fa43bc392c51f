// See slice.md for the contract.
#include "ops/slice/slice.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <algorithm>
#include <optional>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

/// One axis: the elements start, start + step, … (count of them).
struct Range {
  int64_t start = 0, step = 1, count = 0;
};

/// Clamps as ONNX does, so that INT64_MAX and INT64_MIN mean "to the end".
Range clampRange(int64_t start, int64_t end, int64_t step, int64_t length) {
  if (length == 0)
    return {0, step, 0};
  auto wrap = [&](int64_t bound) { return bound < 0 && bound >= -length ? bound + length : bound; };
  int64_t least = step > 0 ? 0 : -1, most = step > 0 ? length : length - 1;
  int64_t from = std::clamp(wrap(start), int64_t{0}, most);
  int64_t to = std::clamp(wrap(end), least, most);
  // -step overflows for INT64_MIN, hence the unsigned division.
  int64_t count = 0;
  if (step > 0 && to > from)
    count = 1 + (to - from - 1) / step;
  if (step < 0 && to < from)
    count = 1 + static_cast<int64_t>(static_cast<uint64_t>(from - to - 1) /
                                     (uint64_t{0} - static_cast<uint64_t>(step)));
  return {from, step, count};
}

/// What I2 to I5 ask of each axis; nullopt where the axis is untouched.
struct Request {
  int64_t start, end, step;
};
Result<std::vector<std::optional<Request>>> requests(int64_t rank, const Tensor &starts,
                                                     const Tensor &ends, const Tensor *axes,
                                                     const Tensor *steps) {
  std::vector<std::optional<Request>> result(static_cast<size_t>(rank));
  int64_t count = starts.elementCount();
  if (ends.elementCount() != count || (axes && axes->elementCount() != count) ||
      (steps && steps->elementCount() != count) || count > rank)
    return invalidArgument("C2: I2 to I5 must have one length of at most the rank of I1 (" +
                           std::to_string(rank) + ")");
  for (int64_t i = 0; i < count; ++i) {
    auto axis = normalizeAxis(axes ? axes->getInt(i) : i, rank, "C3: an axis");
    if (!axis)
      return axis.status();
    int64_t step = steps ? steps->getInt(i) : 1;
    if (step == 0)
      return invalidArgument("C4: a step is 0");
    if (result[static_cast<size_t>(*axis)])
      return invalidArgument("C3: axis " + std::to_string(*axis) + " comes twice");
    result[static_cast<size_t>(*axis)] = Request{starts.getInt(i), ends.getInt(i), step};
  }
  return result;
}

InferResult infer(const InferContext &context) {
  TensorType result = *context.types[0];
  bool known = true;
  for (size_t i = 1; i < 5; ++i) {
    const TensorType *type = context.types[i];
    if (type && (type->rank() != 1 || (type->dtype != DType::kI64 && type->dtype != DType::kI32)))
      return invalidArgument("C1: I" + std::to_string(i + 1) + " is " + type->toString() +
                             "; it must be a vector of i64 or i32");
    known = known && (!type || context.values[i]);
  }
  // With known axes the others keep their lengths; else every axis may change.
  const Tensor *axes = context.values[3];
  if (!known) {
    if (!axes) {
      std::fill(result.dims.begin(), result.dims.end(), kDynamic);
      return std::vector{std::move(result)};
    }
    for (int64_t axis : axes->toInts()) {
      auto normal = normalizeAxis(axis, result.rank(), "C3: an axis");
      if (!normal)
        return normal.status();
      result.dims[static_cast<size_t>(*normal)] = kDynamic;
    }
    return std::vector{std::move(result)};
  }
  PLATEN_ASSIGN_OR_RETURN(auto wanted, requests(result.rank(), *context.values[1],
                                                *context.values[2], axes, context.values[4]));
  for (size_t i = 0; i < wanted.size(); ++i)
    if (wanted[i] && result.dims[i] != kDynamic)
      result.dims[i] =
          clampRange(wanted[i]->start, wanted[i]->end, wanted[i]->step, result.dims[i]).count;
  return std::vector{std::move(result)};
}

EvaluateResult reference(Inputs inputs, const Attributes &) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(auto wanted,
                          requests(x.type().rank(), *inputs[1], *inputs[2], inputs[3], inputs[4]));
  std::vector<int64_t> dims(x.dims().begin(), x.dims().end()), strides = stridesOf(x.dims());
  int64_t offset = 0;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!wanted[i])
      continue;
    Range range = clampRange(wanted[i]->start, wanted[i]->end, wanted[i]->step, dims[i]);
    dims[i] = range.count;
    offset += range.count > 0 ? range.start * strides[i] : 0;
    strides[i] = range.count > 1 ? strides[i] * range.step : 0;
  }
  return std::vector{gatherStrided(x, std::move(dims), std::move(strides), offset)};
}

Result<OpCall> fromAttributes(const OnnxNode &node) {
  return OpCall{{OnnxOperand::ofInput(0), intsAsOperand(node, "starts"),
                 intsAsOperand(node, "ends"), intsAsOperand(node, "axes"), OnnxOperand::absent()},
                {},
                {0}};
}

/// Where an axis' range begins: ONNX' clamping of a bound that may be a size.
loops::Value firstOf(loops::Stage &s, const base::Size &start, int64_t step,
                     const base::Size &length) {
  const loops::Value wanted = s.size(start), zero = s.integer(0), count = s.size(length),
                     own = s.select(s.less(wanted, zero), s.add(wanted, count), wanted),
                     most = step > 0 ? count : s.sub(count, s.integer(1));
  return s.max(zero, s.min(own, most));
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), y = op.result(0);
  const auto rank = static_cast<int64_t>(x.rank());
  PLATEN_ASSIGN_OR_RETURN(const std::vector<base::Size> starts, op.sizes(1));
  for (size_t operand : {size_t{3}, size_t{4}})
    if (op.has(operand) && !op.constant(operand))
      return base::unsupported("I" + std::to_string(operand + 1) + " must be a constant");
  std::vector<std::optional<std::pair<base::Size, int64_t>>> wanted(x.rank()); // start and step
  for (size_t i = 0; i < starts.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    PLATEN_ASSIGN_OR_RETURN(
        int64_t axis,
        normalizeAxis(op.has(3) ? op.constant(3)->getInt(index) : index, rank, "C3: an axis"));
    wanted[static_cast<size_t>(axis)].emplace(starts[i],
                                              op.has(4) ? op.constant(4)->getInt(index) : 1);
  }
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> own(at.begin(), at.end());
    for (size_t i = 0; i < own.size(); ++i)
      if (wanted[i])
        own[i] = s.add(firstOf(s, wanted[i]->first, wanted[i]->second, x.dims[i]),
                       s.mul(at[i], s.integer(wanted[i]->second)));
    return s.load(x, own);
  });
}

} // namespace

const OpSpec kSlice{
    .name = "slice",
    .operands = {{"x"},
                 {"starts"},
                 {"ends"},
                 {.name = "axes", .optional = true},
                 {.name = "steps", .optional = true}},
    .attributes = {},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Slice", 10}, {"", "Slice", 1, 9, fromAttributes}},
    .loops = lower,
};

} // namespace platen::ops
