// See add.md for the contract; constraints C1 and C2 are those of inferBinary.
#include "ops/add/add.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

base::Result<std::vector<Tensor>> reference(Inputs inputs, const Attributes &) {
  return mapBinary(
      inputs, inputs[0]->dtype(), [](double a, double b) { return a + b; },
      [](int64_t a, int64_t b) { return a + b; });
}

} // namespace

const OpSpec kAdd{
    .name = "add",
    .operands = {{"a"}, {"b"}},
    .attributes = {},
    .infer = inferBinary,
    .reference = reference,
    .onnx = {{"", "Add", 7}},
};

} // namespace platen::ops
