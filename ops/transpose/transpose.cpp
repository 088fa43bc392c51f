// See transpose.md for the contract.
#include "ops/transpose/transpose.h"
#include "ops/elementwise.h"

namespace platen::ops {

using base::Result;

namespace {

Result<std::vector<int64_t>> permutation(int64_t rank, const Attributes &attributes) {
  std::vector<int64_t> perm = intsAttribute(attributes, "perm");
  if (perm.empty())
    for (int64_t axis = rank; axis-- > 0;)
      perm.push_back(axis);
  std::vector<bool> seen(static_cast<size_t>(rank), false);
  bool valid = static_cast<int64_t>(perm.size()) == rank;
  for (int64_t &axis : perm) {
    axis += axis < 0 ? rank : 0;
    valid = valid && axis >= 0 && axis < rank && !seen[static_cast<size_t>(axis)];
    if (valid)
      seen[static_cast<size_t>(axis)] = true;
  }
  if (!valid)
    return base::invalidArgument("C1: perm is no permutation of the " + std::to_string(rank) +
                                 " axes of I1");
  return perm;
}

InferResult infer(const InferContext &context) {
  const TensorType &x = *context.types[0];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> perm, permutation(x.rank(), context.attributes));
  TensorType result{x.dtype, {}};
  for (int64_t axis : perm)
    result.dims.push_back(x.dims[static_cast<size_t>(axis)]);
  return std::vector{std::move(result)};
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  const Tensor &x = *inputs[0];
  PLATEN_ASSIGN_OR_RETURN(std::vector<int64_t> perm, permutation(x.type().rank(), attributes));
  std::vector<int64_t> own = stridesOf(x.dims()), dims, strides;
  for (int64_t axis : perm) {
    dims.push_back(x.dims()[static_cast<size_t>(axis)]);
    strides.push_back(own[static_cast<size_t>(axis)]);
  }
  return std::vector{gatherStrided(x, std::move(dims), std::move(strides))};
}

base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  PLATEN_ASSIGN_OR_RETURN(const std::vector<int64_t> perm,
                          permutation(static_cast<int64_t>(x.rank()), op.attributes()));
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> own(x.rank());
    for (size_t axis = 0; axis < perm.size(); ++axis)
      own[static_cast<size_t>(perm[axis])] = at[axis];
    return s.load(x, own);
  });
}

} // namespace

const OpSpec kTranspose{
    .name = "transpose",
    .operands = {{"x"}},
    .attributes = {{"perm", std::vector<int64_t>{}}},
    .infer = infer,
    .reference = reference,
    .onnx = {{"", "Transpose", 1}},
    .loops = lower,
};

} // namespace platen::ops
