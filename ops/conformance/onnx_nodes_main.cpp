// Runs ONNX nodes and small graphs of them (a JSON-lines file, written by onnx_nodes_test.py)
// through the importer's mapping and the references, and once more through the operators' loops.
// Compares with the outputs that the file holds and prints one line an ONNX operator: passed,
// refused, failed, by references and by loops. Exit status 1 if a case failed or fewer than the
// given numbers passed.
//
// One line: {"name", "of": the operator it is counted for, "nodes": [{"domain", "opType",
// "version", "attributes": {name: {"int" | "float" | "string" | "ints" | "floats" | "tensor":
// value}}, "inputs": [name], "outputs": [name]}], "given": {name: tensor}, "wanted": {name:
// tensor}, "rtol", "atol", "mustMap": bool}; the empty name is an absent operand. A case with
// mustMap counts as failed if it is refused.
#include "ops/conformance/case_file.h"
#include "ops/loops/lowering.h"

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>

namespace platen::ops {
namespace {

using base::Result;
using base::Status;
using nlohmann::json;

using Tensors = std::map<std::string, Tensor, std::less<>>;

struct Node {
  std::string domain, opType;
  int64_t version = 0;
  Attributes attributes;
  std::vector<std::string> inputs, outputs;
};

struct Graph {
  std::string name, of;
  std::vector<Node> nodes;
  Tensors given, wanted;
  double rtol = 0, atol = 0;
  bool mustMap = false;
};

Result<Attribute> attributeOf(const json &entry) {
  std::string kind = entry.begin().key();
  const json &value = entry.begin().value();
  if (kind == "int")
    return Attribute(value.get<int64_t>());
  if (kind == "float")
    return Attribute(value.get<double>());
  if (kind == "string")
    return Attribute(value.get<std::string>());
  if (kind == "ints")
    return Attribute(value.get<std::vector<int64_t>>());
  if (kind == "floats")
    return Attribute(value.get<std::vector<double>>());
  PLATEN_ASSIGN_OR_RETURN(Tensor tensor, tensorFromJson(value));
  return Attribute(std::move(tensor));
}

Result<Tensors> tensorsOf(const json &entries) {
  Tensors tensors;
  for (const auto &[name, entry] : entries.items()) {
    PLATEN_ASSIGN_OR_RETURN(Tensor tensor, tensorFromJson(entry));
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
}

Result<Graph> parseGraph(const std::string &line) {
  const json entry = json::parse(line);
  Graph graph{entry.at("name"), entry.at("of"),     {}, {}, {}, entry.at("rtol"),
              entry.at("atol"), entry.at("mustMap")};
  for (const json &given : entry.at("nodes")) {
    Node &node =
        graph.nodes.emplace_back(Node{given.at("domain"),
                                      given.at("opType"),
                                      given.at("version"),
                                      {},
                                      given.at("inputs").get<std::vector<std::string>>(),
                                      given.at("outputs").get<std::vector<std::string>>()});
    const json &attributes = given.at("attributes");
    for (const auto &[name, value] : attributes.items()) {
      PLATEN_ASSIGN_OR_RETURN(Attribute attribute, attributeOf(value));
      node.attributes.emplace(name, std::move(attribute));
    }
  }
  PLATEN_ASSIGN_OR_RETURN(graph.given, tensorsOf(entry.at("given")));
  PLATEN_ASSIGN_OR_RETURN(graph.wanted, tensorsOf(entry.at("wanted")));
  return graph;
}

struct Presence {
  explicit Presence(const std::vector<std::string> &names)
      : count(names.size()), flags(std::make_unique<bool[]>(count)) {
    for (size_t i = 0; i < count; ++i)
      flags[i] = !names[i].empty();
  }
  std::span<const bool> span() const { return {flags.get(), count}; }
  size_t count;
  std::unique_ptr<bool[]> flags;
};

using Executor = Result<std::vector<Tensor>> (*)(const OpSpec &, Inputs, const Attributes &);

bool isInferenceDropout(const Node &node) {
  return node.opType == "Dropout" && node.inputs.size() < 3 &&
         (node.outputs.size() < 2 || node.outputs[1].empty());
}

/// The nodes that the importer passes by.
Status forward(const Node &node, Tensors &known) {
  const auto found = known.find(node.inputs[0]);
  if (found == known.end())
    return base::internalError("input '" + node.inputs[0] + "' has no value");
  known.insert_or_assign(node.outputs[0], found->second);
  return Status::ok();
}

/// Adds the node's outputs to `known`.
Status runNode(const Node &node, Executor execute, Tensors &known) {
  if (node.domain.empty() && (node.opType == "Identity" || isInferenceDropout(node)))
    return forward(node, known);
  const Presence inputs(node.inputs), outputs(node.outputs);
  PLATEN_ASSIGN_OR_RETURN(const MappedCall mapped,
                          mapOnnx(OnnxNode{node.domain, node.opType, node.version, inputs.span(),
                                           outputs.span(), node.attributes}));
  std::vector<const Tensor *> operands;
  for (const OnnxOperand &operand : mapped.call.operands) {
    operands.push_back(nullptr);
    if (operand.kind == OnnxOperand::Kind::kConstant)
      operands.back() = &operand.constant;
    if (operand.kind != OnnxOperand::Kind::kInput || node.inputs[operand.input].empty())
      continue;
    const auto found = known.find(node.inputs[operand.input]);
    if (found == known.end())
      return base::internalError("input '" + node.inputs[operand.input] + "' has no value");
    operands.back() = &found->second;
  }
  PLATEN_ASSIGN_OR_RETURN(std::vector<Tensor> results,
                          execute(*mapped.op, operands, mapped.call.attributes));
  for (size_t i = 0; i < results.size() && i < mapped.call.outputs.size(); ++i)
    if (const size_t output = mapped.call.outputs[i];
        output < node.outputs.size() && !node.outputs[output].empty())
      known.insert_or_assign(node.outputs[output], std::move(results[i]));
  return Status::ok();
}

Status runGraph(const Graph &graph, Executor execute, Tensors &known) {
  for (const Node &node : graph.nodes) {
    const Status status = runNode(node, execute, known);
    if (!status.isOk())
      return status.at("ONNX " + node.opType);
  }
  return Status::ok();
}

/// Empty, or the first difference of a wanted output.
std::string compare(const Graph &graph, const Tensors &known) {
  for (const auto &[name, wanted] : graph.wanted) {
    const auto found = known.find(name);
    if (found == known.end())
      return "output '" + name + "' was not produced";
    const std::string text = difference(found->second, wanted, 0, graph.atol, graph.rtol);
    if (!text.empty())
      return "output '" + name + "' " + text;
  }
  return {};
}

struct Tally {
  int passed = 0, refused = 0, failed = 0;
  std::string text() const {
    return std::to_string(passed) + " passed, " + std::to_string(refused) + " refused, " +
           std::to_string(failed) + " failed";
  }
  void add(const Tally &other) {
    passed += other.passed, refused += other.refused, failed += other.failed;
  }
};

bool isRefusal(const Status &status) {
  return status.code() == base::StatusCode::kUnsupported ||
         status.code() == base::StatusCode::kInvalidArgument;
}

/// Whether it passed.
bool judge(const Graph &graph, Executor execute, std::string_view by, bool mustRun, Tally &tally) {
  Tensors known = graph.given;
  const Status status = runGraph(graph, execute, known);
  const std::string text = status.isOk() ? compare(graph, known) : status.toString();
  if (text.empty()) {
    ++tally.passed;
    return true;
  }
  const bool refused = !status.isOk() && !mustRun && isRefusal(status);
  ++(refused ? tally.refused : tally.failed);
  std::cout << (refused ? "refused " : "FAILED ") << graph.name << by << ": " << text << "\n";
  return false;
}

int run(const char *path, int least, int leastByLoops) {
  std::ifstream file(path);
  if (!file) {
    std::cerr << path << ": cannot be read\n";
    return 2;
  }
  std::map<std::string, std::pair<Tally, Tally>> tallies; // by reference, by loops
  for (std::string line; std::getline(file, line);) {
    auto graph = parseGraph(line);
    if (!graph) {
      std::cerr << path << ": " << graph.status().toString() << "\n";
      return 2;
    }
    auto &[reference, byLoops] = tallies[graph->of];
    if (judge(*graph, evaluate, "", graph->mustMap, reference))
      judge(*graph, loops::evaluateByLoops, " by loops", false, byLoops);
  }
  Tally all, allByLoops;
  for (const auto &[name, tally] : tallies) {
    std::cout << name << ": " << tally.first.text() << "; by loops: " << tally.second.text()
              << "\n";
    all.add(tally.first), allByLoops.add(tally.second);
  }
  std::cout << "total: " << all.text() << "; by loops: " << allByLoops.text() << "\n";
  if (all.passed < least || allByLoops.passed < leastByLoops)
    std::cout << "FAILED: at least " << least << " must pass, by loops " << leastByLoops << "\n";
  return all.failed == 0 && allByLoops.failed == 0 && all.passed >= least &&
                 allByLoops.passed >= leastByLoops
             ? 0
             : 1;
}

} // namespace
} // namespace platen::ops

int main(int argc, char **argv) {
  if (argc != 4) {
    std::cerr << "usage: onnx_nodes <file.jsonl> <least number that pass> <the same by loops>\n";
    return 2;
  }
  try {
    return platen::ops::run(argv[1], std::atoi(argv[2]), std::atoi(argv[3]));
  } catch (const nlohmann::json::exception &exception) {
    std::cerr << argv[1] << ": " << exception.what() << "\n";
    return 2;
  }
}
