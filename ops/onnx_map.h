// Small steps that ONNX mappings share. Origin and node name are the importer's to add.
#pragma once

#include "ops/op.h"

namespace platen::ops {

/// The dtype of a TensorProto.DataType number, or Unsupported naming it.
base::Result<DType> onnxDType(int64_t number);

/// A node's attribute, or the given default; Corrupt if it has another type than the default.
base::Result<int64_t> onnxInt(const OnnxNode &node, std::string_view name, int64_t fallback);
base::Result<double> onnxFloat(const OnnxNode &node, std::string_view name, double fallback);
base::Result<std::string> onnxString(const OnnxNode &node, std::string_view name,
                                     std::string fallback);

bool hasInput(const OnnxNode &node, size_t index);
bool hasOutput(const OnnxNode &node, size_t index);
/// The node's input of that index, or absent.
OnnxOperand inputOrAbsent(const OnnxNode &node, size_t index);
/// The attribute (list of integers) as a constant i64 vector, or absent where the node lacks it.
OnnxOperand intsAsOperand(const OnnxNode &node, std::string_view name);

/// Unsupported unless the node's attribute is absent or has that value; cites `label`.
base::Status requireInt(const OnnxNode &node, std::string_view name, int64_t only,
                        std::string_view label);
/// Unsupported if the node reads output `index`; cites `label`.
base::Status refuseOutput(const OnnxNode &node, size_t index, std::string_view label);
/// Unsupported if the node has input `index`; cites `label`.
base::Status refuseInput(const OnnxNode &node, size_t index, std::string_view label);

inline constexpr int64_t kAnyVersion = std::numeric_limits<int64_t>::max();

} // namespace platen::ops
