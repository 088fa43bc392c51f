#include "ops/loops/program.h"

#include "ops/loops/builder.h"

#include <algorithm>
#include <bit>
#include <set>

namespace platen::ops::loops {

Kind kindOf(DType dtype) {
  switch (dtype) {
  case DType::kBool:
    return Kind::kBool;
  case DType::kF64:
    return Kind::kF64;
  default:
    return base::isFloat(dtype) ? Kind::kF32 : Kind::kInt;
  }
}

std::string textOf(const Node &node) {
  std::string text = std::to_string(static_cast<int>(node.op)) + "." +
                     std::to_string(static_cast<int>(node.kind)) + (node.isUnsigned ? "u" : "");
  for (Value operand : {node.a, node.b, node.c})
    if (operand != kNoValue)
      text += " %" + std::to_string(operand);
  switch (node.op) {
  case Op::kConstant:
    text += node.kind == Kind::kInt || node.kind == Kind::kBool
                ? " " + std::to_string(node.integer)
                : " x" + std::to_string(std::bit_cast<uint64_t>(node.number));
    break;
  case Op::kSymbol:
  case Op::kAxis:
  case Op::kFoldIndex:
    text += " " + std::to_string(node.index);
    break;
  case Op::kFoldCarried:
  case Op::kFoldResult:
    text += " " + std::to_string(node.index) + "," + std::to_string(node.part);
    break;
  case Op::kLoad:
    text += " " + std::to_string(node.index) + "[";
    for (Value coordinate : node.coordinates)
      text += "%" + std::to_string(coordinate) + ",";
    text += "]";
    break;
  case Op::kRound:
    text += " " + std::string(base::dtypeName(node.dtype));
    break;
  default:
    break;
  }
  return text;
}

uint32_t Program::symbolCount() const {
  uint32_t count = 0;
  for (const Size &extent : extents)
    count = std::max(count, extent.symbolCount());
  for (const TensorSpec &tensor : tensors)
    for (const Size &dim : tensor.dims)
      count = std::max(count, dim.symbolCount());
  for (const Node &node : nodes)
    if (node.op == Op::kSymbol)
      count = std::max(count, node.index + 1);
  return count;
}

bool Program::isStored(uint32_t tensor) const {
  return std::any_of(stores.begin(), stores.end(),
                     [&](const Store &store) { return store.tensor == tensor; });
}
bool Program::isLoaded(uint32_t tensor) const {
  return std::any_of(nodes.begin(), nodes.end(), [&](const Node &node) {
    return node.op == Op::kLoad && node.index == tensor;
  });
}

std::string Program::key() const {
  std::string text;
  auto list = [&](const std::vector<Value> &values) {
    for (Value value : values)
      text += "%" + std::to_string(value) + ",";
    text += ";";
  };
  for (const TensorSpec &tensor : tensors) {
    text += std::string(base::dtypeName(tensor.dtype)) + "[";
    for (const Size &dim : tensor.dims)
      text += dim.toString() + ",";
    text += "]\n";
  }
  for (const Node &node : nodes)
    text += textOf(node) + "\n";
  for (const Fold &fold : folds) {
    text += "fold %" + std::to_string(fold.from) + " %" + std::to_string(fold.to) +
            (fold.anyOrder ? "~ " : " ");
    list(fold.initial);
    list(fold.next);
    text += "\n";
  }
  text += "over " + std::to_string(parallel) + " of ";
  for (const Size &extent : extents)
    text += extent.toString() + ",";
  for (const Store &store : stores) {
    text += "\nstore " + std::to_string(store.tensor) + "[";
    list(store.coordinates);
    text += "] %" + std::to_string(store.value) +
            (store.condition == kNoValue ? "" : " if %" + std::to_string(store.condition));
  }
  return text;
}

namespace {

/// The folds inside which each node's value lives.
class Verifier {
public:
  explicit Verifier(const Program &program) : program_(program) {}

