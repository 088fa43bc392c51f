#include "ops/loops/fuse.h"

#include "ops/loops/builder.h"

#include <algorithm>
#include <map>

namespace platen::ops::loops {

bool isPointwise(const Program &program) {
  if (program.stores.size() != 1 || program.parallel != program.extents.size())
    return false;
  const Store &store = program.stores[0];
  const TensorSpec &tensor = program.tensors[store.tensor];
  if (store.condition != kNoValue || program.isLoaded(store.tensor) ||
      store.coordinates.size() != program.extents.size() || tensor.dims != program.extents)
    return false;
  for (size_t axis = 0; axis < program.extents.size(); ++axis) {
    const Node &at = program.nodes[store.coordinates[axis]];
    const bool isOwn = at.op == Op::kAxis && at.index == axis;
    const bool isOnly =
        program.extents[axis] == Size(1) && at.op == Op::kConstant && at.integer == 0;
    if (!isOwn && !isOnly)
      return false;
  }
  return true;
}

uint64_t pointCost(const Program &program) {
  return program.nodes.size() + 1000 * program.folds.size();
}

namespace {

/// Copies values of one program into a builder, with other axes and loads.
class Copy {
public:
  Copy(const Program &from, Builder &to) : from_(from), to_(to) {}

  std::function<Value(uint32_t)> axis;
  std::function<Value(const Node &, std::vector<Value>)> load; ///< coordinates are copied already

  Value operator()(Value value) {
    if (auto found = copied_.find(value); found != copied_.end())
      return found->second;
    const Value copy = make(from_.nodes[value]);
    return copied_[value] = copy;
  }

private:
  std::vector<Value> all(const std::vector<Value> &values) {
    std::vector<Value> copies;
    for (Value value : values)
      copies.push_back((*this)(value));
    return copies;
  }

  Value make(const Node &node) {
    switch (node.op) {
    case Op::kConstant:
      return node.kind == Kind::kInt || node.kind == Kind::kBool
                 ? node.kind == Kind::kInt ? to_.integer(node.integer)
                                           : to_.boolean(node.integer != 0)
                 : to_.number(node.kind, node.number);
    case Op::kSymbol:
      return to_.symbol(node.index);
    case Op::kAxis:
      return axis(node.index);
    case Op::kLoad:
      return load(node, all(node.coordinates));
    case Op::kFoldIndex:
    case Op::kFoldCarried:
      return kNoValue; // put there by fold() below
    case Op::kFoldResult:
      return fold(node.index)[node.part];
    case Op::kSelect: {
      const Value condition = (*this)(node.a), a = (*this)(node.b), b = (*this)(node.c);
      return to_.select(condition, a, b);
    }
    case Op::kConvert:
      return to_.convert(node.kind, (*this)(node.a), node.isUnsigned);
    case Op::kRound:
      return to_.round(node.dtype, (*this)(node.a));
    case Op::kBits:
      return node.kind == Kind::kInt ? to_.bits((*this)(node.a))
                                     : to_.fromBits(node.kind, (*this)(node.a));
    case Op::kFma: {
      const Value a = (*this)(node.a), b = (*this)(node.b), c = (*this)(node.c);
      return to_.fma(a, b, c);
    }
    default:
      if (node.b == kNoValue)
        return to_.unary(node.op, (*this)(node.a));
      const Value a = (*this)(node.a), b = (*this)(node.b);
      return to_.binary(node.op, a, b, node.isUnsigned);
    }
  }

  const std::vector<Value> &fold(uint32_t id) {
    if (auto found = folds_.find(id); found != folds_.end())
      return found->second;
    const Fold &fold = from_.folds[id];
    const Value from = (*this)(fold.from), to = (*this)(fold.to);
    const std::vector<Value> results = to_.fold(
        from, to, all(fold.initial),
        [&](Value index, std::span<const Value> carried) {
          for (Value value = 0; value < from_.nodes.size(); ++value) {
            const Node &node = from_.nodes[value];
            if (node.op == Op::kFoldIndex && node.index == id)
              copied_[value] = index;
            else if (node.op == Op::kFoldCarried && node.index == id)
              copied_[value] = carried[node.part];
          }
          return all(fold.next);
        },
        fold.anyOrder);
    return folds_[id] = results;
  }

  const Program &from_;
  Builder &to_;
  std::map<Value, Value> copied_;
  std::map<uint32_t, std::vector<Value>> folds_;
};

void copyStores(const Program &program, Copy &copy, Builder &to,
                const std::function<uint32_t(uint32_t)> &tensor) {
  for (const Store &store : program.stores) {
    std::vector<Value> coordinates;
    for (Value coordinate : store.coordinates)
      coordinates.push_back(copy(coordinate));
    const Value value = copy(store.value);
    const Value condition = store.condition == kNoValue ? kNoValue : copy(store.condition);
    to.store(tensor(store.tensor), coordinates, value, condition);
  }
}

} // namespace

std::optional<Program> inlineProducer(const Program &reader, uint32_t tensor,
                                      const Program &producer, std::vector<uint32_t> &appended) {
  Builder builder;
  for (const TensorSpec &spec : reader.tensors)
    builder.tensor(spec);
  const Store &made = producer.stores[0];
  std::vector<uint32_t> place(producer.tensors.size(), 0);
  for (uint32_t i = 0; i < producer.tensors.size(); ++i)
    if (i != made.tensor) {
      place[i] = builder.tensor(producer.tensors[i]);
      appended.push_back(i);
    }
  // One copy of the producer for each list of coordinates at which it is read.
  std::map<std::vector<Value>, std::unique_ptr<Copy>> copies;
  auto produce = [&](const std::vector<Value> &at) {
    std::unique_ptr<Copy> &copy = copies[at];
    if (!copy) {
      copy = std::make_unique<Copy>(producer, builder);
      copy->axis = [at](uint32_t index) { return at[index]; };
      copy->load = [&](const Node &node, std::vector<Value> coordinates) {
        return builder.load(place[node.index], coordinates);
      };
    }
    const Value value = (*copy)(made.value);
    const DType dtype = producer.tensors[made.tensor].dtype;
    return dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kBool ||
                   dtype == DType::kI64
               ? value
               : builder.round(dtype, value);
  };
  Copy copy(reader, builder);
  copy.axis = [&](uint32_t index) { return builder.axis(index); };
  copy.load = [&](const Node &node, std::vector<Value> coordinates) {
    return node.index == tensor ? produce(coordinates) : builder.load(node.index, coordinates);
  };
  copyStores(reader, copy, builder, [](uint32_t index) { return index; });
  Program fused = builder.finish(reader.extents, reader.parallel);
  return verify(fused).isOk() ? std::optional(std::move(fused)) : std::nullopt;
}

Program compact(const Program &program, const std::vector<uint32_t> &sameAs,
                std::vector<uint32_t> &kept) {
  Builder builder;
  std::map<uint32_t, uint32_t> place;
  auto at = [&](uint32_t tensor) {
    auto [entry, isNew] = place.try_emplace(sameAs[tensor], 0);
    if (isNew) {
      entry->second = builder.tensor(program.tensors[sameAs[tensor]]);
      kept.push_back(sameAs[tensor]);
    }
    return entry->second;
  };
  Copy copy(program, builder);
  copy.axis = [&](uint32_t index) { return builder.axis(index); };
  copy.load = [&](const Node &node, std::vector<Value> coordinates) {
    return builder.load(at(node.index), coordinates);
  };
  copyStores(program, copy, builder, at);
  return builder.finish(program.extents, program.parallel);
}

} // namespace platen::ops::loops
