#include "ops/loops/evaluate.h"

#include <bit>
#include <cmath>
#include <optional>

namespace platen::ops::loops {

namespace {

/// One value; `integer` of kBool and kInt, `number` of floats (f32 exactly representable).
struct Scalar {
  int64_t integer = 0;
  double number = 0;
};

bool isFloatKind(Kind kind) { return kind == Kind::kF32 || kind == Kind::kF64; }
double rounded(Kind kind, double value) {
  return kind == Kind::kF32 ? double{static_cast<float>(value)} : value;
}

int64_t integerOf(Op op, int64_t a, int64_t b, bool isUnsigned) {
  const auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  switch (op) {
  case Op::kAdd:
    return static_cast<int64_t>(ua + ub);
  case Op::kSub:
    return static_cast<int64_t>(ua - ub);
  case Op::kMul:
    return static_cast<int64_t>(ua * ub);
  case Op::kDiv:
    return b == 0       ? 0
           : isUnsigned ? static_cast<int64_t>(ua / ub)
           : b == -1    ? static_cast<int64_t>(0 - ua)
                        : a / b;
  case Op::kRem:
    return b == 0 ? 0 : isUnsigned ? static_cast<int64_t>(ua % ub) : b == -1 ? 0 : a % b;
  case Op::kMin:
    return isUnsigned ? static_cast<int64_t>(std::min(ua, ub)) : std::min(a, b);
  case Op::kMax:
    return isUnsigned ? static_cast<int64_t>(std::max(ua, ub)) : std::max(a, b);
  case Op::kAnd:
    return a & b;
  case Op::kOr:
    return a | b;
  case Op::kXor:
    return a ^ b;
  case Op::kShiftLeft:
    return ub >= 64 ? 0 : static_cast<int64_t>(ua << ub);
  case Op::kShiftRight:
    if (isUnsigned)
      return ub >= 64 ? 0 : static_cast<int64_t>(ua >> ub);
    return a >> std::min<uint64_t>(ub, 63);
  case Op::kEqual:
    return a == b;
  case Op::kLess:
    return isUnsigned ? ua < ub : a < b;
  case Op::kLessEqual:
    return isUnsigned ? ua <= ub : a <= b;
  case Op::kNeg:
    return static_cast<int64_t>(0 - ua);
  case Op::kAbs:
    return a < 0 ? static_cast<int64_t>(0 - ua) : a;
  default:
    return 0;
  }
}

double floatOf(Op op, double a, double b, double c) {
  switch (op) {
  case Op::kAdd:
    return a + b;
  case Op::kSub:
    return a - b;
  case Op::kMul:
    return a * b;
  case Op::kDiv:
    return a / b;
  case Op::kRem:
    return std::fmod(a, b);
  case Op::kMin:
    return std::isnan(a) || std::isnan(b) ? std::nan("") : std::min(a, b);
  case Op::kMax:
    return std::isnan(a) || std::isnan(b) ? std::nan("") : std::max(a, b);
  case Op::kNeg:
    return -a;
  case Op::kAbs:
    return std::fabs(a);
  case Op::kFma:
    return std::fma(a, b, c);
  case Op::kSqrt:
    return std::sqrt(a);
  case Op::kFloor:
    return std::floor(a);
  case Op::kCeil:
    return std::ceil(a);
  case Op::kTrunc:
    return std::trunc(a);
  case Op::kRoundEven:
    return std::nearbyint(a);
  case Op::kExp:
    return std::exp(a);
  case Op::kLog:
    return std::log(a);
  case Op::kSin:
    return std::sin(a);
  case Op::kCos:
    return std::cos(a);
  case Op::kTan:
    return std::tan(a);
  case Op::kAsin:
    return std::asin(a);
  case Op::kAcos:
    return std::acos(a);
  case Op::kAtan:
    return std::atan(a);
  case Op::kSinh:
    return std::sinh(a);
  case Op::kCosh:
    return std::cosh(a);
  case Op::kTanh:
    return std::tanh(a);
  case Op::kAsinh:
    return std::asinh(a);
  case Op::kAcosh:
    return std::acosh(a);
  case Op::kAtanh:
    return std::atanh(a);
  case Op::kErf:
    return std::erf(a);
  case Op::kPow:
    return std::pow(a, b);
  default:
    return 0;
  }
}

bool compareFloats(Op op, double a, double b) {
  return op == Op::kEqual ? a == b : op == Op::kLess ? a < b : a <= b;
}

int64_t toInteger(double value) {
  if (std::isnan(value))
    return 0;
  if (value >= 0x1p63)
    return std::numeric_limits<int64_t>::max();
  return value <= -0x1p63 ? std::numeric_limits<int64_t>::min() : static_cast<int64_t>(value);
}

class Evaluation {
public:
  Evaluation(const Program &program, std::span<Tensor *const> tensors,
             std::span<const int64_t> symbols)
      : program_(program), tensors_(tensors), symbols_(symbols), memo_(program.nodes.size()),
        counters_(program.folds.size()), carried_(program.folds.size()),
        results_(program.folds.size()) {}

