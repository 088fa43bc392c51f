// See layer_norm.md; Ba, Kiros and Hinton 2016, arXiv 1607.06450, eq. 4, in double.
#include "ops/layer_norm/layer_norm.h"
#include "ops/elementwise.h"
#include "ops/onnx_map.h"

#include <cmath>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

/// I2 and I3 broadcast to I1 without widening it.
bool broadcastsInto(const TensorType &part, const TensorType &x) {
  auto dims = broadcastDims(x.dims, part.dims);
  bool same = dims.isOk() && part.dtype == x.dtype && dims->size() == x.dims.size();
  for (size_t i = 0; same && i < x.dims.size(); ++i)
    same = mayEqual((*dims)[i], x.dims[i]);
  return same;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0];
  if (x.rank() < 1 || !base::isFloat(x.dtype))
    return invalidArgument("C1: I1 is " + x.toString() +
                           "; it must be a float tensor of rank 1 or more");
  auto axis = normalizeAxis(intAttribute(context.attributes, "axis"), x.rank(), "C2: axis");
  if (!axis)
    return axis.status();
  for (size_t i = 1; i < 3; ++i)
    if (context.types[i] && !broadcastsInto(*context.types[i], x))
      return invalidArgument("C3: I2 is " + context.types[1]->toString() +
                             (context.types[2] ? ", I3 " + context.types[2]->toString() : "") +
                             "; they must have I1's dtype and broadcast to " + x.toString());
  if (floatAttribute(context.attributes, "epsilon") < 0)
    return invalidArgument("C4: epsilon is negative");
  return std::vector{x};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0], &scale = *inputs[1], *bias = inputs[2];
  PLATEN_ASSIGN_OR_RETURN(
      int64_t axis, normalizeAxis(intAttribute(attributes, "axis"), x.type().rank(), "C2: axis"));
  double epsilon = floatAttribute(attributes, "epsilon");
  std::vector<double> row(
      static_cast<size_t>(productOf(x.dims().subspan(static_cast<size_t>(axis)))));
  auto columns = static_cast<int64_t>(row.size());
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(x.type());
  std::vector<std::vector<int64_t>> strides{broadcastStrides(scale.dims(), x.dims())};
  strides.push_back(bias ? broadcastStrides(bias->dims(), x.dims()) : strides[0]);
  StridedWalk walk(x.dims(), std::move(strides));
  for (int64_t start = 0; start < x.elementCount(); start += columns) {
    x.read(start, row);
    double mean = 0, variance = 0;
    for (double value : row)
      mean += value / static_cast<double>(columns);
    for (double value : row)
      variance += (value - mean) * (value - mean) / static_cast<double>(columns);
    double inverse = 1 / std::sqrt(variance + epsilon);
    for (int64_t c = 0; c < columns; ++c, walk.next())
      y.set(start + c, (row[static_cast<size_t>(c)] - mean) * inverse * scale.get(walk.index(0)) +
                           (bias ? bias->get(walk.index(1)) : 0));
  }
  return results;
}

Result<OpCall> fromLayerNormalization(const OnnxNode &node) {
  PLATEN_RETURN_IF_ERROR(refuseOutput(node, 1, "C5"));
  PLATEN_RETURN_IF_ERROR(refuseOutput(node, 2, "C5"));
  PLATEN_ASSIGN_OR_RETURN(OpCall call, defaultOnnxMap(kLayerNorm, node));
  call.outputs = {0};
  return call;
}

/// Two launches: mean and inverse deviation of each row, then the elements.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0), y = op.result(0);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(x.rank()), "C2: axis"));
  const auto rowDims = std::span(x.dims).subspan(static_cast<size_t>(axis));
  const std::vector<base::Size> rows(x.dims.begin(), x.dims.begin() + axis);
  const DType wide = loops::accumulatorOf(x.dtype);
  const loops::TensorRef means = op.temporary(wide, rows), inverses = op.temporary(wide, rows);
  PLATEN_RETURN_IF_ERROR(op.launch(rows, rows.size(), [&](loops::Stage &s, loops::Coordinates at) {
    auto element = [&](loops::Coordinates inner) {
      std::vector<loops::Value> own(at.begin(), at.end());
      own.insert(own.end(), inner.begin(), inner.end());
      return s.load(x, own);
    };
    const loops::Value count = s.convert(x.kind(), s.size(base::productOf(rowDims))),
                       mean = s.div(s.sumOver(rowDims, x.kind(), element), count);
    const loops::Value squares = s.sumOver(rowDims, x.kind(), [&](loops::Coordinates inner) {
      const loops::Value distance = s.sub(element(inner), mean);
      return s.mul(distance, distance);
    });
    const loops::Value epsilon = s.number(x.kind(), floatAttribute(op.attributes(), "epsilon"));
    s.store(means, at, mean);
    s.store(inverses, at,
            s.div(s.number(x.kind(), 1),
                  s.unary(loops::Op::kSqrt, s.add(s.div(squares, count), epsilon))));
  }));
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    const auto row = at.first(rows.size());
    const loops::Value centred = s.sub(s.load(x, at), s.load(means, row)),
                       scaled = s.mul(s.mul(centred, s.load(inverses, row)),
                                      s.loadBroadcast(op.operand(1), at, y.dims));
    return op.has(2) ? s.add(scaled, s.loadBroadcast(op.operand(2), at, y.dims)) : scaled;
  });
}

} // namespace

const OpSpec kLayerNorm{
    .name = "layer_norm",
    .operands = {{"x"}, {"scale"}, {.name = "bias", .optional = true}},
    .attributes = {{"axis", int64_t{-1}}, {"epsilon", 1e-5}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "LayerNormalization", 17, kAnyVersion, fromLayerNormalization}},
    .loops = lower,
};

} // namespace platen::ops
