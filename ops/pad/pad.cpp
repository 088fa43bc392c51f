// See pad.md.
#include "ops/pad/pad.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <algorithm>
#include <iterator>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

enum class Mode { kConstant, kReflect, kEdge, kWrap };
Result<Mode> modeOf(const Attributes &attributes) {
  const std::string &name = stringAttribute(attributes, "mode");
  const std::string_view names[] = {"constant", "reflect", "edge", "wrap"};
  for (size_t i = 0; i < std::size(names); ++i)
    if (names[i] == name)
      return static_cast<Mode>(i);
  return invalidArgument("C5: mode is '" + name + "'; it must be constant, reflect, edge or wrap");
}

/// For each axis the index of its beginning in I2, or nullopt; its end stands `count` further.
struct Places {
  std::vector<std::optional<size_t>> first;
  size_t count;
};
Result<Places> placesOf(int64_t rank, int64_t pads, const Tensor *axes) {
  Places places{std::vector<std::optional<size_t>>(static_cast<size_t>(rank)),
                static_cast<size_t>(axes ? axes->elementCount() : rank)};
  if (pads != static_cast<int64_t>(2 * places.count))
    return invalidArgument("C2: I2 has " + std::to_string(pads) +
                           " elements; it must have two for each of " +
                           std::to_string(places.count) + " axes");
  for (size_t i = 0; i < places.count; ++i) {
    auto axis =
        normalizeAxis(axes ? axes->getInt(static_cast<int64_t>(i)) : static_cast<int64_t>(i), rank,
                      "C3: an axis");
    if (!axis)
      return axis.status();
    if (places.first[static_cast<size_t>(*axis)])
      return invalidArgument("C3: axis " + std::to_string(*axis) + " comes twice");
    places.first[static_cast<size_t>(*axis)] = i;
  }
  return places;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &pads = *context.types[1], *value = context.types[2],
                   *axes = context.types[3];
  auto isVector = [](const TensorType &type) {
    return type.rank() == 1 && (type.dtype == DType::kI64 || type.dtype == DType::kI32);
  };
  if (!isVector(pads) || (axes && !isVector(*axes)))
    return invalidArgument("C1: I2 is " + pads.toString() +
                           (axes ? ", I4 " + axes->toString() : "") +
                           "; they must be vectors of i64 or i32");
  if (value && (value->dtype != x.dtype || productOf(value->dims) != 1))
    return invalidArgument("C4: I3 is " + value->toString() +
                           "; it must be one element of I1's dtype");
  auto mode = modeOf(context.attributes);
  if (!mode)
    return mode.status();
  TensorType result = x;
  if (!context.values[1] || (axes && !context.values[3])) {
    std::fill(result.dims.begin(), result.dims.end(), kDynamic);
    return std::vector{std::move(result)};
  }
  const Tensor &amounts = *context.values[1];
  PLATEN_ASSIGN_OR_RETURN(const Places places,
                          placesOf(x.rank(), amounts.elementCount(), context.values[3]));
  for (size_t i = 0; i < x.dims.size(); ++i) {
    if (!places.first[i] || x.dims[i] == kDynamic)
      continue;
    int64_t &dim = result.dims[i];
    if (__builtin_add_overflow(dim, amounts.getInt(static_cast<int64_t>(*places.first[i])), &dim) ||
        __builtin_add_overflow(
            dim, amounts.getInt(static_cast<int64_t>(*places.first[i] + places.count)), &dim) ||
        dim < 0 || (dim > 0 && x.dims[i] == 0 && *mode != Mode::kConstant))
      return invalidArgument("C6: axis " + std::to_string(i) + " of I1 " + x.toString() +
                             " has too few elements, or would have too many");
  }
  return std::vector{std::move(result)};
}

