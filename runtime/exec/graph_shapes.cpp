// Symbols are bound where they stand alone; afterwards every dimension is compared with what the
// signature says it must be.
#include "runtime/exec/graph_shapes.h"

#include <algorithm>

#include "runtime/base/checked.h"

namespace platen::exec {
namespace {

using base::invalidArgument;
using base::Result;
using base::Status;
using plan::GraphSignature;
using plan::GraphTensor;

constexpr int64_t kUnbound = -1;

std::string number(int64_t value) { return std::to_string(value); }

std::string place(const GraphTensor &input, size_t dimension) {
  return "input '" + input.name + "': dimension " + std::to_string(dimension);
}

/// "n = 3, m = 0".
std::string values(const GraphSignature &graph, std::span<const int64_t> symbols) {
  std::string text;
  for (size_t i = 0; i < symbols.size(); ++i)
    text.append(i == 0 ? "" : ", ").append(graph.symbols[i].name + " = " + number(symbols[i]));
  return text;
}

Status bindInput(const GraphSignature &graph, const GraphTensor &input, const GraphInput &given,
                 std::vector<int64_t> &symbols) {
  if (given.dims.size() != input.dims.size())
    return invalidArgument("input '" + input.name + "' has " + std::to_string(given.dims.size()) +
                           " dimensions, " + std::to_string(input.dims.size()) + " are due");
  for (size_t d = 0; d < given.dims.size(); ++d) {
    int64_t value = given.dims[d], index = plan::soleSymbol(input.dims[d]);
    if (value < 0)
      return invalidArgument(place(input, d) + " is " + number(value));
    if (index < 0 || symbols[static_cast<size_t>(index)] != kUnbound)
      continue;
    const plan::Symbol &symbol = graph.symbols[static_cast<size_t>(index)];
    if (static_cast<uint64_t>(value) < symbol.least ||
        static_cast<uint64_t>(value) > symbol.greatest)
      return invalidArgument(place(input, d) + ", " + symbol.name + ", is " + number(value) +
                             ", must be in [" + std::to_string(symbol.least) + ", " +
                             std::to_string(symbol.greatest) + "]");
    symbols[static_cast<size_t>(index)] = value;
  }
  return Status::ok();
}

/// Of checked dimensions, whose product fits; but not what stands before a 0 need fit.
uint64_t denseBytes(base::DType dtype, std::span<const int64_t> dims) {
  if (std::ranges::find(dims, 0) != dims.end())
    return 0;
  uint64_t elements = 1;
  for (int64_t dim : dims)
    elements *= static_cast<uint64_t>(dim);
  auto bits = static_cast<uint64_t>(base::bitWidth(dtype));
  return bits < 8 ? (elements + 1) / 2 : elements * (bits / 8);
}

Status checkInput(const GraphSignature &graph, const GraphTensor &input, const GraphInput &given,
                  std::span<const int64_t> symbols) {
  for (size_t d = 0; d < given.dims.size(); ++d) {
    PLATEN_ASSIGN_OR_RETURN(int64_t due, input.dims[d].evaluate(symbols));
    if (given.dims[d] == due)
      continue;
    std::string message =
        place(input, d) + " is " + number(given.dims[d]) + ", must be " + number(due);
    if (!input.dims[d].constant())
      message += ": it is " + plan::toString(input.dims[d], graph.symbols) + " where " +
                 values(graph, symbols);
    return invalidArgument(message);
  }
  uint64_t due = denseBytes(input.dtype, given.dims);
  if (given.bytes.size() != due)
    return invalidArgument("input '" + input.name + "' has " + std::to_string(given.bytes.size()) +
                           " bytes, its shape takes " + std::to_string(due));
  return Status::ok();
}

/// Places the slots of buffers for which `take` says so behind `end`.
template <typename Take>
void placeSlots(const plan::DeviceProgram &program, const std::vector<uint64_t> &slot_bytes,
                Take take, ArenaLayout &layout, std::vector<uint64_t> &slot_offsets) {
  constexpr uint64_t kUnplaced = ~uint64_t{0};
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    uint64_t &offset = slot_offsets[program.buffers[i].slot];
    if (!take(i))
      continue;
    if (offset == kUnplaced) {
      offset = layout.arena_bytes;
      layout.arena_bytes +=
          base::alignUp(slot_bytes[program.buffers[i].slot], plan::kDataAlignment) +
          plan::kDataAlignment;
    }
    layout.offsets[i] = offset;
  }
}

} // namespace

Result<int64_t> evaluate(const base::Size &size, const GraphSignature &graph,
                         std::span<const int64_t> symbols, const std::string &what) {
  PLATEN_ASSIGN_OR_RETURN(int64_t value, size.evaluate(symbols));
  if (value < 0)
    return invalidArgument("the size of " + what + ", " + plan::toString(size, graph.symbols) +
                           ", is negative where " + values(graph, symbols));
  return value;
}

Status bindSymbols(const GraphSignature &graph, std::span<const GraphInput> inputs,
                   std::vector<int64_t> &symbols) {
  if (inputs.size() != graph.inputs.size())
    return invalidArgument(std::to_string(inputs.size()) + " inputs, the graph has " +
                           std::to_string(graph.inputs.size()));
  symbols.assign(graph.symbols.size(), kUnbound);
  for (size_t i = 0; i < inputs.size(); ++i)
    PLATEN_RETURN_IF_ERROR(bindInput(graph, graph.inputs[i], inputs[i], symbols));
  for (size_t i = 0; i < inputs.size(); ++i)
    PLATEN_RETURN_IF_ERROR(checkInput(graph, graph.inputs[i], inputs[i], symbols));
  return Status::ok();
}

Status layOut(const plan::DeviceProgram &program, const GraphSignature &graph,
              std::span<const int64_t> symbols, ArenaLayout &layout) {
  size_t count = program.buffers.size();
  layout.bytes.assign(count, 0);
  layout.offsets.assign(count, 0);
  std::vector<uint64_t> slot_bytes(count), slot_offsets(count, ~uint64_t{0});
  for (size_t i = 0; i < count; ++i) {
    const plan::Buffer &buffer = program.buffers[i];
    PLATEN_ASSIGN_OR_RETURN(int64_t bytes,
                            evaluate(buffer.bytes, graph, symbols, "buffer '" + buffer.name + "'"));
    layout.bytes[i] = static_cast<uint64_t>(bytes);
    slot_bytes[buffer.slot] = std::max(slot_bytes[buffer.slot], layout.bytes[i]);
  }
  enum class Part : uint8_t { kTemporary, kInput, kOutput };
  std::vector<Part> parts(count, Part::kTemporary);
  for (const GraphTensor &tensor : graph.inputs)
    parts[tensor.buffer] = Part::kInput;
  for (const GraphTensor &tensor : graph.outputs)
    parts[tensor.buffer] = Part::kOutput;
  layout.arena_bytes = 0;
  for (Part part : {Part::kInput, Part::kTemporary, Part::kOutput}) {
    layout.outputs_begin = layout.arena_bytes;
    placeSlots(
        program, slot_bytes, [&](size_t i) { return parts[i] == part; }, layout, slot_offsets);
  }
  return Status::ok();
}

} // namespace platen::exec
