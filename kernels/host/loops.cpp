// Builds a loop program: rows of points, the points of a row, sequential axes, folds.
//
// A value is computed in the outermost loop whose counters it needs, so once a row where it does
// not depend on the innermost parallel axis. What loads stays in loops that might not be entered
// (it might load what is not there), and what loads a tensor that the program stores stays where it
// stands. LLVM's middle end does the rest (compiler/emit/host/optimize.h).
#include "kernels/host/builders_detail.h"
#include "kernels/host/describe_detail.h"
#include "kernels/host/loop_arithmetic.h"
#include "kernels/host/loop_facts.h"
#include "kernels/host/loop_memory.h"
#include "ops/loops/builder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <algorithm>
#include <functional>
#include <unordered_map>

namespace platen::kernels {

namespace arith = mlir::arith;
namespace loops = ops::loops;
namespace scf = mlir::scf;
using base::Size;
using loops::Kind;
using loops::Node;
using loops::Op;

namespace {

class LoopBuilder {
public:
  LoopBuilder(Ir &ir, const loops::Program &program)
      : ir_(ir), b_(ir.builder()), program_(program), nest_(program),
        facts_(loopFacts(program, nest_)), regroupable_(regroupable(program)) {}

  base::Status build();

private:
  using NodeId = loops::Value;

  /// A block under construction. Values of it may be used in the scopes above it on the stack.
  struct Scope {
    mlir::Block *block = nullptr;
    mlir::Operation *before = nullptr; ///< operations go before this one, else to the block's end
    bool certain = true;               ///< entered at least once whenever the scope below is
    std::optional<uint32_t> fold = {}; ///< whose body it is
    std::unordered_map<NodeId, Value> known = {};
    std::unordered_map<uint32_t, Values> results = {}; ///< of folds
  };

  /// Of points [from, to).
  void buildRows(Value from, Value to);
  void buildPoints(Value from, Value to);
  void buildSequential(size_t index);
  void buildStore(const loops::Store &store);
  /// Runs `body` with the loop's or branch's block as innermost scope.
  void inScope(mlir::Operation *opener, mlir::Block *block, bool certain,
               std::optional<uint32_t> fold, const std::function<void()> &body);
  scf::ForOp makeLoop(Value from, Value to, mlir::ValueRange initial = {});

  /// Where a value with those facts is to be computed: an index into scopes_.
  size_t scopeFor(const LoopFacts &facts) const;
  /// The next operations go to that scope.
  void insertInto(size_t scope);

  Value of(NodeId node);
  Value compute(NodeId id, size_t scope);
  Value constant(const Node &node);
  const Values &resultsOf(uint32_t fold, const LoopFacts &facts);
  Values buildFold(uint32_t id);
  Value sizeValue(const Size &size);
  /// The row-major position of coordinates; parts of it are computed as far outside as they can be.
  Value position(uint32_t tensor, const std::vector<NodeId> &coordinates);

