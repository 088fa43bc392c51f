#include "kernels/host/loop_facts.h"

#include <algorithm>

namespace platen::kernels {

using base::Size;
using ops::loops::Fold;
using ops::loops::Kind;
using ops::loops::kNoValue;
using ops::loops::Node;
using ops::loops::Op;
using ops::loops::Program;
using ops::loops::Value;

namespace {

/// Whether axes a and b, in this order, stand only side by side in coordinates, so that b may count
/// through both.
class Neighbours {
public:
  Neighbours(const Program &program, uint32_t a, uint32_t b) : program_(program), a_(a), b_(b) {}

  bool areOne() const {
    for (const Node &node : program_.nodes) {
      if (isUsed({node.a, node.b, node.c}) ||
          (node.op == Op::kLoad && !areAdjacent(node.index, node.coordinates)))
        return false;
    }
    for (const Fold &fold : program_.folds)
      if (isUsed({fold.from, fold.to}) || isUsed(fold.initial) || isUsed(fold.next))
        return false;
    return std::all_of(program_.stores.begin(), program_.stores.end(), [&](const auto &store) {
      return !isUsed({store.value, store.condition}) &&
             areAdjacent(store.tensor, store.coordinates);
    });
  }

private:
  bool isAxis(Value value, uint32_t axis) const {
    return value != kNoValue && program_.nodes[value].op == Op::kAxis &&
           program_.nodes[value].index == axis;
  }
  bool isUsed(const std::vector<Value> &values) const {
    return std::any_of(values.begin(), values.end(),
                       [&](Value value) { return isAxis(value, a_) || isAxis(value, b_); });
  }
  /// Dimensions of 1 may lie between them.
  bool areAdjacent(uint32_t tensor, const std::vector<Value> &coordinates) const {
    const std::vector<Size> &dims = program_.tensors[tensor].dims;
    bool afterA = false;
    for (size_t i = 0; i < dims.size(); ++i) {
      const bool isB = isAxis(coordinates[i], b_);
      if (dims[i] == Size(1) && !isB && !isAxis(coordinates[i], a_))
        continue;
      if (isB != afterA || (isB && !(dims[i] == program_.extents[b_])))
        return false;
      afterA = isAxis(coordinates[i], a_);
    }
    return !afterA;
  }

  const Program &program_;
  uint32_t a_, b_;
};

} // namespace

LoopNest::LoopNest(const Program &program) {
  for (uint32_t axis = 0; axis < program.extents.size(); ++axis)
    if (!(program.extents[axis] == Size(1)))
      (axis < program.parallel ? rows : sequential).push_back(axis);
  if (!rows.empty()) {
    inner = rows.back();
    width = program.extents[*inner];
    rows.pop_back();
  }
  for (uint32_t last = inner.value_or(0);
       !rows.empty() && Neighbours(program, rows.back(), last).areOne(); rows.pop_back()) {
    last = rows.back();
    width = program.extents[last] * width;
  }
}

uint32_t LoopNest::levelOf(uint32_t axis) const {
  if (inner == axis)
    return 2;
  if (std::find(rows.begin(), rows.end(), axis) != rows.end())
    return 1;
  const auto at = std::find(sequential.begin(), sequential.end(), axis);
  return at == sequential.end() ? 0 : 3 + static_cast<uint32_t>(at - sequential.begin());
}

void LoopFacts::join(const LoopFacts &other) {
  level = std::max(level, other.level);
  loads |= other.loads, changes |= other.changes;
  std::vector<uint32_t> both;
  std::set_union(open.begin(), open.end(), other.open.begin(), other.open.end(),
                 std::back_inserter(both));
  open = std::move(both);
}

std::vector<LoopFacts> loopFacts(const Program &program, const LoopNest &nest) {
  std::vector<LoopFacts> facts;
  for (const Node &node : program.nodes) {
    LoopFacts own;
    for (Value operand : {node.a, node.b, node.c})
      if (operand != kNoValue)
        own.join(facts[operand]);
    for (Value coordinate : node.coordinates)
      own.join(facts[coordinate]);
    if (node.op == Op::kAxis)
      own.level = nest.levelOf(node.index);
    if (node.op == Op::kLoad)
      own.loads = true, own.changes |= program.isStored(node.index);
    if (node.op == Op::kFoldIndex || node.op == Op::kFoldCarried)
      own.open = {node.index};
    if (node.op == Op::kFoldResult) {
      const Fold &fold = program.folds[node.index];
      for (const std::vector<Value> &values : {fold.initial, fold.next, {fold.from, fold.to}})
        for (Value value : values)
          own.join(facts[value]);
      std::erase(own.open, node.index);
    }
    if (own.changes)
      own.level = nest.innermost();
    facts.push_back(std::move(own));
  }
  return facts;
}

std::optional<int64_t> turnsOf(const Program &program, const Fold &fold) {
  const Node &from = program.nodes[fold.from], &to = program.nodes[fold.to];
  if (from.op != Op::kConstant || to.op != Op::kConstant)
    return std::nullopt;
  return from.integer < to.integer ? to.integer - from.integer : 0;
}

std::vector<bool> regroupable(const Program &program) {
  constexpr int64_t kFewTurns = 16;
  std::vector<bool> marked(program.nodes.size(), false);
  for (uint32_t id = 0; id < program.folds.size(); ++id) {
    const Fold &fold = program.folds[id];
    if (!fold.anyOrder || turnsOf(program, fold).value_or(kFewTurns) < kFewTurns)
      continue;
    for (uint32_t part = 0; part < fold.next.size(); ++part) {
      const Value value = fold.next[part];
      const Node &node = program.nodes[value];
      auto isCarried = [&](Value operand) {
        const Node &of = program.nodes[operand];
        return of.op == Op::kFoldCarried && of.index == id && of.part == part;
      };
      if ((node.op == Op::kAdd || node.op == Op::kMul) && (isCarried(node.a) || isCarried(node.b)))
        marked[value] = true;
    }
  }
  return marked;
}

} // namespace platen::kernels
