// See conv.md.
#include "ops/conv/conv.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <algorithm>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

/// Of each spatial axis.
struct Geometry {
  std::vector<int64_t> strides, dilations, before, out;
};

std::vector<int64_t> valuesOr(const Attributes &attributes, std::string_view name, size_t count,
                              int64_t fallback) {
  std::vector<int64_t> values = intsAttribute(attributes, name);
  return values.empty() ? std::vector<int64_t>(count, fallback) : values;
}

/// What the padding on both sides of an axis adds up to where the result has to be of `out`
/// elements.
int64_t paddingFor(int64_t in, int64_t out, int64_t stride, int64_t reach) {
  return std::max<int64_t>(0, (out - 1) * stride + reach - in);
}

Result<Geometry> geometryOf(const TensorType &x, const TensorType &w,
                            const Attributes &attributes) {
  const size_t axes = x.dims.size() - 2;
  Geometry g{
      valuesOr(attributes, "strides", axes, 1), valuesOr(attributes, "dilations", axes, 1), {}, {}};
  std::vector<int64_t> pads = valuesOr(attributes, "pads", 2 * axes, 0);
  bool valid = g.strides.size() == axes && g.dilations.size() == axes && pads.size() == 2 * axes;
  for (size_t i = 0; valid && i < axes; ++i)
    valid = g.strides[i] > 0 && g.dilations[i] > 0 && pads[i] >= 0 && pads[axes + i] >= 0;
  if (!valid)
    return invalidArgument("C4: strides, dilations and pads must have an entry (pads two) for each "
                           "of the " +
                           std::to_string(axes) + " axes, positive, resp. 0 or more");
  const std::string &mode = stringAttribute(attributes, "auto_pad");
  const bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
  if (!same && mode != "NOTSET" && mode != "VALID")
    return invalidArgument("C6: auto_pad is '" + mode +
                           "'; it must be NOTSET, VALID, SAME_UPPER or SAME_LOWER");
  for (size_t i = 0; i < axes; ++i) {
    const int64_t in = x.dims[2 + i], kernel = w.dims[2 + i];
    const int64_t reach = g.dilations[i] * (kernel - 1) + 1;
    if (kernel == kDynamic)
      return invalidArgument("C1: the kernel's size must be known, but I2 is " + w.toString());
    int64_t begin = mode == "VALID" ? 0 : pads[i], end = mode == "VALID" ? 0 : pads[axes + i];
    if (same && in == kDynamic && g.strides[i] != 1)
      return base::unsupported("C6: auto_pad " + mode +
                               " with strides needs known sizes, but I1 is " + x.toString());
    if (same) {
      const int64_t total = in == kDynamic ? reach - 1
                                           : paddingFor(in, (in + g.strides[i] - 1) / g.strides[i],
                                                        g.strides[i], reach);
      begin = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      end = total - begin;
    }
    g.before.push_back(begin);
    if (in != kDynamic && in + begin + end < reach)
      return invalidArgument("C5: a kernel that reaches over " + std::to_string(reach) +
                             " elements does not fit I1 " + x.toString());
    g.out.push_back(in == kDynamic ? kDynamic : (in + begin + end - reach) / g.strides[i] + 1);
  }
  return g;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0], &w = *context.types[1], *bias = context.types[2];
  if (x.rank() < 3 || w.rank() != x.rank() || !base::isFloat(x.dtype) || w.dtype != x.dtype)
    return invalidArgument("C1: I1 is " + x.toString() + " and I2 is " + w.toString() +
                           "; they must be float tensors of one dtype and one rank of 3 or more");
  const int64_t group = intAttribute(context.attributes, "group");
  if (group < 1 || w.dims[0] == kDynamic || w.dims[1] == kDynamic || w.dims[0] % group != 0 ||
      !mayEqual(x.dims[1], w.dims[1] * group))
    return invalidArgument("C2: I1 " + x.toString() + " and I2 " + w.toString() +
                           " do not fit with " + std::to_string(group) + " groups");
  if (bias && (bias->dtype != x.dtype || bias->rank() != 1 || !mayEqual(bias->dims[0], w.dims[0])))
    return invalidArgument("C3: I3 is " + bias->toString() +
                           "; it must have one element of I1's dtype for each output channel");
  PLATEN_ASSIGN_OR_RETURN(const Geometry g, geometryOf(x, w, context.attributes));
  TensorType result{x.dtype, {x.dims[0], w.dims[0]}};
  result.dims.insert(result.dims.end(), g.out.begin(), g.out.end());
  return std::vector{std::move(result)};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &w = *inputs[1], *bias = inputs[2];
  PLATEN_ASSIGN_OR_RETURN(const Geometry g, geometryOf(x.type(), w.type(), attributes));
  const size_t axes = g.out.size();
  const int64_t channels = w.dims()[1], perGroup = w.dims()[0] / intAttribute(attributes, "group");
  std::vector<int64_t> dims = {x.dims()[0], w.dims()[0]};
  dims.insert(dims.end(), g.out.begin(), g.out.end());
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{x.dtype(), dims});
  const std::span<const int64_t> kernel = w.dims().subspan(2);
  StridedWalk out(dims, {std::vector<int64_t>(dims.size(), 0)});
  for (int64_t i = 0; i < y.elementCount(); ++i, out.next()) {
    const int64_t n = out.coordinates()[0], m = out.coordinates()[1];
    double sum = bias ? bias->get(m) : 0;
    StridedWalk tap(kernel, {std::vector<int64_t>(axes, 0)});
    for (int64_t k = 0, taps = productOf(kernel); k < taps; ++k, tap.next()) {
      bool inside = true;
      int64_t position = 0;
      for (size_t axis = 0; axis < axes; ++axis) {
        const int64_t at = out.coordinates()[2 + axis] * g.strides[axis] +
                           tap.coordinates()[axis] * g.dilations[axis] - g.before[axis];
        inside = inside && at >= 0 && at < x.dims()[2 + axis];
        position = position * x.dims()[2 + axis] + at;
      }
      const int64_t plane = productOf(x.dims().subspan(2));
      for (int64_t c = 0; inside && c < channels; ++c)
        sum += x.get((n * x.dims()[1] + m / perGroup * channels + c) * plane + position) *
               w.get((m * channels + c) * taps + k);
    }
    y.set(i, sum);
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), w = op.operand(1), y = op.result(0);
  auto typeOf = [](const loops::TensorRef &tensor) {
    TensorType type{tensor.dtype, {}};
    for (const base::Size &dim : tensor.dims)
      type.dims.push_back(dim.constant().value_or(kDynamic));
    return type;
  };
  PLATEN_ASSIGN_OR_RETURN(const Geometry g, geometryOf(typeOf(x), typeOf(w), op.attributes()));
  const std::optional<int64_t> outputs = w.dims[0].constant(), channels = w.dims[1].constant();
  if (!outputs || !channels)
    return base::unsupported("C2: the channels of I2 must be known when the plan is compiled");
  const int64_t perGroup = *outputs / intAttribute(op.attributes(), "group");
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const loops::Value first = s.mul(s.div(at[1], s.integer(perGroup)), s.integer(*channels));
    const loops::Value sum =
        s.sumOver(std::span(w.dims).subspan(1), y.kind(), [&](loops::Coordinates tap) {
          std::vector<loops::Value> weight = {at[1]}, from = {at[0], s.add(first, tap[0])};
          weight.insert(weight.end(), tap.begin(), tap.end());
          loops::Value inside = s.boolean(true);
          for (size_t i = 0; i < g.out.size(); ++i) {
            const loops::Value position = s.sub(s.add(s.mul(at[2 + i], s.integer(g.strides[i])),
                                                      s.mul(tap[1 + i], s.integer(g.dilations[i]))),
                                                s.integer(g.before[i]));
            from.push_back(position);
            inside = s.both(inside, s.isInside(position, s.dim(x, 2 + i)));
          }
          return s.mul(s.loadWhere(inside, x, from, s.number(x.kind(), 0)), s.load(w, weight));
        });
    return op.has(2) ? s.add(sum, s.load(op.operand(2), at.subspan(1, 1))) : sum;
  });
}

} // namespace

const OpSpec kConv{
    .name = "conv",
    .operands = {{"x"}, {"weight"}, {.name = "bias", .optional = true}},
    .attributes = {{"auto_pad", std::string("NOTSET")},
                   {"dilations", std::vector<int64_t>{}},
                   {"group", int64_t{1}},
                   {"pads", std::vector<int64_t>{}},
                   {"strides", std::vector<int64_t>{}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Conv", 1}},
    .loops = lower,
};

} // namespace platen::ops
