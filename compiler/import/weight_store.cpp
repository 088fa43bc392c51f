// Containment is checked twice: on the name as written, and on the file that it resolves to.
#include "compiler/import/weight_store.h"

#include "runtime/base/checked.h"

#include "mlir/IR/SymbolTable.h"

#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace platen::compiler {

using base::Result;
using base::Status;
namespace fs = std::filesystem;

Status WeightStore::add(std::string name, std::span<const std::byte> bytes,
                        std::shared_ptr<const void> owner) {
  std::lock_guard lock(mutex_);
  auto [entry, isNew] = entries_.try_emplace(std::move(name), Entry{bytes, std::move(owner)});
  if (!isNew)
    return base::internalError("the weight store already holds '" + entry->first + "'");
  return Status::ok();
}

Result<fs::path> WeightStore::locate(const std::string &file) const {
  auto escapes = [&](const std::string &why) {
    return base::invalidArgument("external data '" + file + "' " + why +
                                 "; it must lie in the model's folder or below it");
  };
  fs::path relative(file);
  if (file.empty() || file.find('\0') != std::string::npos)
    return base::corrupt("external data has an empty or unprintable location");
  if (relative.is_absolute())
    return escapes("is an absolute path");
  for (const fs::path &part : relative)
    if (part == "..")
      return escapes("leads out of the folder by '..'");
  std::error_code error;
  fs::path folder = fs::canonical(folder_.empty() ? fs::path(".") : folder_, error);
  if (error)
    return base::notFound("the model's folder '" + folder_.string() + "' does not exist");
  fs::path resolved = fs::weakly_canonical(folder / relative, error);
  if (error)
    return base::ioError("external data '" + file + "' cannot be resolved: " + error.message());
  auto [end, unused] =
      std::mismatch(folder.begin(), folder.end(), resolved.begin(), resolved.end());
  if (end != folder.end())
    return escapes("is a symbolic link to '" + resolved.string() + "'");
  return resolved;
}

Result<WeightStore::Entry> WeightStore::find(const std::string &file) {
  std::lock_guard lock(mutex_);
  if (auto found = entries_.find(file); found != entries_.end())
    return found->second;
  PLATEN_ASSIGN_OR_RETURN(fs::path path, locate(file));
  auto mapped = base::MappedFile::open(path.string());
  if (!mapped) {
    if (mapped.status().code() == base::StatusCode::kNotFound)
      return base::notFound("external data '" + file + "' is missing from '" + folder_.string() +
                            "'; copy it beside the model");
    return mapped.status();
  }
  auto owner = std::make_shared<base::MappedFile>(std::move(*mapped));
  return entries_.emplace(file, Entry{owner->bytes(), owner}).first->second;
}

Result<uint64_t> WeightStore::fileBytes(const std::string &file) {
  PLATEN_ASSIGN_OR_RETURN(Entry entry, find(file));
  return uint64_t{entry.bytes.size()};
}

Result<std::span<const std::byte>> WeightStore::view(const WeightRange &range) {
  PLATEN_ASSIGN_OR_RETURN(Entry entry, find(range.file));
  if (!base::fitsInside(range.offset, range.bytes, entry.bytes.size()))
    return base::corrupt("bytes [" + std::to_string(range.offset) + ", +" +
                         std::to_string(range.bytes) + ") lie beyond the end of '" + range.file +
                         "', which has " + std::to_string(entry.bytes.size()) +
                         " bytes; the file is truncated or belongs to another model");
  return entry.bytes.subspan(range.offset, range.bytes);
}

Result<std::string> WeightStore::hash(const WeightRange &range) {
  PLATEN_ASSIGN_OR_RETURN(std::span<const std::byte> bytes, view(range));
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  std::string text;
  for (unsigned char byte : canonical.digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

WeightRange rangeOf(ir::InitializerOp initializer) {
  return {initializer.getFile().str(), static_cast<uint64_t>(initializer.getOffset()),
          static_cast<uint64_t>(initializer.getBytes())};
}

Result<ops::Tensor> loadWeight(ir::InitializerOp initializer, WeightStore &store) {
  std::string name = initializer.getSymName().str();
  auto type = ir::toTensorType(initializer.getType());
  if (!type || !type->isStatic())
    return base::internalError("initializer '" + name + "' has no static tensor type");
  PLATEN_ASSIGN_OR_RETURN(std::span<const std::byte> bytes, store.view(rangeOf(initializer)));
  ops::Tensor tensor(*type);
  if (tensor.bytes().size() != bytes.size())
    return base::corrupt("initializer '" + name + "' of type " + type->toString() + " has " +
                         std::to_string(bytes.size()) + " bytes, not " +
                         std::to_string(tensor.bytes().size()));
  std::memcpy(tensor.bytes().data(), bytes.data(), bytes.size());
  return tensor;
}

ir::WeightReader weightReader(mlir::ModuleOp module, std::shared_ptr<WeightStore> store,
                              uint64_t maxBytes) {
  using Loaded = std::map<std::string, std::shared_ptr<const ops::Tensor>, std::less<>>;
  auto loaded = std::make_shared<Loaded>();
  auto find = [module, store = std::move(store), maxBytes,
               loaded](llvm::StringRef name) mutable -> Result<std::shared_ptr<const ops::Tensor>> {
    if (auto found = loaded->find(name.str()); found != loaded->end())
      return found->second;
    auto initializer = mlir::SymbolTable::lookupNearestSymbolFrom<ir::InitializerOp>(
        module.getOperation(), mlir::StringAttr::get(module.getContext(), name));
    if (!initializer)
      return base::internalError("there is no initializer '" + name.str() + "'");
    if (static_cast<uint64_t>(initializer.getBytes()) > maxBytes)
      return std::shared_ptr<const ops::Tensor>();
    PLATEN_ASSIGN_OR_RETURN(ops::Tensor tensor, loadWeight(initializer, *store));
    auto shared = std::make_shared<const ops::Tensor>(std::move(tensor));
    loaded->emplace(name.str(), shared);
    return shared;
  };
  return find;
}

} // namespace platen::compiler
