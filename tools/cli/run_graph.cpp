// Files in, files out; the run itself is engine::Graph's.
#include "tools/cli/run_graph.h"

#include "tools/npy/npy.h"

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

namespace platen::cli {
namespace {

using base::Result;
using base::Status;

struct Given {
  std::string name;
  npy::Array array;
};

Result<std::vector<Given>> readInputs(const std::vector<std::string> &inputs) {
  std::vector<Given> given;
  for (const std::string &input : inputs) {
    // Names of tensors may hold '='; those of files rather not.
    size_t equals = input.rfind('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == input.size())
      return base::invalidArgument("--input is '" + input + "', it must be NAME=FILE.npy");
    PLATEN_ASSIGN_OR_RETURN(npy::Array array, npy::read(input.substr(equals + 1)));
    given.push_back({input.substr(0, equals), std::move(array)});
  }
  return given;
}

std::string shapeOf(const engine::NamedTensor &tensor) {
  std::string text = std::string(base::dtypeName(tensor.dtype)) + "[";
  for (size_t i = 0; i < tensor.dims.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(tensor.dims[i]);
  return text + "]";
}

/// [outputs] where each was written; nothing without a folder.
Result<std::vector<std::string>> writeOutputs(const std::vector<engine::NamedTensor> &outputs,
                                              const std::string &folder) {
  std::vector<std::string> paths;
  if (folder.empty())
    return paths;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return base::ioError("cannot be made: " + error.message(), folder);
  std::vector<std::string> names = fileNames(outputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    paths.push_back((std::filesystem::path(folder) / names[i]).string());
    PLATEN_RETURN_IF_ERROR(
        npy::write(paths.back(), outputs[i].dtype, outputs[i].dims, outputs[i].bytes));
  }
  return paths;
}

/// A device that is no hardware measures nothing.
bool isSimulated(const engine::GraphInfo &info) {
  return info.device.find("platen simulated") != std::string::npos;
}

struct Ran {
  std::vector<engine::NamedTensor> outputs;
  std::vector<std::string> paths;
  double seconds = 0;
};

void print(const engine::GraphInfo &info, const Ran &ran, bool json, std::ostream &out,
           std::ostream &err) {
  nlohmann::ordered_json report = {{"model", info.name},
                                   {"weight_format", info.weight_format},
                                   {"device", info.device},
                                   {"device_reason", info.device_reason},
                                   {"code_target", info.code_target},
                                   {"simulated", isSimulated(info)},
                                   {"outputs", nlohmann::ordered_json::array()}};
  if (!isSimulated(info))
    report["seconds"] = ran.seconds;
  for (size_t i = 0; i < ran.outputs.size(); ++i) {
    const engine::NamedTensor &tensor = ran.outputs[i];
    nlohmann::ordered_json output = {
        {"name", tensor.name}, {"dtype", base::dtypeName(tensor.dtype)}, {"shape", tensor.dims}};
    if (!ran.paths.empty())
      output["file"] = ran.paths[i];
    report["outputs"].push_back(std::move(output));
    if (!json)
      out << tensor.name << ": " << shapeOf(tensor)
          << (ran.paths.empty() ? "" : " -> " + ran.paths[i]) << "\n";
  }
  if (json) {
    out << report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
    return;
  }
  err << info.device << ", code " << info.code_target << " (" << info.device_reason << ")\n";
  if (isSimulated(info))
    err << "a simulated device: times are not measured\n";
  else
    err << "ran in " << ran.seconds * 1e3 << " ms\n";
}

Result<Ran> runOnce(engine::Graph &graph, const RunGraphOptions &options) {
  PLATEN_ASSIGN_OR_RETURN(std::vector<Given> given, readInputs(options.inputs));
  std::vector<engine::TensorView> views;
  for (const Given &input : given)
    views.push_back({.name = input.name,
                     .dtype = input.array.dtype,
                     .dims = input.array.dims,
                     .bytes = input.array.bytes});
  Ran ran;
  auto begin = std::chrono::steady_clock::now();
  PLATEN_ASSIGN_OR_RETURN(ran.outputs, graph.run(views));
  ran.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  PLATEN_ASSIGN_OR_RETURN(ran.paths, writeOutputs(ran.outputs, options.output_folder));
  return ran;
}

} // namespace

std::vector<std::string> fileNames(const std::vector<engine::NamedTensor> &outputs) {
  constexpr std::string_view kKept = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789._-";
  constexpr size_t kLongest = 200; // of a file's name, there may be 255 bytes
  std::set<std::string> taken;
  std::vector<std::string> names;
  for (const engine::NamedTensor &output : outputs) {
    std::string name = output.name.substr(0, kLongest);
    for (char &c : name)
      c = kKept.find(c) == std::string_view::npos ? '_' : c;
    std::string unique = name;
    for (int again = 2; !taken.insert(unique).second; ++again)
      unique = name + "_" + std::to_string(again);
    names.push_back(unique + ".npy");
  }
  return names;
}

int runGraph(engine::Graph &graph, const RunGraphOptions &options, std::ostream &out,
             std::ostream &err) {
  auto ran = runOnce(graph, options);
  if (!ran.isOk()) {
    err << "platen: " << ran.status().toString() << "\n";
    return 1;
  }
  print(graph.info(), *ran, options.json, out, err);
  return 0;
}

} // namespace platen::cli