/// The element of an axis of `length` that stands at `index`, which may lie outside.
int64_t sourceOf(int64_t index, int64_t length, Mode mode) {
  if (mode == Mode::kEdge)
    return std::clamp<int64_t>(index, 0, length - 1);
  const int64_t period = mode == Mode::kWrap ? length : std::max<int64_t>(1, 2 * (length - 1));
  const int64_t at = (index % period + period) % period;
  return at < length ? at : period - at;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &pads = *inputs[1], *value = inputs[2];
  PLATEN_ASSIGN_OR_RETURN(const Mode mode, modeOf(attributes));
  PLATEN_ASSIGN_OR_RETURN(const Places places,
                          placesOf(x.type().rank(), pads.elementCount(), inputs[3]));
  TensorType type = x.type();
  std::vector<int64_t> before(type.dims.size(), 0);
  for (size_t i = 0; i < before.size(); ++i)
    if (places.first[i]) {
      before[i] = pads.getInt(static_cast<int64_t>(*places.first[i]));
      type.dims[i] +=
          before[i] + pads.getInt(static_cast<int64_t>(*places.first[i] + places.count));
    }
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(type);
  StridedWalk walk(type.dims, {std::vector<int64_t>(type.dims.size(), 0)});
  for (int64_t i = 0; i < y.elementCount(); ++i, walk.next()) {
    int64_t from = 0;
    bool inside = true;
    for (size_t axis = 0; axis < before.size(); ++axis) {
      const int64_t length = x.dims()[axis];
      int64_t index = walk.coordinates()[axis] - before[axis];
      inside = inside && index >= 0 && index < length;
      if (mode != Mode::kConstant)
        index = sourceOf(index, length, mode);
      from = from * length + index;
    }
    if (inside || mode != Mode::kConstant)
      y.copyFrom(x, from, i, 1);
    else if (value)
      y.copyFrom(*value, 0, i, 1);
  }
  return results;
}

loops::Value sourceLoop(loops::Stage &s, loops::Value index, loops::Value length, Mode mode) {
  if (mode == Mode::kEdge)
    return s.clamped(index, length);
  const loops::Value one = s.integer(1), last = s.sub(length, one);
  const loops::Value period = mode == Mode::kWrap ? length : s.max(one, s.add(last, last));
  const loops::Value at = s.rem(s.add(s.rem(index, period), period), period);
  return s.select(s.less(at, length), at, s.sub(period, at));
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  PLATEN_ASSIGN_OR_RETURN(const Mode mode, modeOf(op.attributes()));
  PLATEN_ASSIGN_OR_RETURN(const std::vector<base::Size> pads, op.sizes(1));
  if (op.has(3) && !op.constant(3))
    return base::unsupported("I4 (the axes) must be known when the plan is compiled");
  PLATEN_ASSIGN_OR_RETURN(const Places places, placesOf(static_cast<int64_t>(x.rank()),
                                                        static_cast<int64_t>(pads.size()),
                                                        op.has(3) ? op.constant(3) : nullptr));
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> own(at.begin(), at.end());
    loops::Value inside = s.boolean(true);
    for (size_t axis = 0; axis < own.size(); ++axis) {
      if (!places.first[axis])
        continue;
      own[axis] = s.sub(at[axis], s.size(pads[*places.first[axis]]));
      if (mode == Mode::kConstant)
        inside = s.both(inside, s.isInside(own[axis], s.dim(x, axis)));
      else
        own[axis] = sourceLoop(s, own[axis], s.dim(x, axis), mode);
    }
    if (mode != Mode::kConstant)
      return s.load(x, own);
    return s.loadWhere(inside, x, own, op.has(2) ? s.scalar(op.operand(2)) : s.number(x.kind(), 0));
  });
}

Result<OpCall> fromAttributes(const OnnxNode &node) {
  PLATEN_ASSIGN_OR_RETURN(const double value, onnxFloat(node, "value", 0));
  PLATEN_ASSIGN_OR_RETURN(const std::string mode, onnxString(node, "mode", "constant"));
  const double values[] = {value};
  return OpCall{{OnnxOperand::ofInput(0), intsAsOperand(node, "pads"),
                 value == 0 ? OnnxOperand::absent()
                            : OnnxOperand::ofConstant(Tensor::of<double>(DType::kF32, {}, values)),
                 OnnxOperand::absent()},
                {{"mode", mode}},
                {0}};
}

} // namespace

const OpSpec kPad{
    .name = "pad",
    .operands = {{"x"},
                 {"pads"},
                 {.name = "value", .optional = true},
                 {.name = "axes", .optional = true}},
    .attributes = {{"mode", std::string("constant")}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Pad", 11}, {"", "Pad", 2, 10, fromAttributes}},
    .loops = lower,
};

} // namespace platen::ops