  base::Status point(std::vector<int64_t> axes) {
    axes_ = std::move(axes);
    for (const Store &store : program_.stores) {
      std::fill(memo_.begin(), memo_.end(), std::nullopt); // stores before are seen
      std::fill(results_.begin(), results_.end(), std::nullopt);
      PLATEN_RETURN_IF_ERROR(execute(store));
    }
    return base::Status::ok();
  }

private:
  base::Status execute(const Store &store) {
    if (store.condition != kNoValue && of(store.condition).integer == 0)
      return failure_;
    const Scalar value = of(store.value);
    const std::optional<int64_t> at = position(store.tensor, store.coordinates);
    PLATEN_RETURN_IF_ERROR(failure_);
    Tensor &tensor = *tensors_[store.tensor];
    if (isFloatKind(program_.nodes[store.value].kind))
      tensor.set(*at, value.number);
    else
      tensor.setInt(*at, value.integer);
    return base::Status::ok();
  }

  std::optional<int64_t> position(uint32_t tensor, const std::vector<Value> &coordinates) {
    int64_t at = 0;
    for (size_t i = 0; i < coordinates.size(); ++i) {
      const int64_t coordinate = of(coordinates[i]).integer, dim = tensors_[tensor]->dims()[i];
      if (coordinate < 0 || coordinate >= dim) {
        if (failure_.isOk())
          failure_ = base::internalError("coordinate " + std::to_string(i) + " is " +
                                         std::to_string(coordinate) + ", outside tensor " +
                                         std::to_string(tensor) + " of " +
                                         tensors_[tensor]->type().toString());
        return std::nullopt;
      }
      at = at * dim + coordinate;
    }
    return at;
  }

  Scalar of(Value value) {
    if (!memo_[value])
      memo_[value] = compute(program_.nodes[value]);
    return *memo_[value];
  }

  Scalar compute(const Node &node) {
    switch (node.op) {
    case Op::kConstant:
      return {node.integer, node.number};
    case Op::kSymbol:
      return {symbols_[node.index]};
    case Op::kAxis:
      return {axes_[node.index]};
    case Op::kFoldIndex:
      return {counters_[node.index]};
    case Op::kFoldCarried:
      return carried_[node.index][node.part];
    case Op::kFoldResult:
      return folded(node.index)[node.part];
    case Op::kLoad: {
      const std::optional<int64_t> at = position(node.index, node.coordinates);
      if (!at)
        return {};
      const Tensor &tensor = *tensors_[node.index];
      return isFloatKind(node.kind) ? Scalar{0, tensor.get(*at)} : Scalar{tensor.getInt(*at)};
    }
    case Op::kSelect:
      return of(node.a).integer != 0 ? of(node.b) : of(node.c);
    case Op::kNot: {
      const int64_t a = of(node.a).integer;
      return {node.kind == Kind::kBool ? int64_t{a == 0} : ~a};
    }
    case Op::kConvert:
      return converted(node, of(node.a));
    case Op::kRound:
      return heldAs(node, of(node.a));
    case Op::kBits:
      return bitsOf(node, of(node.a));
    default:
      return operation(node);
    }
  }

  Scalar operation(const Node &node) {
    const Kind operands = program_.nodes[node.a].kind;
    const Scalar a = of(node.a), b = node.b == kNoValue ? Scalar{} : of(node.b),
                 c = node.c == kNoValue ? Scalar{} : of(node.c);
    if (!isFloatKind(operands))
      return {integerOf(node.op, a.integer, b.integer, node.isUnsigned)};
    if (node.kind == Kind::kBool)
      return {compareFloats(node.op, a.number, b.number)};
    return {0, rounded(node.kind, floatOf(node.op, a.number, b.number, c.number))};
  }