  base::Status run() {
    for (size_t i = 0; i < program_.nodes.size(); ++i)
      PLATEN_RETURN_IF_ERROR(
          visit(program_.nodes[i], static_cast<Value>(i)).at("node " + std::to_string(i)));
    for (const Store &store : program_.stores) {
      if (store.tensor >= program_.tensors.size() ||
          store.coordinates.size() != program_.tensors[store.tensor].dims.size())
        return base::internalError("a store does not fit its tensor");
      std::vector<Value> used = store.coordinates;
      used.push_back(store.value);
      if (store.condition != kNoValue)
        used.push_back(store.condition);
      for (Value value : used)
        if (value >= program_.nodes.size() || !inside_[value].empty())
          return base::internalError("a store uses a value that lives inside a fold");
      if (kind(store.value) != kindOf(program_.tensors[store.tensor].dtype))
        return base::internalError("a store's value is of another kind than its tensor");
    }
    return program_.parallel <= program_.extents.size()
               ? base::Status::ok()
               : base::internalError("more parallel axes than axes");
  }

private:
  Kind kind(Value value) const { return program_.nodes[value].kind; }

  base::Status visit(const Node &node, Value self) {
    std::set<uint32_t> inside;
    auto use = [&](Value value) {
      if (value >= self)
        return false;
      inside.insert(inside_[value].begin(), inside_[value].end());
      return true;
    };
    for (Value operand : {node.a, node.b, node.c})
      if (operand != kNoValue && !use(operand))
        return base::internalError("it names a later node");
    for (Value coordinate : node.coordinates)
      if (!use(coordinate) || kind(coordinate) != Kind::kInt)
        return base::internalError("a coordinate is no earlier integer");
    switch (node.op) {
    case Op::kAxis:
      if (node.index >= program_.extents.size())
        return base::internalError("there is no such axis");
      break;
    case Op::kLoad:
      if (node.index >= program_.tensors.size() ||
          node.coordinates.size() != program_.tensors[node.index].dims.size() ||
          node.kind != kindOf(program_.tensors[node.index].dtype))
        return base::internalError("it does not fit its tensor");
      break;
    case Op::kFoldIndex:
    case Op::kFoldCarried:
    case Op::kFoldResult:
      if (node.index >= program_.folds.size() ||
          (node.op != Op::kFoldIndex && node.part >= program_.folds[node.index].initial.size()))
        return base::internalError("there is no such fold");
      if (!visitFold(node, self, inside))
        return base::internalError("its fold uses later nodes, or carries other kinds");
      break;
    default:
      if (node.b != kNoValue && node.op != Op::kSelect && kind(node.a) != kind(node.b))
        return base::internalError("its operands are of different kinds");
      if (node.op == Op::kSelect &&
          (kind(node.a) != Kind::kBool || kind(node.b) != node.kind || kind(node.c) != node.kind))
        return base::internalError("a select's operands are of the wrong kinds");
      break;
    }
    inside_.push_back(std::move(inside));
    return base::Status::ok();
  }

  bool visitFold(const Node &node, Value self, std::set<uint32_t> &inside) const {
    const Fold &fold = program_.folds[node.index];
    std::vector<Value> used = fold.initial;
    used.insert(used.end(), {fold.from, fold.to});
    if (node.op == Op::kFoldResult)
      used.insert(used.end(), fold.next.begin(), fold.next.end());
    if (fold.next.size() != fold.initial.size() && node.op == Op::kFoldResult)
      return false;
    for (Value value : used) {
      if (value >= self)
        return false;
      inside.insert(inside_[value].begin(), inside_[value].end());
    }
    if (node.op == Op::kFoldResult) {
      inside.erase(node.index);
      for (size_t part = 0; part < fold.next.size(); ++part)
        if (kind(fold.next[part]) != kind(fold.initial[part]))
          return false;
    } else {
      inside.insert(node.index);
    }
    return true;
  }

  const Program &program_;
  std::vector<std::set<uint32_t>> inside_;
};

} // namespace

base::Status verify(const Program &program) { return Verifier(program).run(); }

} // namespace platen::ops::loops
