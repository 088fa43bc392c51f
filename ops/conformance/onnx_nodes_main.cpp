// Runs single ONNX nodes (a JSON-lines file, written by onnx_nodes_test.py) through the importer's
// mapping and the references, compares with the outputs that the file holds, and prints one line an
// ONNX operator: passed, refused, failed. Exit status 1 if a node failed or fewer than the given
// number passed.
//
// One line: {"name", "domain", "opType", "version", "attributes": {name: {"int" | "float" |
// "string" | "ints" | "floats" | "tensor": value}}, "inputs": [tensor | null], "outputs":
// [tensor | null], "rtol", "atol", "mustMap": bool}. A node with mustMap counts as failed if it is
// refused.
#include "ops/conformance/case_file.h"

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

struct Node {
  std::string name, domain, opType;
  int64_t version = 0;
  Attributes attributes;
  std::vector<std::optional<Tensor>> inputs, outputs;
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

Result<std::vector<std::optional<Tensor>>> tensorsOf(const json &entries) {
  std::vector<std::optional<Tensor>> tensors;
  for (const json &entry : entries) {
    tensors.emplace_back();
    if (entry.is_null())
      continue;
    PLATEN_ASSIGN_OR_RETURN(Tensor tensor, tensorFromJson(entry));
    tensors.back() = std::move(tensor);
  }
  return tensors;
}

Result<Node> parseNode(const std::string &line) {
  json entry = json::parse(line);
  Node node{
      entry.at("name"), entry.at("domain"), entry.at("opType"), entry.at("version"), {}, {}, {},
      entry.at("rtol"), entry.at("atol"),   entry.at("mustMap")};
  const json &attributes = entry.at("attributes");
  for (const auto &[name, value] : attributes.items()) {
    PLATEN_ASSIGN_OR_RETURN(Attribute attribute, attributeOf(value));
    node.attributes.emplace(name, std::move(attribute));
  }
  PLATEN_ASSIGN_OR_RETURN(node.inputs, tensorsOf(entry.at("inputs")));
  PLATEN_ASSIGN_OR_RETURN(node.outputs, tensorsOf(entry.at("outputs")));
  return node;
}

struct Presence {
  explicit Presence(const std::vector<std::optional<Tensor>> &tensors)
      : count(tensors.size()), flags(std::make_unique<bool[]>(count)) {
    for (size_t i = 0; i < count; ++i)
      flags[i] = tensors[i].has_value();
  }
  std::span<const bool> span() const { return {flags.get(), count}; }
  size_t count;
  std::unique_ptr<bool[]> flags;
};

Result<std::vector<Tensor>> evaluateCall(const Node &node, const MappedCall &mapped) {
  std::vector<const Tensor *> operands;
  for (const OnnxOperand &operand : mapped.call.operands)
    switch (operand.kind) {
    case OnnxOperand::Kind::kAbsent:
      operands.push_back(nullptr);
      break;
    case OnnxOperand::Kind::kConstant:
      operands.push_back(&operand.constant);
      break;
    case OnnxOperand::Kind::kInput:
      operands.push_back(node.inputs[operand.input] ? &*node.inputs[operand.input] : nullptr);
      break;
    }
  return evaluate(*mapped.op, operands, mapped.call.attributes);
}

/// Empty, or the first difference of an output that the node names.
std::string compare(const Node &node, const MappedCall &mapped,
                    const std::vector<Tensor> &results) {
  std::vector<bool> given(node.outputs.size(), false);
  for (size_t i = 0; i < results.size() && i < mapped.call.outputs.size(); ++i) {
    size_t output = mapped.call.outputs[i];
    if (output >= node.outputs.size() || !node.outputs[output])
      continue;
    given[output] = true;
    std::string text = difference(results[i], *node.outputs[output], 0, node.atol, node.rtol);
    if (!text.empty())
      return "output " + std::to_string(output) + ": " + text;
  }
  for (size_t i = 0; i < given.size(); ++i)
    if (node.outputs[i] && !given[i])
      return "output " + std::to_string(i) + " was not produced";
  return {};
}

struct Tally {
  int passed = 0, refused = 0, failed = 0;
};

void runNode(const Node &node, Tally &tally) {
  Presence inputs(node.inputs), outputs(node.outputs);
  auto mapped = mapOnnx(OnnxNode{node.domain, node.opType, node.version, inputs.span(),
                                 outputs.span(), node.attributes});
  auto results = mapped ? evaluateCall(node, *mapped) : mapped.status();
  std::string text = results ? compare(node, *mapped, *results) : results.status().toString();
  bool refused = !results && !node.mustMap &&
                 (results.status().code() == base::StatusCode::kUnsupported ||
                  results.status().code() == base::StatusCode::kInvalidArgument);
  if (text.empty()) {
    ++tally.passed;
    return;
  }
  ++(refused ? tally.refused : tally.failed);
  std::cout << (refused ? "refused " : "FAILED ") << node.name << ": " << text << "\n";
}

int run(const char *path, int least) {
  std::ifstream file(path);
  if (!file) {
    std::cerr << path << ": cannot be read\n";
    return 2;
  }
  std::map<std::string, Tally> tallies;
  for (std::string line; std::getline(file, line);) {
    auto node = parseNode(line);
    if (!node) {
      std::cerr << path << ": " << node.status().toString() << "\n";
      return 2;
    }
    runNode(*node, tallies[node->domain + (node->domain.empty() ? "" : ".") + node->opType]);
  }
  Tally all;
  for (const auto &[name, tally] : tallies) {
    std::cout << name << ": " << tally.passed << " passed, " << tally.refused << " refused, "
              << tally.failed << " failed\n";
    all = {all.passed + tally.passed, all.refused + tally.refused, all.failed + tally.failed};
  }
  std::cout << "total: " << all.passed << " passed, " << all.refused << " refused, " << all.failed
            << " failed\n";
  if (all.passed < least)
    std::cout << "FAILED: at least " << least << " must pass\n";
  return all.failed == 0 && all.passed >= least ? 0 : 1;
}

} // namespace
} // namespace platen::ops

int main(int argc, char **argv) {
  if (argc != 3) {
    std::cerr << "usage: onnx_nodes <file.jsonl> <least number that pass>\n";
    return 2;
  }
  try {
    return platen::ops::run(argv[1], std::atoi(argv[2]));
  } catch (const nlohmann::json::exception &exception) {
    std::cerr << argv[1] << ": " << exception.what() << "\n";
    return 2;
  }
}
