// Fusion of loops: pointwise launches move into their readers.
#include "ops/loops/fuse.h"
#include "compiler/graph/launches.h"

#include <algorithm>
#include <set>

namespace platen::compiler {

using kernels::LoopSpec;
using ops::loops::Node;
using ops::loops::Op;
using ops::loops::Program;
using Role = GraphTensor::Role;

namespace {

constexpr size_t kMostNodes = 600, kMostTensors = 24;
/// Nodes that may be evaluated again for each reader, or in each turn of a reader's fold.
constexpr size_t kCheapNodes = 16;

Program *loopsOf(GraphLaunch &launch) {
  auto *spec = std::get_if<LoopSpec>(&launch.spec);
  return spec == nullptr ? nullptr : &spec->program;
}

bool isCostly(Op op) {
  switch (op) {
  case Op::kDiv:
  case Op::kRem:
  case Op::kSqrt:
    return true;
  default:
    return op >= Op::kExp && op <= Op::kPow;
  }
}

/// Whether evaluating it often costs no more than loading its result.
bool isCheap(const Program &program) {
  return program.folds.empty() && program.nodes.size() <= kCheapNodes &&
         std::none_of(program.nodes.begin(), program.nodes.end(), [](const Node &node) {
           return node.kind != ops::loops::Kind::kInt && isCostly(node.op);
         });
}

class Fusion {
public:
  explicit Fusion(GraphDraft &draft) : draft_(draft) {}

  void run() {
    dropDead();
    for (size_t i = 0; i < draft_.launches.size(); ++i)
      tryInline(i);
    dropDead();
  }

private:
  bool writes(GraphLaunch &launch, uint32_t tensor) {
    for (size_t i = 0; i < launch.tensors.size(); ++i)
      if (storageOf(launch.tensors[i]) == storageOf(tensor) && isStored(launch, i))
        return true;
    return false;
  }
  static bool isStored(GraphLaunch &launch, size_t operand) {
    if (const Program *program = loopsOf(launch))
      return program->isStored(static_cast<uint32_t>(operand));
    return operand + 1 == launch.tensors.size(); // kernels write their last operand
  }
  uint32_t storageOf(uint32_t tensor) const { return draft_.tensors[tensor].storage; }
  size_t writersOf(uint32_t tensor) {
    return static_cast<size_t>(
        std::count_if(draft_.launches.begin(), draft_.launches.end(),
                      [&](GraphLaunch &launch) { return writes(launch, tensor); }));
  }

  /// Launches that read `tensor` under its own dims; empty if something reads it in another way.
  std::vector<size_t> readersOf(uint32_t tensor) {
    std::vector<size_t> readers;
    for (size_t i = 0; i < draft_.launches.size(); ++i) {
      GraphLaunch &launch = draft_.launches[i];
      for (size_t operand = 0; operand < launch.tensors.size(); ++operand) {
        if (storageOf(launch.tensors[operand]) != storageOf(tensor) || isStored(launch, operand))
          continue;
        if (loopsOf(launch) == nullptr || launch.tensors[operand] != tensor)
          return {};
        readers.push_back(i);
      }
    }
    return readers;
  }

  /// Whether a load of operand `operand` stands inside a fold.
  static bool isInFold(const Program &program, uint32_t operand) {
    std::vector<bool> inside(program.nodes.size(), false);
    for (size_t i = 0; i < program.nodes.size(); ++i) {
      const Node &node = program.nodes[i];
      inside[i] = node.op == Op::kFoldIndex || node.op == Op::kFoldCarried;
      for (ops::loops::Value value : {node.a, node.b, node.c})
        inside[i] = inside[i] || (value != ops::loops::kNoValue && inside[value]);
      for (ops::loops::Value value : node.coordinates)
        inside[i] = inside[i] || inside[value];
      if (node.op == Op::kLoad && node.index == operand && inside[i])
        return true;
    }
    return false;
  }

  void tryInline(size_t index) {
    GraphLaunch &producer = draft_.launches[index];
    const Program *program = loopsOf(producer);
    if (program == nullptr || !ops::loops::isPointwise(*program))
      return;
    const uint32_t made = producer.tensors[program->stores[0].tensor];
    if (draft_.tensors[made].role != Role::kTemporary || storageOf(made) != made ||
        writersOf(made) != 1)
      return;
    for (size_t i = 0; i < producer.tensors.size(); ++i)
      if (producer.tensors[i] != made && writersOf(producer.tensors[i]) > 1)
        return;
    const std::vector<size_t> readers = readersOf(made);
    if (readers.empty() || (readers.size() > 1 && !isCheap(*program)) || !program->folds.empty())
      return;
    std::vector<std::pair<size_t, GraphLaunch>> fused;
    for (size_t reader : readers) {
      std::optional<GraphLaunch> launch = inlined(draft_.launches[reader], producer, made);
      if (!launch)
        return;
      fused.emplace_back(reader, std::move(*launch));
    }
    for (auto &[reader, launch] : fused)
      draft_.launches[reader] = std::move(launch);
  }

  std::optional<GraphLaunch> inlined(GraphLaunch &reader, GraphLaunch &producer, uint32_t made) {
    const Program &into = *loopsOf(reader), &from = *loopsOf(producer);
    const auto operand = static_cast<uint32_t>(
        std::find(reader.tensors.begin(), reader.tensors.end(), made) - reader.tensors.begin());
    if (isInFold(into, operand) && !isCheap(from))
      return std::nullopt;
    std::vector<uint32_t> appended;
    std::optional<Program> joined = ops::loops::inlineProducer(into, operand, from, appended);
    if (!joined || joined->nodes.size() > kMostNodes)
      return std::nullopt;
    std::vector<uint32_t> tensors = reader.tensors, sameAs(joined->tensors.size()), kept;
    for (uint32_t i : appended)
      tensors.push_back(producer.tensors[i]);
    for (uint32_t i = 0; i < tensors.size(); ++i)
      sameAs[i] = static_cast<uint32_t>(std::find(tensors.begin(), tensors.end(), tensors[i]) -
                                        tensors.begin());
    GraphLaunch launch = reader;
    launch.spec = LoopSpec{ops::loops::compact(*joined, sameAs, kept)};
    launch.tensors.clear();
    for (uint32_t i : kept)
      launch.tensors.push_back(tensors[i]);
    return launch.tensors.size() <= kMostTensors ? std::optional(std::move(launch)) : std::nullopt;
  }

  void dropDead() {
    std::set<uint32_t> needed;
    for (const GraphPort &output : draft_.outputs)
      needed.insert(storageOf(output.tensor));
    std::vector<GraphLaunch> kept;
    for (size_t i = draft_.launches.size(); i-- > 0;) {
      GraphLaunch &launch = draft_.launches[i];
      bool isNeeded = false;
      for (size_t operand = 0; operand < launch.tensors.size(); ++operand)
        isNeeded |=
            isStored(launch, operand) && needed.contains(storageOf(launch.tensors[operand]));
      if (!isNeeded)
        continue;
      for (uint32_t tensor : launch.tensors)
        needed.insert(storageOf(tensor));
      kept.push_back(std::move(launch));
    }
    std::reverse(kept.begin(), kept.end());
    draft_.launches = std::move(kept);
  }

  GraphDraft &draft_;
};

} // namespace

void fuseGraph(GraphDraft &draft) { Fusion(draft).run(); }

} // namespace platen::compiler
