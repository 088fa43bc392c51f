// See add.md for the contract; constraints C1 and C2 are those of inferBinary.
#include "ops/add/add.h"
#include "ops/elementwise.h"

namespace platen::ops {
namespace {

base::Result<std::vector<Tensor>> reference(Inputs inputs, const Attributes &) {
  return mapBinary(
      inputs, inputs[0]->dtype(), [](double a, double b) { return a + b; },
      [](int64_t a, int64_t b) {
        return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
      });
}

base::Result<OpCall> fromSum(const OnnxNode &node) {
  if (node.inputPresent.size() != 2)
    return base::unsupported("C4: Sum has " + std::to_string(node.inputPresent.size()) +
                             " operands; only two are supported");
  return defaultOnnxMap(kAdd, node);
}

} // namespace

const OpSpec kAdd{
    .name = "add",
    .operands = {{"a"}, {"b"}},
    .attributes = {},
    .infer = inferBinary,
    .reference = reference,
    .onnx = {{"", "Add", 7}, {"", "Sum", 8, std::numeric_limits<int64_t>::max(), fromSum}},
    .loops = [](loops::Lowering &op) { return loopBinary(op, binaryLoop<loops::Op::kAdd>); },
};

} // namespace platen::ops
