// The ONNX graph without its clothing: functions inlined, Constant nodes turned into tensors,
// Identity and inference Dropout removed, every name defined exactly once and before its use.
#pragma once

#include "compiler/import/tensor_reader.h"
#include "ops/op.h"

#include <string>
#include <unordered_map>
#include <vector>

namespace platen::compiler {

/// A node that computes. Names are value names; "" is an absent operand or result.
struct FlatNode {
  std::string name; ///< the node's, or its first output's
  std::string domain, opType;
  int64_t version; ///< opset version of `domain`
  std::vector<std::string> inputs, outputs;
  ops::Attributes attributes;

  /// "node 'x' (Add)", for messages.
  std::string label() const { return "node '" + name + "' (" + opType + ")"; }
};

struct FlatGraph {
  std::vector<FlatNode> nodes; ///< producers before consumers
  std::unordered_map<std::string, ImportedTensor> tensors;
  std::vector<const onnx::ValueInfoProto *> inputs; ///< without initializers
  std::vector<const onnx::ValueInfoProto *> outputs;
  std::unordered_map<std::string, std::string> aliases; ///< name → the value that it is

  /// The value that `name` stands for, aliases followed.
  const std::string &resolve(const std::string &name) const;
};

/// `model` must outlive the result. Errors name the node: kCorrupt (undefined or doubly defined
/// values, cycles, broken tensors or attributes), kUnsupported (versions, subgraphs, sparse
/// tensors).
base::Result<FlatGraph> flatten(const onnx::ModelProto &model, TensorReader &tensors);

} // namespace platen::compiler