  Scalar converted(const Node &node, Scalar a) const {
    const bool fromFloat = isFloatKind(program_.nodes[node.a].kind);
    if (isFloatKind(node.kind)) {
      if (fromFloat)
        return {0, rounded(node.kind, a.number)};
      if (node.isUnsigned)
        return {0, node.kind == Kind::kF32
                       ? double{static_cast<float>(static_cast<uint64_t>(a.integer))}
                       : static_cast<double>(static_cast<uint64_t>(a.integer))};
      return {0, node.kind == Kind::kF32 ? double{static_cast<float>(a.integer)}
                                         : static_cast<double>(a.integer)};
    }
    if (node.kind == Kind::kBool)
      return {fromFloat ? a.number != 0 : a.integer != 0};
    return {fromFloat ? toInteger(a.number) : a.integer};
  }

  static Scalar heldAs(const Node &node, Scalar a) {
    Tensor one(TensorType{node.dtype, {1}});
    if (isFloatKind(node.kind)) {
      one.set(0, a.number);
      return {0, one.get(0)};
    }
    one.setInt(0, a.integer);
    return {one.getInt(0)};
  }

  Scalar bitsOf(const Node &node, Scalar a) const {
    switch (program_.nodes[node.a].kind) {
    case Kind::kF32:
      return {std::bit_cast<uint32_t>(static_cast<float>(a.number))};
    case Kind::kF64:
      return {std::bit_cast<int64_t>(a.number)};
    default:
      return {0, node.kind == Kind::kF32
                     ? double{std::bit_cast<float>(static_cast<uint32_t>(a.integer))}
                     : std::bit_cast<double>(a.integer)};
    }
  }

  const std::vector<Scalar> &folded(uint32_t id) {
    if (results_[id])
      return *results_[id];
    const Fold &fold = program_.folds[id];
    std::vector<Scalar> carried;
    for (Value value : fold.initial)
      carried.push_back(of(value));
    const int64_t from = of(fold.from).integer, to = of(fold.to).integer;
    // What was known outside stays known; what is found inside is of one turn alone.
    const auto outerMemo = memo_;
    const auto outerResults = results_;
    for (int64_t index = from; index < to && failure_.isOk(); ++index) {
      counters_[id] = index, carried_[id] = carried;
      for (size_t part = 0; part < carried.size(); ++part)
        carried[part] = of(fold.next[part]);
      memo_ = outerMemo, results_ = outerResults;
    }
    results_[id] = carried;
    return *results_[id];
  }

  const Program &program_;
  std::span<Tensor *const> tensors_;
  std::span<const int64_t> symbols_;
  std::vector<int64_t> axes_;
  std::vector<std::optional<Scalar>> memo_;
  std::vector<int64_t> counters_;
  std::vector<std::vector<Scalar>> carried_;
  std::vector<std::optional<std::vector<Scalar>>> results_;
  base::Status failure_;
};

} // namespace

base::Status evaluate(const Program &program, std::span<Tensor *const> tensors,
                      std::span<const int64_t> symbols) {
  for (size_t i = 0; i < tensors.size(); ++i)
    for (size_t axis = 0; axis < program.tensors[i].dims.size(); ++axis) {
      PLATEN_ASSIGN_OR_RETURN(const int64_t due, program.tensors[i].dims[axis].evaluate(symbols));
      if (tensors[i]->dims()[axis] != due)
        return base::invalidArgument("tensor " + std::to_string(i) + " is " +
                                     tensors[i]->type().toString() + "; dimension " +
                                     std::to_string(axis) + " must be " + std::to_string(due));
    }
  std::vector<int64_t> extents;
  int64_t points = 1;
  for (const Size &extent : program.extents) {
    PLATEN_ASSIGN_OR_RETURN(extents.emplace_back(), extent.evaluate(symbols));
    points *= extents.back();
  }
  Evaluation evaluation(program, tensors, symbols);
  std::vector<int64_t> axes(extents.size(), 0);
  for (int64_t point = 0; point < points; ++point) {
    PLATEN_RETURN_IF_ERROR(evaluation.point(axes));
    for (size_t axis = axes.size(); axis-- > 0;) {
      if (++axes[axis] < extents[axis])
        break;
      axes[axis] = 0;
    }
  }
  return base::Status::ok();
}

} // namespace platen::ops::loops