  Ir &ir_;
  mlir::ImplicitLocOpBuilder &b_;
  const loops::Program &program_;
  const LoopNest nest_;
  const std::vector<LoopFacts> facts_;
  const std::vector<bool> regroupable_;
  std::vector<LoopTensor> tensors_;
  std::unordered_map<uint32_t, Value> axes_; ///< the coordinate on each axis that is a loop
  std::vector<Scope> scopes_;
  std::vector<size_t> levels_; ///< [level] the scope of that level
  base::Status failure_;
};

scf::ForOp LoopBuilder::makeLoop(Value from, Value to, mlir::ValueRange initial) {
  return b_.create<scf::ForOp>(from, to, ir_.i64(1), initial);
}

void LoopBuilder::inScope(mlir::Operation *opener, mlir::Block *block, bool certain,
                          std::optional<uint32_t> fold, const std::function<void()> &body) {
  mlir::Operation *const before = std::exchange(scopes_.back().before, opener);
  scopes_.push_back({block, nullptr, certain, fold});
  insertInto(scopes_.size() - 1);
  body();
  scopes_.pop_back();
  scopes_.back().before = before;
  insertInto(scopes_.size() - 1);
}

void LoopBuilder::insertInto(size_t scope) {
  if (scopes_[scope].before != nullptr)
    b_.setInsertionPoint(scopes_[scope].before);
  else if (mlir::Block *block = scopes_[scope].block; block->mightHaveTerminator())
    b_.setInsertionPoint(block->getTerminator());
  else
    b_.setInsertionPointToEnd(block);
}

size_t LoopBuilder::scopeFor(const LoopFacts &facts) const {
  size_t scope = levels_[facts.level];
  for (size_t i = scopes_.size(); i-- > scope + 1;)
    if (scopes_[i].fold &&
        std::binary_search(facts.open.begin(), facts.open.end(), *scopes_[i].fold))
      scope = i;
  if (!facts.loads)
    return scope;
  size_t certain = scopes_.size() - 1;
  while (certain > scope && scopes_[certain].certain)
    --certain;
  return certain;
}

Value LoopBuilder::of(NodeId id) {
  for (size_t scope = scopes_.size(); scope-- > 0;)
    if (auto found = scopes_[scope].known.find(id); found != scopes_[scope].known.end())
      return found->second;
  const size_t scope = scopeFor(facts_[id]);
  const Value value = compute(id, scope);
  if (!value && failure_.isOk())
    failure_ = base::internalError("node " + std::to_string(id) + " (" +
                                   loops::textOf(program_.nodes[id]) +
                                   ") is no operation of its operands' kinds");
  return scopes_[scope].known[id] = value ? value : ir_.i64(0);
}

Value LoopBuilder::constant(const Node &node) {
  const Type type = loopType(ir_, node.kind);
  if (node.kind == Kind::kF32 || node.kind == Kind::kF64)
    return b_.create<arith::ConstantOp>(b_.getFloatAttr(type, node.number));
  return ir_.intConst(type, node.integer);
}

Value LoopBuilder::compute(NodeId id, size_t scope) {
  const Node &node = program_.nodes[id];
  switch (node.op) {
  case Op::kConstant:
    insertInto(scope);
    return constant(node);
  case Op::kSymbol:
    insertInto(scope);
    return ir_.symbol(node.index);
  case Op::kAxis:
    insertInto(scope);
    return axes_.contains(node.index) ? axes_[node.index] : ir_.i64(0);
  case Op::kFoldIndex:
  case Op::kFoldCarried:
    return {}; // known in its fold
  case Op::kFoldResult:
    return resultsOf(node.index, facts_[id])[node.part];
  case Op::kLoad: {
    const Value index = position(node.index, node.coordinates);
    insertInto(scope);
    return loadElement(ir_, tensors_[node.index], index);
  }
  default:
    break;
  }
  Values operands;
  for (NodeId operand : {node.a, node.b, node.c})
    if (operand != loops::kNoValue)
      operands.push_back(of(operand));
  if (!failure_.isOk())
    return {};
  insertInto(scope);
  if (node.op == Op::kRound)
    return heldAs(ir_, node.dtype, operands[0]);
  return loopOperation(ir_, node, program_.nodes[node.a].kind, operands, regroupable_[id]);
}

const Values &LoopBuilder::resultsOf(uint32_t id, const LoopFacts &facts) {
  const size_t at = scopeFor(facts);
  for (size_t scope = at + 1; scope-- > 0;)
    if (auto found = scopes_[scope].results.find(id); found != scopes_[scope].results.end())
      return found->second;
  // Scopes further inside do not enclose the fold: they are put aside while it is built.
  std::vector<Scope> inside;
  while (scopes_.size() > at + 1) {
    inside.push_back(std::move(scopes_.back()));
    scopes_.pop_back();
  }
  Values results = buildFold(id);
  for (; !inside.empty(); inside.pop_back())
    scopes_.push_back(std::move(inside.back()));
  return scopes_[at].results[id] = std::move(results);
}

Values LoopBuilder::buildFold(uint32_t id) {
  const loops::Fold &fold = program_.folds[id];
  const Value from = of(fold.from), to = of(fold.to);
  Values initial;
  for (NodeId value : fold.initial)
    initial.push_back(of(value));
  insertInto(scopes_.size() - 1);
  scf::ForOp loop = makeLoop(from, to, mlir::ValueRange(initial));
  const bool certain = turnsOf(program_, fold).value_or(0) > 0;
  inScope(loop, loop.getBody(), certain, id, [&] {
    Scope &scope = scopes_.back();
    for (NodeId node = 0; node < program_.nodes.size(); ++node) {
      if (program_.nodes[node].index != id)
        continue;
      if (program_.nodes[node].op == Op::kFoldIndex)
        scope.known[node] = loop.getInductionVar();
      if (program_.nodes[node].op == Op::kFoldCarried)
        scope.known[node] = loop.getRegionIterArg(program_.nodes[node].part);
    }
    Values next;
    for (NodeId value : fold.next)
      next.push_back(of(value));
    insertInto(scopes_.size() - 1);
    if (!next.empty())
      b_.create<scf::YieldOp>(mlir::ValueRange(next));
  });
  return Values(loop.getResults().begin(), loop.getResults().end());
}

Value LoopBuilder::sizeValue(const Size &size) {
  insertInto(0);
  Value sum;
  for (const Size::Term &term : size.terms()) {
    Value product = ir_.i64(term.coefficient);
    for (uint32_t symbol : term.symbols)
      product = ir_.mul(product, ir_.symbol(symbol));
    sum = sum ? ir_.add(sum, product) : product;
  }
  return sum ? sum : ir_.i64(0);
}

Value LoopBuilder::position(uint32_t tensor, const std::vector<NodeId> &coordinates) {
  struct Term {
    size_t scope;
    Value value;
  };
  std::vector<Term> terms;
  Size stride(1);
  for (size_t axis = coordinates.size(); axis-- > 0;) {
    const size_t scope = scopeFor(facts_[coordinates[axis]]);
    Value value = of(coordinates[axis]);
    if (!(stride == Size(1))) {
      const Value by = sizeValue(stride);
      insertInto(scope);
      value = ir_.mul(value, by);
    }
    terms.push_back({scope, value});
    stride = stride * program_.tensors[tensor].dims[axis];
  }
  std::stable_sort(terms.begin(), terms.end(),
                   [](const Term &a, const Term &b) { return a.scope < b.scope; });
  Value sum;
  for (const Term &term : terms) {
    insertInto(term.scope);
    sum = sum ? ir_.add(sum, term.value) : term.value;
  }
  insertInto(0);
  return sum ? sum : ir_.i64(0);
}

void LoopBuilder::buildStore(const loops::Store &store) {
  auto write = [&] {
    const Value value = of(store.value), index = position(store.tensor, store.coordinates);
    insertInto(scopes_.size() - 1);
    if (failure_.isOk())
      storeElement(ir_, tensors_[store.tensor], index, value);
  };
  if (store.condition == loops::kNoValue) {
    write();
  } else {
    const Value condition = of(store.condition);
    insertInto(scopes_.size() - 1);
    auto branch = b_.create<scf::IfOp>(condition, /*withElseRegion=*/false);
    inScope(branch, branch.thenBlock(), false, {}, write);
  }
  if (!program_.isLoaded(store.tensor))
    return;
  Scope &scope = scopes_.back(); // what was loaded before is out of date
  std::erase_if(scope.known, [&](const auto &entry) { return facts_[entry.first].changes; });
  scope.results.clear();
}

void LoopBuilder::buildSequential(size_t index) {
  if (index == nest_.sequential.size()) {
    for (const loops::Store &store : program_.stores)
      buildStore(store);
    return;
  }
  const uint32_t axis = nest_.sequential[index];
  const Size &extent = program_.extents[axis];
  const Value count = sizeValue(extent), zero = ir_.i64(0);
  insertInto(scopes_.size() - 1);
  scf::ForOp loop = makeLoop(zero, count);
  axes_[axis] = loop.getInductionVar();
  inScope(loop, loop.getBody(), extent.constant().value_or(0) > 0, {}, [&] {
    levels_.push_back(scopes_.size() - 1);
    buildSequential(index + 1);
  });
}

void LoopBuilder::buildPoints(Value from, Value to) {
  scf::ForOp loop = makeLoop(from, to);
  axes_[*nest_.inner] = loop.getInductionVar();
  inScope(loop, loop.getBody(), true, {}, [&] {
    levels_.push_back(scopes_.size() - 1);
    buildSequential(0);
  });
}

void LoopBuilder::buildRows(Value from, Value to) {
  const Value width = sizeValue(nest_.width), zero = ir_.i64(0), one = ir_.i64(1);
  const Value lastRow = ir_.div(ir_.sub(to, one), width);
  scf::ForOp loop = makeLoop(ir_.div(from, width), ir_.add(lastRow, one));
  inScope(loop, loop.getBody(), true, {}, [&] {
    levels_.push_back(scopes_.size() - 1);
    const Value row = loop.getInductionVar(), first = ir_.mul(row, width);
    Value rest = row;
    for (size_t i = nest_.rows.size(); i-- > 0;) {
      const Value extent = sizeValue(program_.extents[nest_.rows[i]]);
      insertInto(scopes_.size() - 1);
      axes_[nest_.rows[i]] = i == 0 ? rest : ir_.rem(rest, extent);
      rest = i == 0 ? rest : ir_.div(rest, extent);
    }
    const Value rowFrom = ir_.max(ir_.sub(from, first), zero),
                rowTo = ir_.min(ir_.sub(to, first), width);
    buildPoints(rowFrom, rowTo);
  });
}

base::Status LoopBuilder::build() {
  ir_.ifThen(ir_.lessThan(ir_.begin(), ir_.end()), [&] {
    scopes_.push_back({b_.getInsertionBlock()});
    levels_ = {0};
    tensors_ = loopTensors(ir_, program_);
    Value from = ir_.begin(), to = ir_.end();
    if (const uint32_t each = loopPointsPerUnit(program_); each != 1) {
      from = ir_.mul(from, ir_.i64(each));
      to = ir_.min(ir_.mul(to, ir_.i64(each)), ir_.extent(Extent::kTokens));
    }
    if (!nest_.inner) {
      levels_.resize(3, 0);
      buildSequential(0);
    } else if (nest_.rows.empty()) {
      levels_.resize(2, 0);
      buildPoints(from, to);
    } else {
      buildRows(from, to);
    }
  });
  return failure_;
}

} // namespace

base::Status buildLoops(Ir &ir, const LoopSpec &spec) {
  return LoopBuilder(ir, spec.program).build();
}

} // namespace platen::kernels
