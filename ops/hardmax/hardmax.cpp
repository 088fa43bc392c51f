// See hardmax.md.
#include "ops/hardmax/hardmax.h"
#include "ops/softmax_rows.h"

#include <algorithm>

namespace platen::ops {

namespace {

void row(std::span<double> values) {
  const auto best = std::max_element(values.begin(), values.end());
  const auto index = best - values.begin();
  std::fill(values.begin(), values.end(), 0.0);
  values[static_cast<size_t>(index)] = 1;
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  return mapSoftmaxRows(inputs, attributes, row);
}

/// Two launches: the index in each row, then the elements.
base::Status lower(loops::Lowering &op) {
  const loops::TensorRef x = op.operand(0);
  PLATEN_ASSIGN_OR_RETURN(int64_t axis, normalizeAxis(intAttribute(op.attributes(), "axis"),
                                                      static_cast<int64_t>(x.rank()), "C2: axis"));
  const auto along = static_cast<size_t>(axis);
  std::vector<base::Size> rows = x.dims;
  rows[along] = 1;
  const loops::TensorRef best = op.temporary(DType::kI64, rows);
  PLATEN_RETURN_IF_ERROR(op.compute(best, [&](loops::Stage &s, loops::Coordinates at) {
    auto element = [&](loops::Value index) {
      std::vector<loops::Value> own(at.begin(), at.end());
      own[along] = index;
      return s.load(x, own);
    };
    return s.fold(s.integer(1), s.dim(x, along), {s.integer(0), element(s.integer(0))},
                  [&](loops::Value index, std::span<const loops::Value> carried) {
                    const loops::Value value = element(index), wins = s.less(carried[1], value);
                    return std::vector{s.select(wins, index, carried[0]),
                                       s.select(wins, value, carried[1])};
                  })[0];
  }));
  return op.compute(op.result(0), [&](loops::Stage &s, loops::Coordinates at) {
    std::vector<loops::Value> own(at.begin(), at.end());
    own[along] = s.integer(0);
    return s.select(s.equal(s.load(best, own), at[along]), s.number(x.kind(), 1),
                    s.number(x.kind(), 0));
  });
}

} // namespace

const OpSpec kHardmax{
    .name = "hardmax",
    .operands = {{"x"}},
    .attributes = {{"axis", int64_t{-1}}},
    .infer = inferSoftmax,
    .reference = reference,
    .onnx = {{"", "Hardmax", 13}, {"", "Hardmax", 1, 12, mapCoercedSoftmax}},
    .loops = lower,
};

} // namespace platen::ops
