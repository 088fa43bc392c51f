// Names as optimum, torch and onnxruntime-genai write them; the transformers exporter's variant is
// read too.
#include "compiler/serve/roles.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/Support/Regex.h"

namespace platen::compiler::serve {

using base::Result;
using base::Status;
using base::unsupported;

namespace {

struct CacheName {
  int64_t layer;
  bool isKey;
};

/// past_key_values.3.key, present.3.value, input.past_key_values.layers.3.keys…
std::optional<CacheName> parseCacheName(llvm::StringRef name, llvm::StringRef stems) {
  llvm::Regex pattern(
      ("^(input\\.|output\\.)?(" + stems + ")(\\.layers)?\\.([0-9]+)\\.(key|value)s?$").str());
  llvm::SmallVector<llvm::StringRef> groups;
  if (!pattern.match(name, &groups))
    return std::nullopt;
  CacheName parsed{0, groups[5] == "key"};
  if (groups[4].getAsInteger(10, parsed.layer))
    return std::nullopt;
  return parsed;
}

Status addCache(std::map<int64_t, CachePair> &caches, const CacheName &name, unsigned index,
                const std::string &text) {
  auto &slot = name.isKey ? caches[name.layer].key : caches[name.layer].value;
  if (slot)
    return base::invalidArgument("a second tensor for the same layer and part of the cache",
                                 "'" + text + "'");
  slot = index;
  return Status::ok();
}

Status checkPairs(const Roles &roles) {
  if (roles.past.empty())
    return unsupported("the decoder has no past_key_values.N.key and .value inputs; export it with "
                       "a KV cache (optimum: "
                       "--task text-generation-with-past)");
  for (const auto &[layer, pair] : roles.past) {
    std::string number = std::to_string(layer);
    if (!pair.key || !pair.value)
      return base::invalidArgument("layer " + number + " has a past " +
                                       (pair.key ? "key but no value" : "value but no key"),
                                   "past_key_values." + number);
    auto present = roles.present.find(layer);
    if (present == roles.present.end() || !present->second.key || !present->second.value)
      return base::invalidArgument("layer " + number +
                                       " has a past but no present key and value among the outputs",
                                   "present." + number);
  }
  return Status::ok();
}

Result<Roles> findInputs(mlir::func::FuncOp function) {
  Roles roles;
  bool hasTokens = false;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    std::string name = inputName(function, i);
    if (name == "input_ids") {
      roles.tokens = i;
      hasTokens = true;
    } else if (name == "attention_mask") {
      roles.attentionMask = i;
    } else if (name == "position_ids") {
      roles.positions = i;
    } else if (auto cache = parseCacheName(name, "past_key_values|past")) {
      PLATEN_RETURN_IF_ERROR(addCache(roles.past, *cache, i, name));
    } else {
      return unsupported("the serving form knows no use for this input; it knows input_ids, "
                         "attention_mask, position_ids and "
                         "past_key_values.N.{key,value}",
                         "input '" + name + "'");
    }
  }
  if (!hasTokens)
    return unsupported(
        "there is no input 'input_ids': the graph is no text decoder, or is fed embeddings");
  return roles;
}

} // namespace

bool isDecoder(mlir::func::FuncOp function) {
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    if (parseCacheName(inputName(function, i), "past_key_values|past"))
      return true;
  return false;
}

std::string inputName(mlir::func::FuncOp function, unsigned index) {
  auto name = function.getArgAttrOfType<mlir::StringAttr>(index, "platen.name");
  return name ? name.str() : "argument " + std::to_string(index);
}

std::string outputName(mlir::func::FuncOp function, unsigned index) {
  auto name = function.getResultAttrOfType<mlir::StringAttr>(index, "platen.name");
  return name ? name.str() : "result " + std::to_string(index);
}

Result<Roles> findRoles(mlir::func::FuncOp function) {
  PLATEN_ASSIGN_OR_RETURN(Roles roles, findInputs(function));
  std::optional<unsigned> logits;
  for (unsigned i = 0; i < function.getNumResults(); ++i) {
    std::string name = outputName(function, i);
    if (name == "logits")
      logits = i;
    else if (auto cache = parseCacheName(name, "past_key_values|present"))
      PLATEN_RETURN_IF_ERROR(addCache(roles.present, *cache, i, name));
    else
      roles.hidden.push_back(i);
  }
  if (!logits)
    return unsupported("there is no output 'logits'");
  roles.logits = *logits;
  PLATEN_RETURN_IF_ERROR(checkPairs(roles));
  return roles;
}

} // namespace platen::compiler::serve
