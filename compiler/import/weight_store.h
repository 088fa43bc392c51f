// Where weight bytes lie: files mapped read-only, read without copies; the IR only refers to them.
//
// A WeightRange is what platen.initializer carries. Files are found below the model's folder and
// mapped on first use; names that lead out of the folder (absolute, "..", symbolic links) are
// refused, because a model is data from elsewhere. Bytes that exist nowhere as such (converted
// typed fields) are owned under virtual names like "model.onnx#weight". Cost: address space; pages
// are read when touched.
#pragma once

#include "ops/ir/dialect.h"
#include "ops/ir/interpreter.h"
#include "runtime/base/mapped_file.h"

#include "mlir/IR/BuiltinOps.h"

#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace platen::compiler {

/// `bytes` bytes at `offset` of `file`, a name that WeightStore::view understands.
struct WeightRange {
  std::string file;
  uint64_t offset = 0, bytes = 0;
};

/// All methods are safe from several threads. Spans stay valid as long as the store.
class WeightStore {
public:
  /// `folder`: the model's; external data must lie below it.
  explicit WeightStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Puts bytes under `name`; `owner` keeps them alive. For the model file itself and for converted
  /// bytes. A second entry of that name is refused (kInternal).
  base::Status add(std::string name, std::span<const std::byte> bytes,
                   std::shared_ptr<const void> owner);

  /// The bytes of a range. Errors: kNotFound (no such file), kInvalidArgument (name leads out of
  /// the folder), kCorrupt (range beyond the file's end), kIo.
  base::Result<std::span<const std::byte>> view(const WeightRange &range);
  /// Bytes of the whole file. Errors as view().
  base::Result<uint64_t> fileBytes(const std::string &file);
  /// XXH3 (128 bits, hexadecimal) of a range's bytes.
  base::Result<std::string> hash(const WeightRange &range);

private:
  struct Entry {
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
  };
  base::Result<Entry> find(const std::string &file);
  base::Result<std::filesystem::path> locate(const std::string &file) const;

  std::filesystem::path folder_;
  std::mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_; ///< guarded by mutex_
};

WeightRange rangeOf(ir::InitializerOp initializer);

/// Copies an initializer's bytes into a tensor.
base::Result<ops::Tensor> loadWeight(ir::InitializerOp initializer, WeightStore &store);

/// The interpreter's access to the weights of `module`. Weights above `maxBytes` stay unknown, so
/// that masks and positions can be evaluated without touching projections. Tensors are loaded once
/// and kept while the reader lives. Not thread-safe.
ir::WeightReader weightReader(mlir::ModuleOp module, std::shared_ptr<WeightStore> store,
                              uint64_t maxBytes = std::numeric_limits<uint64_t>::max());

} // namespace platen::compiler
