// See reduce.md. The plain sum, mean, greatest and least element are operators of their own.
#include "ops/reduce/reduce.h"
#include "ops/onnx_map.h"
#include "ops/reduction.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace platen::ops {

using base::Result;
using loops::Op;
using loops::Stage;
using loops::Value;

namespace {

using Numbers = std::span<const double>;
using Integers = std::span<const int64_t>;

template <typename F> double sumOf(Numbers values, F f) {
  double sum = 0;
  for (double value : values)
    sum += f(value);
  return sum;
}
/// Integers wrap.
template <typename F> int64_t integerSumOf(Integers values, F f) {
  uint64_t sum = 0;
  for (int64_t value : values)
    sum += static_cast<uint64_t>(f(value));
  return static_cast<int64_t>(sum);
}
double logSumExp(Numbers values) {
  double greatest = -HUGE_VAL;
  for (double value : values)
    greatest = std::max(greatest, value);
  if (std::isinf(greatest))
    return greatest;
  return greatest + std::log(sumOf(values, [=](double x) { return std::exp(x - greatest); }));
}
int64_t magnitude(int64_t x) { return x < 0 ? static_cast<int64_t>(-static_cast<uint64_t>(x)) : x; }
int64_t square(int64_t x) {
  return static_cast<int64_t>(static_cast<uint64_t>(x) * static_cast<uint64_t>(x));
}

Value zero(Stage &s, loops::Kind kind) { return s.number(kind, 0); }
Value addSquare(Stage &s, Value sum, Value x) { return s.add(sum, s.mul(x, x)); }

struct Kind {
  std::string_view name, onnx;
  int64_t since; ///< the opset in which the axes became an input
  bool floatsOnly;
  double (*floating)(Numbers);
  int64_t (*integral)(Integers);
  LoopReduction loop;
};

const std::array kKinds = {
    Kind{"l1",
         "ReduceL1",
         18,
         false,
         [](Numbers v) { return sumOf(v, [](double x) { return std::abs(x); }); },
         [](Integers v) { return integerSumOf(v, magnitude); },
         {zero, [](Stage &s, Value sum, Value x) { return s.add(sum, s.unary(Op::kAbs, x)); },
          nullptr, true}},
    Kind{"l2",
         "ReduceL2",
         18,
         true,
         [](Numbers v) { return std::sqrt(sumOf(v, [](double x) { return x * x; })); },
         nullptr,
         {zero, addSquare, [](Stage &s, Value sum, Value) { return s.unary(Op::kSqrt, sum); },
          true}},
    Kind{"log_sum",
         "ReduceLogSum",
         18,
         true,
         [](Numbers v) { return std::log(sumOf(v, [](double x) { return x; })); },
         nullptr,
         {zero, binaryLoop<Op::kAdd>,
          [](Stage &s, Value sum, Value) { return s.unary(Op::kLog, sum); }, true}},
    Kind{"log_sum_exp", "ReduceLogSumExp", 18, true, logSumExp, nullptr, {}},
    Kind{"prod",
         "ReduceProd",
         18,
         false,
         [](Numbers v) {
           double product = 1;
           for (double x : v)
             product *= x;
           return product;
         },
         [](Integers v) {
           uint64_t product = 1;
           for (int64_t x : v)
             product *= static_cast<uint64_t>(x);
           return static_cast<int64_t>(product);
         },
         {[](Stage &s, loops::Kind kind) { return s.number(kind, 1); }, binaryLoop<Op::kMul>,
          nullptr, true}},
    Kind{"sum_square",
         "ReduceSumSquare",
         18,
         false,
         [](Numbers v) { return sumOf(v, [](double x) { return x * x; }); },
         [](Integers v) { return integerSumOf(v, square); },
         {zero, addSquare, nullptr, true}},
};

Result<Kind> kindOf(const Attributes &attributes) {
  const std::string &name = stringAttribute(attributes, "kind");
  for (const Kind &kind : kKinds)
    if (kind.name == name)
      return kind;
  return base::invalidArgument("C5: kind is '" + name + "', which names no reduction");
}

InferResult infer(const InferContext &context) {
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(context.attributes));
  if (kind.floatsOnly && !base::isFloat(context.types[0]->dtype) &&
      context.types[0]->dtype != DType::kBool)
    return base::invalidArgument("C6: I1 is " + context.types[0]->toString() + "; " +
                                 std::string(kind.name) + " takes floats");
  return inferReduction(context);
}

EvaluateResult reference(Inputs inputs, const Attributes &attributes) {
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(attributes));
  return mapReduction(inputs, attributes, kind.floating, kind.integral);
}

/// Greatest element and sum of powers in one pass: the sum is brought to a new greatest element.
base::Status lowerLogSumExp(loops::Lowering &op) {
  return loopReductionOf(
      op, [](Stage &s, loops::Kind kind) { return std::vector{s.least(kind), s.number(kind, 0)}; },
      [](Stage &s, std::span<const Value> carried, Value x) {
        const Value greatest = s.max(carried[0], x), least = s.least(s.kind(x)),
                    safe = s.select(s.equal(greatest, least), s.number(s.kind(x), 0), greatest);
        const Value before = s.mul(carried[1], s.unary(Op::kExp, s.sub(carried[0], safe)));
        return std::vector{greatest, s.add(before, s.unary(Op::kExp, s.sub(x, safe)))};
      },
      [](Stage &s, std::span<const Value> carried, Value) {
        return s.select(s.isInfinite(carried[0]), carried[0],
                        s.add(carried[0], s.unary(Op::kLog, carried[1])));
      },
      false);
}

base::Status lower(loops::Lowering &op) {
  PLATEN_ASSIGN_OR_RETURN(const Kind kind, kindOf(op.attributes()));
  return kind.name == "log_sum_exp" ? lowerLogSumExp(op) : loopReduction(op, kind.loop);
}

Result<OpCall> fromOnnx(const OnnxNode &node) {
  for (const Kind &kind : kKinds)
    if (kind.onnx == node.opType) {
      PLATEN_ASSIGN_OR_RETURN(OpCall call, node.version < kind.since
                                               ? mapReductionAxesAttribute(kReduce, node)
                                               : defaultOnnxMap(kReduce, node));
      call.attributes["kind"] = std::string(kind.name);
      return call;
    }
  return base::unsupported("there is no reduction " + std::string(node.opType));
}

std::vector<OnnxRow> onnxRows() {
  std::vector<OnnxRow> rows;
  for (const Kind &kind : kKinds)
    rows.push_back({"", kind.onnx, 1, kAnyVersion, fromOnnx});
  return rows;
}

std::vector<AttributeSpec> attributes() {
  std::vector<AttributeSpec> all = {{"kind", std::string(), true}};
  for (AttributeSpec &spec : reductionAttributes())
    all.push_back(std::move(spec));
  return all;
}

} // namespace

const OpSpec kReduce{
    .name = "reduce",
    .operands = {{"x"}, {.name = "axes", .optional = true}},
    .attributes = attributes(),
    .infer = infer,
    .reference = reference,
    .onnx = onnxRows(),
    .loops = lower,
};

} // namespace platen::ops
