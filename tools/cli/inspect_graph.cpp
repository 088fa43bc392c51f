// Sizes are printed with the names of their symbols.
#include "tools/cli/inspect_graph.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace platen::cli {
namespace {

std::string describe(const plan::GraphTensor &tensor, const plan::GraphSignature &graph) {
  std::string text = fmt::format("{}: {}[", tensor.name, base::dtypeName(tensor.dtype));
  for (size_t i = 0; i < tensor.dims.size(); ++i)
    text += (i == 0 ? "" : ", ") + plan::toString(tensor.dims[i], graph.symbols);
  return text + "]";
}

nlohmann::json toJson(const plan::GraphTensor &tensor, const plan::GraphSignature &graph) {
  nlohmann::json json{{"name", tensor.name},
                      {"dtype", base::dtypeName(tensor.dtype)},
                      {"buffer", tensor.buffer},
                      {"shape", nlohmann::json::array()}};
  for (const base::Size &dim : tensor.dims) {
    if (auto number = dim.constant())
      json["shape"].push_back(*number);
    else
      json["shape"].push_back(plan::toString(dim, graph.symbols));
  }
  return json;
}

} // namespace

void printSignature(const plan::GraphSignature &graph) {
  for (const plan::Symbol &symbol : graph.symbols)
    fmt::print("symbol      {} in [{}, {}]\n", symbol.name, symbol.least, symbol.greatest);
  for (const plan::GraphTensor &input : graph.inputs)
    fmt::print("input       {}\n", describe(input, graph));
  for (const plan::GraphTensor &output : graph.outputs)
    fmt::print("output      {}\n", describe(output, graph));
}

void printBuffers(const std::string &program_name, const plan::DeviceProgram &program,
                  const plan::GraphSignature &graph) {
  for (const plan::Buffer &buffer : program.buffers)
    fmt::print("buffer      {}: {} of {} bytes in slot {}\n", program_name, buffer.name,
               plan::toString(buffer.bytes, graph.symbols), buffer.slot);
}

nlohmann::json signatureJson(const plan::GraphSignature &graph) {
  nlohmann::json json{{"symbols", nlohmann::json::array()},
                      {"inputs", nlohmann::json::array()},
                      {"outputs", nlohmann::json::array()}};
  for (const plan::Symbol &symbol : graph.symbols)
    json["symbols"].push_back(
        {{"name", symbol.name}, {"least", symbol.least}, {"greatest", symbol.greatest}});
  for (const plan::GraphTensor &input : graph.inputs)
    json["inputs"].push_back(toJson(input, graph));
  for (const plan::GraphTensor &output : graph.outputs)
    json["outputs"].push_back(toJson(output, graph));
  return json;
}

void addGraphParts(const plan::DeviceProgram &program, const plan::GraphSignature &graph,
                   nlohmann::json &json) {
  json["greatest_arena_bytes"] = plan::arenaLimit(program, graph);
  json["buffers"] = nlohmann::json::array();
  for (const plan::Buffer &buffer : program.buffers)
    json["buffers"].push_back({{"name", buffer.name},
                               {"bytes", plan::toString(buffer.bytes, graph.symbols)},
                               {"slot", buffer.slot}});
  json["launch_points"] = nlohmann::json::array();
  for (const plan::Launch &launch : program.launches)
    json["launch_points"].push_back(plan::toString(launch.points, graph.symbols));
}

} // namespace platen::cli
