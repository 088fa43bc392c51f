// ONNX file → module of dialect platen: `func @main` with the graph's own inputs and outputs.
//
// The importer translates and checks; it does not optimise (that is platen-fold and what follows).
// Weight bytes stay in their files. Everything read is treated as hostile: each error says what, in
// which node, and what to do.
#pragma once

#include "compiler/import/weight_store.h"
#include "runtime/base/status.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <filesystem>
#include <map>
#include <memory>
#include <string>

namespace platen::compiler {

struct ImportOptions {
  /// How many unsupported operators one message lists.
  size_t maxReported = 10;
};

struct ModelMetadata {
  std::string graphName, producerName, producerVersion;
  int64_t irVersion = 0;
  std::map<std::string, int64_t> opsets;         ///< "" is ai.onnx
  std::map<std::string, std::string> properties; ///< metadata_props
};

struct ImportedModel {
  /// One platen.initializer a weight in use, and func @main. Arguments and results carry
  /// `platen.name` (string) and `platen.dims` (array of strings: the dimension's name, its number,
  /// or ""). Locations are NameLocs of ONNX nodes.
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::shared_ptr<WeightStore> weights;
  ModelMetadata metadata;
};

/// Reads `model`; external data is looked for in its folder. Loads the dialects that it needs into
/// `context`. Errors: kNotFound and kIo (files), kCorrupt (no model, or one that contradicts
/// itself), kUnsupported (operators, dtypes, versions; all unsupported operators in one message),
/// kInvalidArgument (shapes that an operator refuses; external data outside the model's folder).
base::Result<ImportedModel> importOnnx(const std::filesystem::path &model,
                                       mlir::MLIRContext &context,
                                       const ImportOptions &options = {});

/// The same for a model in memory, which `owner` keeps alive; `name` is its file name in ranges and
/// messages.
base::Result<ImportedModel>
importOnnxBytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                const std::string &name, const std::filesystem::path &folder,
                mlir::MLIRContext &context, const ImportOptions &options = {});

} // namespace platen::compiler
