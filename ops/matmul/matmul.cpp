// See matmul.md. Every output element is one ascending sum over k in double. Columns of the result
// are taken in blocks, so that a block of accumulators per row of I1 is all the extra memory.
#include "ops/matmul/matmul.h"
#include "ops/elementwise.h"

#include <algorithm>

namespace platen::ops {

using base::invalidArgument;
using base::Result;

namespace {

/// I1 [batch…, m, k] by I2 [batch…, k, n] ([batch…, n, k] if transposed); a vector counts as one
/// row of I1, resp. one column of I2, and loses that axis in the result.
struct Geometry {
  int64_t m, k, n;
  bool rowVector, columnVector;
  std::vector<int64_t> aBatch, bBatch, batch;
  std::vector<int64_t> resultDims() const {
    std::vector<int64_t> dims = batch;
    if (!rowVector)
      dims.push_back(m);
    if (!columnVector)
      dims.push_back(n);
    return dims;
  }
};

Result<Geometry> geometryOf(const TensorType &a, const TensorType &b, bool transposeB) {
  if (a.rank() < 1 || b.rank() < 1)
    return invalidArgument("C2: I1 is " + a.toString() + " and I2 is " + b.toString() +
                           "; both must have rank 1 or more");
  Geometry g;
  g.rowVector = a.rank() == 1;
  g.columnVector = b.rank() == 1;
  size_t aLast = a.dims.size() - 1, bLast = b.dims.size() - 1;
  g.m = g.rowVector ? 1 : a.dims[aLast - 1];
  g.k = a.dims[aLast];
  int64_t bK = g.columnVector ? b.dims[0] : b.dims[transposeB ? bLast : bLast - 1];
  g.n = g.columnVector ? 1 : b.dims[transposeB ? bLast - 1 : bLast];
  if (!mayEqual(g.k, bK))
    return invalidArgument("C3: I1 " + a.toString() + " and I2 " + b.toString() + " meet over " +
                           std::to_string(g.k) + " and " + std::to_string(bK) +
                           " elements; these must be equal");
  if (!g.rowVector)
    g.aBatch.assign(a.dims.begin(), a.dims.end() - 2);
  if (!g.columnVector)
    g.bBatch.assign(b.dims.begin(), b.dims.end() - 2);
  auto batch = broadcastDims(g.aBatch, g.bBatch);
  if (!batch)
    return invalidArgument("C4: the leading axes of I1 " + a.toString() + " and I2 " +
                           b.toString() +
                           " do not broadcast: " + std::string(batch.status().message()));
  g.batch = std::move(*batch);
  return g;
}

InferResult infer(const InferContext &context) {
  const TensorType &a = *context.types[0], &b = *context.types[1];
  if (!base::isFloat(a.dtype) || a.dtype != b.dtype)
    return invalidArgument("C1: I1 is " + a.toString() + " and I2 is " + b.toString() +
                           "; both must have the same float dtype");
  PLATEN_ASSIGN_OR_RETURN(Geometry g,
                          geometryOf(a, b, intAttribute(context.attributes, "transpose_b") != 0));
  return std::vector{TensorType{a.dtype, g.resultDims()}};
}

constexpr int64_t kBlock = 256; // columns of the result at a time

/// acc[m][kBlock] of columns [begin, begin + width) from a [m][k] and the matrix at b[bStart…].
void multiplyBlock(const Geometry &g, std::span<const double> a, const Tensor &b, int64_t bStart,
                   bool transposeB, int64_t begin, int64_t width, std::span<double> acc) {
  std::fill(acc.begin(), acc.end(), 0.0);
  if (transposeB) {
    std::vector<double> row(static_cast<size_t>(g.k));
    for (int64_t j = 0; j < width; ++j) {
      b.read(bStart + (begin + j) * g.k, row);
      for (int64_t i = 0; i < g.m; ++i)
        for (int64_t k = 0; k < g.k; ++k)
          acc[static_cast<size_t>(i * kBlock + j)] +=
              a[static_cast<size_t>(i * g.k + k)] * row[static_cast<size_t>(k)];
    }
    return;
  }
  std::vector<double> row(static_cast<size_t>(width));
  for (int64_t k = 0; k < g.k; ++k) {
    b.read(bStart + k * g.n + begin, row);
    for (int64_t i = 0; i < g.m; ++i) {
      double factor = a[static_cast<size_t>(i * g.k + k)];
      double *sums = acc.data() + i * kBlock;
      for (int64_t j = 0; j < width; ++j)
        sums[j] += factor * row[static_cast<size_t>(j)];
    }
  }
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &a = *inputs[0], &b = *inputs[1];
  bool transposeB = intAttribute(attributes, "transpose_b") != 0;
  PLATEN_ASSIGN_OR_RETURN(Geometry g, geometryOf(a.type(), b.type(), transposeB));
  std::vector<Tensor> results;
  Tensor &y = results.emplace_back(TensorType{a.dtype(), g.resultDims()});
  std::vector<double> rows(static_cast<size_t>(g.m * g.k)); // [m][k] of one batch entry
  std::vector<double> acc(static_cast<size_t>(g.m * kBlock));
  StridedWalk walk(g.batch,
                   {broadcastStrides(g.aBatch, g.batch), broadcastStrides(g.bBatch, g.batch)});
  for (int64_t entry = 0, count = productOf(g.batch); entry < count; ++entry, walk.next()) {
    a.read(walk.index(0) * g.m * g.k, rows);
    for (int64_t begin = 0; begin < g.n; begin += kBlock) {
      int64_t width = std::min(kBlock, g.n - begin);
      multiplyBlock(g, rows, b, walk.index(1) * g.k * g.n, transposeB, begin, width, acc);
      for (int64_t i = 0; i < g.m; ++i)
        for (int64_t j = 0; j < width; ++j)
          y.set((entry * g.m + i) * g.n + begin + j, acc[static_cast<size_t>(i * kBlock + j)]);
    }
  }
  return results;
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef a = op.operand(0), b = op.operand(1), y = op.result(0);
  const bool rowVector = a.rank() == 1, columnVector = b.rank() == 1;
  const bool transposeB = intAttribute(op.attributes(), "transpose_b") != 0;
  const size_t batchAxes = y.rank() - (rowVector ? 0 : 1) - (columnVector ? 0 : 1);
  return op.compute(y, [&](loops::Stage &s, loops::Coordinates at) {
    auto own = [&](const loops::TensorRef &x) { // coordinates of the batch axes, right-aligned
      std::vector<loops::Value> batch;
      const size_t axes = x.rank() < 2 ? 0 : x.rank() - 2;
      for (size_t axis = 0; axis < axes; ++axis)
        batch.push_back(x.dims[axis] == base::Size(1) ? s.integer(0) : at[batchAxes - axes + axis]);
      return batch;
    };
    std::vector<loops::Value> left = own(a), right = own(b);
    if (!rowVector)
      left.push_back(at[batchAxes]);
    const loops::Value k = s.dim(a, a.rank() - 1);
    return s.sum(k, y.kind(), [&](loops::Value i) {
      std::vector<loops::Value> l = left, r = right;
      l.push_back(i);
      if (!columnVector && transposeB)
        r.push_back(at.back());
      r.push_back(i);
      if (!columnVector && !transposeB)
        r.push_back(at.back());
      return s.mul(s.load(a, l), s.load(b, r));
    });
  });
}

} // namespace

const OpSpec kMatmul{
    .name = "matmul",
    .operands = {{"a"}, {"b"}},
    .attributes = {{"transpose_b", int64_t{0}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "MatMul", 1}},
    .loops = lower,
};

} // namespace platen::ops
