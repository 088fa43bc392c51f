// What only plans of graphs have: the signature, and sizes that depend on its symbols. Afterwards
// every size of every run, whatever values its symbols have within their ranges, can be computed
// and is within the caps.
#include <algorithm>
#include <optional>
#include <set>

#include "runtime/base/checked.h"
#include "runtime/plan/validate_detail.h"

namespace platen::plan::detail {
namespace {

using base::corrupt;
using base::Size;
using base::Status;

constexpr uint64_t kMaxTermValue = uint64_t{1} << 62;

/// coefficient * product of the symbols' greatest (or least) values. False where that is beyond
/// kMaxTermValue.
bool termValue(const Size::Term &term, const GraphSignature &graph, bool at_greatest,
               uint64_t &value) {
  // Unsigned, so that -2^63 has a magnitude too.
  value = term.coefficient < 0 ? uint64_t{0} - static_cast<uint64_t>(term.coefficient)
                               : static_cast<uint64_t>(term.coefficient);
  for (uint32_t symbol : term.symbols) {
    const Symbol &range = graph.symbols[symbol];
    if (value > kMaxTermValue ||
        __builtin_mul_overflow(value, at_greatest ? range.greatest : range.least, &value))
      return false;
  }
  return value <= kMaxTermValue;
}

Status checkNames(std::string_view list, const std::vector<GraphTensor> &tensors) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < tensors.size(); ++i) {
    PLATEN_RETURN_IF_ERROR(checkName(list, i, tensors[i].name));
    if (tensors[i].name.empty())
      return corrupt("it has no name", place(list, i, ""));
    if (!names.insert(tensors[i].name).second)
      return corrupt("another has that name too", place(list, i, tensors[i].name));
  }
  return Status::ok();
}

Status checkTensor(const GraphTensor &tensor, const Manifest &manifest) {
  const GraphSignature &graph = *manifest.graph;
  if (tensor.dims.size() > kMaxGraphRank)
    return corrupt(number(tensor.dims.size()) + " dimensions, more than 8");
  for (size_t i = 0; i < tensor.dims.size(); ++i)
    PLATEN_RETURN_IF_ERROR(
        sizeLimit(tensor.dims[i], graph, kMaxGraphExtent).status().at(place("dims", i, "")));
  PLATEN_ASSIGN_OR_RETURN(Size bytes, tensorBytes(tensor.dtype, tensor.dims));
  for (size_t i = 0; i < manifest.programs.size(); ++i) {
    const std::vector<Buffer> &buffers = manifest.programs[i].buffers;
    PLATEN_RETURN_IF_ERROR(
        checkIndex("buffer", tensor.buffer, buffers.size()).at(place("programs", i, "")));
    if (buffers[tensor.buffer].bytes != bytes)
      return corrupt("its buffer has " + buffers[tensor.buffer].bytes.toString() + " bytes, but " +
                         bytes.toString() + " are due",
                     place("programs", i, ""));
  }
  return Status::ok();
}

Status checkSymbols(const GraphSignature &graph) {
  if (graph.symbols.size() > kMaxSymbols)
    return corrupt(number(graph.symbols.size()) + " symbols, more than 64");
  std::set<std::string_view> names;
  PLATEN_RETURN_IF_ERROR(checkEach("symbols", graph.symbols, [&](const Symbol &symbol) -> Status {
    PLATEN_RETURN_IF_ERROR(checkRange("greatest", symbol.greatest, 1, kMaxGraphExtent));
    PLATEN_RETURN_IF_ERROR(checkRange("least", symbol.least, 0, symbol.greatest));
    if (symbol.name.empty() || !names.insert(symbol.name).second)
      return corrupt("it has no name, or another has that name too");
    return Status::ok();
  }));
  std::set<int64_t> bound;
  for (const GraphTensor &input : graph.inputs)
    for (const Size &dim : input.dims)
      bound.insert(soleSymbol(dim));
  return checkEach("symbols", graph.symbols, [&](const Symbol &, size_t i) {
    return bound.contains(static_cast<int64_t>(i))
               ? Status::ok()
               : corrupt("no dimension of an input is that symbol alone");
  });
}

/// What plans of decoders have, and those of graphs have not.
Status checkNoDecoder(const Manifest &manifest) {
  ModelInfo none;
  none.weight_format = manifest.model.weight_format;
  if (!isPrintable(none.weight_format))
    return corrupt("weight_format holds control characters");
  if (manifest.limits != Limits{} || manifest.model != none)
    return corrupt("the plan has limits or a model, as only plans of decoders have");
  return Status::ok();
}

/// Whether nothing is set that only decoders have.
bool isBare(const Buffer &buffer) {
  return buffer.extent == Extent::kOne && buffer.row_bytes == 0 && buffer.arena_offset == 0;
}

/// That inputs and outputs share slots with nothing.
Status checkOwnSlots(const DeviceProgram &program, const GraphSignature &graph) {
  std::vector<uint32_t> users(program.buffers.size());
  for (const Buffer &buffer : program.buffers)
    ++users[buffer.slot];
  for (const auto *list : {&graph.inputs, &graph.outputs})
    for (const GraphTensor &tensor : *list)
      if (users[program.buffers[tensor.buffer].slot] != 1)
        return corrupt("it shares its slot with others, but it is the buffer of '" + tensor.name +
                           "'",
                       place("buffers", tensor.buffer, program.buffers[tensor.buffer].name));
  return Status::ok();
}

