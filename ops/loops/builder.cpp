#include "ops/loops/builder.h"

#include <bit>
#include <cmath>
#include <limits>

namespace platen::ops::loops {

namespace {

bool isFloatKind(Kind kind) { return kind == Kind::kF32 || kind == Kind::kF64; }

/// What kInt operations give on known numbers; nullopt for what is left to the target.
std::optional<int64_t> evaluateInteger(Op op, int64_t a, int64_t b) {
  const auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  switch (op) {
  case Op::kAdd:
    return static_cast<int64_t>(ua + ub);
  case Op::kSub:
    return static_cast<int64_t>(ua - ub);
  case Op::kMul:
    return static_cast<int64_t>(ua * ub);
  case Op::kDiv:
    return b == 0 ? 0 : b == -1 ? static_cast<int64_t>(0 - ua) : a / b;
  case Op::kRem:
    return b == 0 || b == -1 ? 0 : a % b;
  case Op::kMin:
    return std::min(a, b);
  case Op::kMax:
    return std::max(a, b);
  case Op::kAnd:
    return a & b;
  case Op::kOr:
    return a | b;
  case Op::kXor:
    return a ^ b;
  default:
    return std::nullopt;
  }
}

std::optional<bool> compareIntegers(Op op, int64_t a, int64_t b) {
  switch (op) {
  case Op::kEqual:
    return a == b;
  case Op::kLess:
    return a < b;
  case Op::kLessEqual:
    return a <= b;
  default:
    return std::nullopt;
  }
}

} // namespace

uint32_t Builder::tensor(TensorSpec spec) {
  program_.tensors.push_back(std::move(spec));
  return static_cast<uint32_t>(program_.tensors.size() - 1);
}

Value Builder::push(Node node) {
  if (const std::optional<Value> simple = simplify(node))
    return *simple;
  auto [entry, isNew] = known_.try_emplace(textOf(node), static_cast<Value>(program_.nodes.size()));
  if (isNew)
    program_.nodes.push_back(std::move(node));
  return entry->second;
}

std::optional<int64_t> Builder::asInteger(Value value) const {
  const Node &node = program_.nodes[value];
  if (node.op != Op::kConstant || isFloatKind(node.kind))
    return std::nullopt;
  return node.integer;
}

// Integers and truth values only: floats keep the order that the operator says.
std::optional<Value> Builder::simplify(const Node &node) {
  if (node.op == Op::kSelect) {
    if (node.b == node.c)
      return node.b;
    const std::optional<int64_t> condition = asInteger(node.a);
    return condition ? std::optional(*condition != 0 ? node.b : node.c) : std::nullopt;
  }
  if (node.op == Op::kNot && node.kind == Kind::kBool)
    if (const std::optional<int64_t> a = asInteger(node.a))
      return boolean(*a == 0);
  if (node.op == Op::kConvert && program_.nodes[node.a].kind == node.kind)
    return node.a;
  if (node.op == Op::kConvert && node.kind == Kind::kInt &&
      program_.nodes[node.a].kind == Kind::kBool)
    if (const std::optional<int64_t> a = asInteger(node.a))
      return integer(*a);
  if (node.a == kNoValue || node.b == kNoValue || node.c != kNoValue || node.op == Op::kLoad ||
      isFloatKind(program_.nodes[node.a].kind))
    return std::nullopt;
  const std::optional<int64_t> a = asInteger(node.a), b = asInteger(node.b);
  if (a && b && !node.isUnsigned) {
    if (const std::optional<bool> known = compareIntegers(node.op, *a, *b))
      return boolean(*known);
    if (const std::optional<int64_t> known = evaluateInteger(node.op, *a, *b))
      return node.kind == Kind::kBool ? boolean(*known != 0) : integer(*known);
  }
  switch (node.op) {
  case Op::kAdd:
    return a == 0 ? std::optional(node.b) : b == 0 ? std::optional(node.a) : std::nullopt;
  case Op::kSub:
    return b == 0 ? std::optional(node.a) : std::nullopt;
  case Op::kMul:
    return a == 1             ? std::optional(node.b)
           : b == 1           ? std::optional(node.a)
           : a == 0 || b == 0 ? std::optional(integer(0))
                              : std::nullopt;
  case Op::kDiv:
    return b == 1 ? std::optional(node.a) : std::nullopt;
  case Op::kRem:
    return b == 1 ? std::optional(integer(0)) : std::nullopt;
  case Op::kAnd:
    if (node.kind == Kind::kBool)
      return a == 1             ? std::optional(node.b)
             : b == 1           ? std::optional(node.a)
             : a == 0 || b == 0 ? std::optional(boolean(false))
                                : std::nullopt;
    return std::nullopt;
  case Op::kOr:
    if (node.kind == Kind::kBool)
      return a == 0             ? std::optional(node.b)
             : b == 0           ? std::optional(node.a)
             : a == 1 || b == 1 ? std::optional(boolean(true))
                                : std::nullopt;
    return std::nullopt;
  default:
    return std::nullopt;
  }
}

Value Builder::integer(int64_t value) {
  return push({.op = Op::kConstant, .kind = Kind::kInt, .integer = value});
}
Value Builder::boolean(bool value) {
  return push({.op = Op::kConstant, .kind = Kind::kBool, .integer = value ? 1 : 0});
}
Value Builder::number(Kind kind, double value) {
  if (kind == Kind::kInt)
    return integer(static_cast<int64_t>(value));
  if (kind == Kind::kBool)
    return boolean(value != 0);
  return push({.op = Op::kConstant,
               .kind = kind,
               .number = kind == Kind::kF32 ? double{static_cast<float>(value)} : value});
}
Value Builder::least(Kind kind) {
  if (kind == Kind::kInt)
    return integer(std::numeric_limits<int64_t>::min());
  return kind == Kind::kBool ? boolean(false)
                             : number(kind, -std::numeric_limits<double>::infinity());
}
Value Builder::greatest(Kind kind) {
  if (kind == Kind::kInt)
    return integer(std::numeric_limits<int64_t>::max());
  return kind == Kind::kBool ? boolean(true)
                             : number(kind, std::numeric_limits<double>::infinity());
}
Value Builder::symbol(uint32_t index) {
  return push({.op = Op::kSymbol, .kind = Kind::kInt, .index = index});
}
Value Builder::size(const Size &size) {
  Value sum = integer(0);
  for (const Size::Term &term : size.terms()) {
    Value product = integer(term.coefficient);
    for (uint32_t index : term.symbols)
      product = mul(product, symbol(index));
    sum = add(sum, product);
  }
  return sum;
}
Value Builder::axis(uint32_t index) {
  return push({.op = Op::kAxis, .kind = Kind::kInt, .index = index});
}

Value Builder::load(uint32_t tensor, std::span<const Value> coordinates) {
  return push({.op = Op::kLoad,
               .kind = kindOf(program_.tensors[tensor].dtype),
               .index = tensor,
               .coordinates = {coordinates.begin(), coordinates.end()}});
}

Value Builder::loadWhere(Value condition, uint32_t tensor, std::span<const Value> coordinates,
                         Value otherwise) {
  if (asInteger(condition) == 0)
    return otherwise;
  std::vector<Value> inside;
  for (Value coordinate : coordinates)
    inside.push_back(select(condition, coordinate, integer(0)));
  return select(condition, load(tensor, inside), otherwise);
}

Value Builder::unary(Op op, Value a) { return push({.op = op, .kind = kind(a), .a = a}); }

Value Builder::binary(Op op, Value a, Value b, bool isUnsigned) {
  const bool compares = op == Op::kEqual || op == Op::kLess || op == Op::kLessEqual;
  return push({.op = op,
               .kind = compares ? Kind::kBool : kind(a),
               .isUnsigned = isUnsigned && kind(a) == Kind::kInt,
               .a = a,
               .b = b});
}

Value Builder::isNan(Value a) { return negate(equal(a, a)); }

Value Builder::isInfinite(Value a) {
  return equal(unary(Op::kAbs, a), number(kind(a), std::numeric_limits<double>::infinity()));
}

Value Builder::fma(Value a, Value b, Value c) {
  return push({.op = Op::kFma, .kind = kind(a), .a = a, .b = b, .c = c});
}
Value Builder::select(Value condition, Value a, Value b) {
  return push({.op = Op::kSelect, .kind = kind(a), .a = condition, .b = a, .c = b});
}
Value Builder::convert(Kind kind, Value a, bool isUnsigned) {
  if (this->kind(a) == kind)
    return a;
  return push({.op = Op::kConvert, .kind = kind, .isUnsigned = isUnsigned, .a = a});
}
Value Builder::round(DType dtype, Value a) {
  return push({.op = Op::kRound, .kind = kind(a), .dtype = dtype, .a = a});
}
Value Builder::bits(Value a) { return push({.op = Op::kBits, .kind = Kind::kInt, .a = a}); }
Value Builder::fromBits(Kind kind, Value a) {
  return push({.op = Op::kBits, .kind = kind, .a = a});
}

std::vector<Value> Builder::fold(Value from, Value to, std::vector<Value> initial, const Body &body,
                                 bool anyOrder) {
  if (const auto first = asInteger(from), last = asInteger(to); first && last && *first >= *last)
    return initial;
  const auto id = static_cast<uint32_t>(program_.folds.size());
  program_.folds.push_back({from, to, initial, {}, anyOrder});
  const Value index = push({.op = Op::kFoldIndex, .kind = Kind::kInt, .index = id});
  std::vector<Value> carried;
  for (uint32_t part = 0; part < initial.size(); ++part)
    carried.push_back(
        push({.op = Op::kFoldCarried, .kind = kind(initial[part]), .index = id, .part = part}));
  program_.folds[id].next = body(index, carried);
  std::vector<Value> results;
  for (uint32_t part = 0; part < initial.size(); ++part)
    results.push_back(
        push({.op = Op::kFoldResult, .kind = kind(initial[part]), .index = id, .part = part}));
  return results;
}

Value Builder::sum(Value count, Kind kind, const std::function<Value(Value)> &f) {
  return fold(
      integer(0), count, {number(kind, 0)},
      [&](Value index, std::span<const Value> carried) {
        return std::vector{add(carried[0], f(index))};
      },
      true)[0];
}
Value Builder::product(Value count, Kind kind, const std::function<Value(Value)> &f) {
  return fold(
      integer(0), count, {number(kind, 1)},
      [&](Value index, std::span<const Value> carried) {
        return std::vector{mul(carried[0], f(index))};
      },
      true)[0];
}
Value Builder::maximum(Value count, Kind kind, const std::function<Value(Value)> &f) {
  return fold(integer(0), count, {least(kind)}, [&](Value index, std::span<const Value> carried) {
    return std::vector{kind == Kind::kBool ? either(carried[0], f(index))
                                           : max(carried[0], f(index))};
  })[0];
}
Value Builder::minimum(Value count, Kind kind, const std::function<Value(Value)> &f) {
  return fold(integer(0), count, {greatest(kind)},
              [&](Value index, std::span<const Value> carried) {
                return std::vector{kind == Kind::kBool ? both(carried[0], f(index))
                                                       : min(carried[0], f(index))};
              })[0];
}

Value Builder::linear(std::span<const Value> coordinates, std::span<const Size> dims) {
  Value position = integer(0);
  for (size_t i = 0; i < dims.size(); ++i)
    position = add(mul(position, size(dims[i])), coordinates[i]);
  return position;
}

std::vector<Value> Builder::coordinates(Value linear, std::span<const Size> dims) {
  std::vector<Value> result(dims.size());
  for (size_t i = dims.size(); i-- > 0;) {
    const Value dim = size(dims[i]);
    result[i] = i == 0 ? linear : rem(linear, dim);
    linear = div(linear, dim);
  }
  return result;
}

void Builder::store(uint32_t tensor, std::span<const Value> coordinates, Value value,
                    Value condition) {
  program_.stores.push_back({tensor, {coordinates.begin(), coordinates.end()}, value, condition});
}

Program Builder::finish(std::vector<Size> extents, uint32_t parallel) {
  program_.extents = std::move(extents);
  program_.parallel = parallel;
  return std::move(program_);
}

} // namespace platen::ops::loops
