#include "compiler/graph/select.h"

#include <algorithm>
#include <map>

namespace platen::compiler {

using base::Size;
using base::Status;
using Role = GraphTensor::Role;

namespace {

/// Greatest value of a symbol that a plan is made for; sizes at it fit the plan's caps.
constexpr uint64_t kGreatestSymbol = 1 << 16;

class GraphSelector {
public:
  GraphSelector(const GraphDraft &graph, KernelSource &source, PlanDraft &draft)
      : graph_(graph), source_(source), draft_(draft) {}

  Status run() {
    program_.device = source_.device();
    for (uint32_t i = 0; i < draft_.weights.size(); ++i)
      weightIndex_.try_emplace(draft_.weights[i].key(), i);
    PLATEN_RETURN_IF_ERROR(addBuffers());
    for (const GraphLaunch &launch : graph_.launches) {
      Status status = addLaunch(launch);
      if (!status.isOk())
        return status.at(launch.name);
    }
    PLATEN_RETURN_IF_ERROR(addSignature());
    draft_.manifest.programs.push_back(std::move(program_));
    return Status::ok();
  }

private:
  struct Lifetime {
    size_t first = SIZE_MAX, last = 0;
  };

  /// A buffer for every memory that a launch touches, and for every input.
  Status addBuffers() {
    std::map<uint32_t, Lifetime> lifetimes; // by storage
    for (size_t i = 0; i < graph_.launches.size(); ++i)
      for (uint32_t tensor : graph_.launches[i].tensors) {
        Lifetime &life = lifetimes[graph_.tensors[tensor].storage];
        life.first = std::min(life.first, i);
        life.last = i;
      }
    for (const std::vector<GraphPort> *ports : {&graph_.inputs, &graph_.outputs})
      for (const GraphPort &port : *ports) {
        const uint32_t storage = graph_.tensors[port.tensor].storage;
        PLATEN_RETURN_IF_ERROR(addBuffer(storage, nextSlot_++));
        lifetimes.erase(storage);
      }
    std::vector<std::pair<uint32_t, Lifetime>> temporaries;
    for (const auto &[storage, life] : lifetimes)
      if (graph_.tensors[storage].role != Role::kWeight)
        temporaries.emplace_back(storage, life);
    std::stable_sort(temporaries.begin(), temporaries.end(),
                     [](const auto &a, const auto &b) { return a.second.first < b.second.first; });
    for (const auto &[storage, life] : temporaries)
      PLATEN_RETURN_IF_ERROR(addBuffer(storage, slotFor(storage, life)));
    return Status::ok();
  }

  Status addBuffer(uint32_t storage, uint32_t slot) {
    const GraphTensor &tensor = graph_.tensors[storage];
    plan::Buffer buffer;
    buffer.name = "t" + std::to_string(storage);
    PLATEN_ASSIGN_OR_RETURN(buffer.bytes, plan::tensorBytes(tensor.spec.dtype, tensor.spec.dims));
    buffer.slot = slot;
    buffers_[storage] = static_cast<uint32_t>(program_.buffers.size());
    program_.buffers.push_back(std::move(buffer));
    return Status::ok();
  }

  /// A slot that is free by then, rather one that has held as much; else a new one.
  uint32_t slotFor(uint32_t storage, const Lifetime &life) {
    const auto &spec = graph_.tensors[storage].spec;
    const Size elements = base::productOf(spec.dims);
    Slot *best = nullptr;
    for (Slot &slot : slots_)
      if (slot.busyUntil < life.first &&
          (best == nullptr || (slot.elements == elements && !(best->elements == elements))))
        best = &slot;
    if (best == nullptr) {
      slots_.push_back({nextSlot_++, 0, elements});
      best = &slots_.back();
    }
    best->busyUntil = life.last;
    best->elements = elements;
    return best->number;
  }

  base::Result<plan::Operand> operandOf(uint32_t tensor) {
    const GraphTensor &what = graph_.tensors[tensor];
    if (what.role != Role::kWeight)
      return plan::Operand{plan::OperandKind::kBuffer, buffers_.at(what.storage)};
    return plan::Operand{plan::OperandKind::kWeight, weightOf(graph_.tensors[what.storage])};
  }

  uint32_t weightOf(const GraphTensor &tensor) {
    const WeightRequest &request = tensor.weight;
    auto [entry, isNew] =
        weightIndex_.try_emplace(request.key(), static_cast<uint32_t>(draft_.weights.size()));
    if (isNew) {
      std::vector<uint64_t> shape;
      for (const Size &dim : tensor.spec.dims)
        shape.push_back(static_cast<uint64_t>(dim.constant().value_or(0)));
      draft_.manifest.weights.push_back(
          {request.data.initializer.empty() ? "constant" + std::to_string(draft_.weights.size())
                                            : request.data.initializer,
           0, 0, std::string(request.packing.name), std::move(shape)});
      draft_.weights.push_back(request);
    }
    return entry->second;
  }

  Status addLaunch(const GraphLaunch &launch) {
    PLATEN_ASSIGN_OR_RETURN(KernelChoice choice, source_.choose(launch.spec, program_));
    plan::Launch made;
    made.name = launch.name;
    made.extent = plan::Extent::kTokens;
    made.variants = std::move(choice.variants);
    made.points = launch.extent;
    for (uint32_t tensor : launch.tensors) {
      PLATEN_ASSIGN_OR_RETURN(made.operands.emplace_back(), operandOf(tensor));
    }
    if (choice.operands != made.operands.size())
      return base::internalError("a kernel takes " + std::to_string(choice.operands) +
                                 " operands, not " + std::to_string(made.operands.size()));
    program_.launches.push_back(std::move(made));
    return Status::ok();
  }

  Status addSignature() {
    if (draft_.manifest.graph)
      return Status::ok();
    plan::GraphSignature signature;
    for (const std::string &name : graph_.symbols)
      signature.symbols.push_back({name, 0, kGreatestSymbol});
    auto add = [&](const std::vector<GraphPort> &ports, std::vector<plan::GraphTensor> &to) {
      for (const GraphPort &port : ports) {
        const GraphTensor &tensor = graph_.tensors[port.tensor];
        to.push_back({port.name, tensor.spec.dtype, tensor.spec.dims, buffers_.at(tensor.storage)});
      }
    };
    add(graph_.inputs, signature.inputs);
    add(graph_.outputs, signature.outputs);
    draft_.manifest.graph = std::move(signature);
    return Status::ok();
  }

  struct Slot {
    uint32_t number;
    size_t busyUntil;
    Size elements;
  };
  const GraphDraft &graph_;
  KernelSource &source_;
  PlanDraft &draft_;
  plan::DeviceProgram program_;
  std::map<uint32_t, uint32_t> buffers_; // by storage
  std::vector<Slot> slots_;              // of temporaries
  uint32_t nextSlot_ = 0;
  std::map<std::string, uint32_t> weightIndex_;
};

} // namespace

Status selectGraph(const GraphDraft &graph, KernelSource &source, PlanDraft &draft) {
  return GraphSelector(graph, source, draft).run();
}

} // namespace platen::compiler