/// Bytes of all slots together, `bytes` [buffers] being those of the buffers; capped where it is
/// beyond kMaxArenaBytes.
uint64_t sumOfSlots(const DeviceProgram &program, const std::vector<uint64_t> &bytes) {
  std::vector<std::optional<uint64_t>> slots(program.buffers.size());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::optional<uint64_t> &slot = slots[program.buffers[i].slot];
    slot = std::max(slot.value_or(0), bytes[i]);
  }
  uint64_t sum = 0;
  for (const std::optional<uint64_t> &slot : slots)
    if (slot && sum <= kMaxArenaBytes)
      sum += base::alignUp(*slot, kDataAlignment) + kDataAlignment;
  return sum;
}

} // namespace

base::Result<uint64_t> sizeLimit(const Size &size, const GraphSignature &graph, uint64_t most) {
  if (size.terms().size() > kMaxSizeTerms)
    return corrupt("a sum of " + number(size.terms().size()) + " terms, more than 64");
  // Positive terms are largest at the greatest values, negative ones at the least.
  uint64_t largest = 0, smallest_negative = 0, sum = 0;
  for (const Size::Term &term : size.terms()) {
    if (term.symbols.size() > kMaxSizeDegree)
      return corrupt("a product of " + number(term.symbols.size()) + " symbols, more than 16");
    for (uint32_t symbol : term.symbols)
      PLATEN_RETURN_IF_ERROR(checkIndex("symbol", symbol, graph.symbols.size()));
    uint64_t value = 0;
    bool fits = termValue(term, graph, true, value);
    // At most 64 terms, each checked: no sum wraps.
    if (!fits || (sum += value) > kMaxTermValue)
      return corrupt("at the symbols' greatest values " + size.toString() +
                     " does not fit 62 bits");
    if (term.coefficient > 0) {
      largest += value;
    } else {
      (void)termValue(term, graph, false, value);
      smallest_negative += value;
    }
  }
  largest = largest > smallest_negative ? largest - smallest_negative : 0;
  if (largest > most)
    return corrupt(size.toString() + " is up to " + number(largest) +
                   " at the symbols' greatest values, must be at most " + number(most));
  return largest;
}

Status checkGraph(const Manifest &manifest) {
  const GraphSignature &graph = *manifest.graph;
  PLATEN_RETURN_IF_ERROR(checkNoDecoder(manifest));
  if (graph.inputs.size() > kMaxGraphTensors || graph.outputs.size() > kMaxGraphTensors)
    return corrupt(number(graph.inputs.size()) + " inputs and " + number(graph.outputs.size()) +
                   " outputs, there may be 1024 of each");
  if (graph.outputs.empty())
    return corrupt("it has no output");
  PLATEN_RETURN_IF_ERROR(checkSymbols(graph));
  std::set<uint32_t> buffers;
  for (auto [list, tensors] : {std::pair{"inputs", &graph.inputs}, {"outputs", &graph.outputs}}) {
    PLATEN_RETURN_IF_ERROR(checkNames(list, *tensors));
    PLATEN_RETURN_IF_ERROR(checkEach(list, *tensors, [&](const GraphTensor &tensor) -> Status {
      if (!buffers.insert(tensor.buffer).second)
        return corrupt("buffer " + number(tensor.buffer) + " is another input's or output's too");
      return checkTensor(tensor, manifest);
    }));
  }
  return Status::ok();
}

Status checkGraphBuffers(const DeviceProgram &program, const GraphSignature &graph,
                         std::vector<uint64_t> &bytes) {
  if (!program.caches.empty() || program.arena_bytes != 0 || program.logits_buffer != 0 ||
      program.hidden_buffer != -1 || program.sampler)
    return corrupt("it has caches, an arena's size, logits, hidden states or a sampler, as only "
                   "programs of decoders have");
  PLATEN_RETURN_IF_ERROR(checkEach("buffers", program.buffers, [&](const Buffer &buffer) -> Status {
    if (!isBare(buffer))
      return corrupt("it has rows or a place in the arena, as only buffers of decoders have");
    PLATEN_RETURN_IF_ERROR(checkIndex("slot", buffer.slot, program.buffers.size()));
    auto most = sizeLimit(buffer.bytes, graph, kMaxArenaBytes);
    if (!most.isOk())
      return most.status().at("bytes");
    bytes.push_back(*most);
    return Status::ok();
  }));
  PLATEN_RETURN_IF_ERROR(checkOwnSlots(program, graph));
  return checkRange("the sum of the slots at the symbols' greatest values",
                    sumOfSlots(program, bytes), 0, kMaxArenaBytes);
}

} // namespace platen::plan::detail

uint64_t platen::plan::arenaLimit(const DeviceProgram &program, const GraphSignature &graph) {
  std::vector<uint64_t> bytes;
  for (const Buffer &buffer : program.buffers)
    bytes.push_back(detail::sizeLimit(buffer.bytes, graph, kMaxArenaBytes).value());
  return detail::sumOfSlots(program, bytes);
}
