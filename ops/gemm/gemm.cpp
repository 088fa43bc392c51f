// See gemm.md for the contract.
#include "ops/gemm/gemm.h"
#include "ops/elementwise.h"

#include <array>

namespace platen::ops {

using base::invalidArgument;

namespace {

InferResult infer(const InferContext &context) {
  const TensorType &a = *context.types[0], &b = *context.types[1], *c = context.types[2];
  if (a.rank() != 2 || b.rank() != 2 || !base::isFloat(a.dtype) || a.dtype != b.dtype)
    return invalidArgument("C1: I1 is " + a.toString() + " and I2 is " + b.toString() +
                           "; both must be matrices of one float dtype");
  bool transA = intAttribute(context.attributes, "transA") != 0,
       transB = intAttribute(context.attributes, "transB") != 0;
  if (!mayEqual(a.dims[transA ? 0 : 1], b.dims[transB ? 1 : 0]))
    return invalidArgument("C2: I1 " + a.toString() + " and I2 " + b.toString() +
                           " meet over different numbers of elements");
  TensorType result{a.dtype, {a.dims[transA ? 1 : 0], b.dims[transB ? 0 : 1]}};
  if (c) {
    auto dims = broadcastDims(result.dims, c->dims);
    bool fits = dims.isOk() && c->dtype == a.dtype && dims->size() == 2 &&
                mayEqual((*dims)[0], result.dims[0]) && mayEqual((*dims)[1], result.dims[1]);
    if (!fits)
      return invalidArgument("C3: I3 is " + c->toString() + "; it must broadcast to " +
                             result.toString());
  }
  return std::vector{std::move(result)};
}

/// Columns of `matrix` as rows, in double: [k][n] read along n.
std::vector<double> widen(const Tensor &matrix, bool transpose) {
  std::vector<double> values(static_cast<size_t>(matrix.elementCount()));
  if (!transpose) {
    matrix.read(0, values);
    return values;
  }
  int64_t rows = matrix.dims()[0], columns = matrix.dims()[1];
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      values[static_cast<size_t>(c * rows + r)] = matrix.get(r * columns + c);
  return values;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &a = *inputs[0], &b = *inputs[1], *c = inputs[2];
  bool transA = intAttribute(attributes, "transA") != 0,
       transB = intAttribute(attributes, "transB") != 0;
  double alpha = floatAttribute(attributes, "alpha"), beta = floatAttribute(attributes, "beta");
  int64_t m = a.dims()[transA ? 1 : 0], depth = a.dims()[transA ? 0 : 1],
          n = b.dims()[transB ? 0 : 1];
  std::vector<double> left = widen(a, transA), right = widen(b, transB); // [m][k], [k][n]
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{a.dtype(), {m, n}});
  StridedWalk walk(y.dims(),
                   {c ? broadcastStrides(c->dims(), y.dims()) : std::vector<int64_t>(2, 0)});
  std::vector<double> sums(static_cast<size_t>(n));
  for (int64_t i = 0; i < m; ++i) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t j = 0; j < n; ++j)
        sums[static_cast<size_t>(j)] +=
            left[static_cast<size_t>(i * depth + k)] * right[static_cast<size_t>(k * n + j)];
    for (int64_t j = 0; j < n; ++j, walk.next())
      y.set(i * n + j,
            alpha * sums[static_cast<size_t>(j)] + (c ? beta * c->get(walk.index(0)) : 0));
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef a = op.operand(0), b = op.operand(1), y = op.result(0);
  const bool transA = intAttribute(op.attributes(), "transA") != 0,
             transB = intAttribute(op.attributes(), "transB") != 0;
  const double alpha = floatAttribute(op.attributes(), "alpha"),
               beta = floatAttribute(op.attributes(), "beta");
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    loops::Value sum = s.sum(s.dim(a, transA ? 0 : 1), y.kind(), [&](loops::Value k) {
      const std::array left = transA ? std::array{k, at[0]} : std::array{at[0], k};
      const std::array right = transB ? std::array{at[1], k} : std::array{k, at[1]};
      return s.mul(s.load(a, left), s.load(b, right));
    });
    if (alpha != 1)
      sum = s.mul(s.number(y.kind(), alpha), sum);
    if (!op.has(2))
      return sum;
    const loops::Value c = s.loadBroadcast(op.operand(2), at, y.dims);
    return s.add(sum, beta == 1 ? c : s.mul(s.number(y.kind(), beta), c));
  });
}

} // namespace

const OpSpec kGemm{
    .name = "gemm",
    .operands = {{"a"}, {"b"}, {.name = "c", .optional = true}},
    .attributes = {{"alpha", 1.0}, {"beta", 1.0}, {"transA", int64_t{0}}, {"transB", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Gemm", 7}},
    .loops = lower,
};

} // namespace platen::ops
