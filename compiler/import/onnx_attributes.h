// AttributeProto → ops::Attribute.
#pragma once

#include "compiler/import/tensor_reader.h"
#include "ops/op.h"

namespace platen::compiler {

/// Errors: kCorrupt (no type, payload of another type), kUnsupported (graphs, sparse tensors, lists
/// of strings or tensors); messages name the attribute.
base::Result<ops::Attribute> readAttribute(const onnx::AttributeProto &attribute,
                                           TensorReader &tensors);

} // namespace platen::compiler
