// One TensorProto becomes a constant or a range of weight bytes, validated against its own shape
// and dtype.
//
// Constants: at most kConstantBytes, or shape-like (i64, i32 or bool of rank 0 or 1, at most
// kShapeLikeBytes). Everything else is a range: of the model file, of external data, or of bytes
// converted from typed fields.
#pragma once

#include "compiler/import/onnx_file.h"
#include "compiler/import/weight_store.h"

#include <variant>

namespace platen::compiler {

inline constexpr uint64_t kConstantBytes = 1024;
inline constexpr uint64_t kShapeLikeBytes = 64 * 1024;

struct ImportedTensor {
  ops::TensorType type; ///< static
  std::variant<ops::Tensor, WeightRange> data;
};

/// A type's size. Errors: kCorrupt where a dimension is negative or the size does not fit 63 bits.
base::Result<uint64_t> checkedBytes(const ops::TensorType &type);

class TensorReader {
public:
  /// `modelFile`: the store's name of the bytes that the model was parsed from.
  TensorReader(WeightStore &store, std::string modelFile)
      : store_(store), modelFile_(std::move(modelFile)) {}

  /// `name` names the tensor in messages and, for converted bytes, in the store. Errors: kCorrupt
  /// (sizes that contradict shape and dtype), kUnsupported (dtypes), those of WeightStore::view.
  base::Result<ImportedTensor> read(const onnx::TensorProto &tensor, const std::string &name);
  /// The same for tensors that must be small: attributes.
  base::Result<ops::Tensor> readSmall(const onnx::TensorProto &tensor, const std::string &name);

private:
  base::Result<ImportedTensor> readTyped(const onnx::TensorProto &tensor, const std::string &name,
                                         ops::TensorType type);
  base::Result<WeightRange> external(const onnx::TensorProto &tensor, uint64_t expectedBytes);
  base::Result<ImportedTensor> fromRange(ops::TensorType type, WeightRange range);

  WeightStore &store_;
  std::string modelFile_;
};

} // namespace platen::compiler
