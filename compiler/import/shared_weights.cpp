// Cost of the usual model, which shares nothing: 4 KiB read of each weight.
#include "compiler/import/shared_weights.h"

#include <algorithm>
#include <cstring>

namespace platen::compiler {

using base::Result;

namespace {

constexpr uint64_t kPrefixBytes = 4096;
constexpr int64_t kTile = 64;
constexpr int64_t kSamples = 61; ///< prime, so that a stride over the matrix meets all columns

using Matrix = std::span<const std::byte>;

template <typename T> T element(Matrix matrix, int64_t index) {
  T value;
  std::memcpy(&value, matrix.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

/// Whether b[c, r] == a[r, c] for all r < rows, c < columns. Tiles keep both matrices' pages few: b
/// is read along its rows, a's tile stays in the cache.
template <typename T> bool isTransposeOf(Matrix a, Matrix b, int64_t rows, int64_t columns) {
  auto same = [&](int64_t r, int64_t c) {
    return element<T>(a, r * columns + c) == element<T>(b, c * rows + r);
  };
  for (int64_t i = 0, count = rows * columns; i < kSamples; ++i) {
    int64_t index = (count - 1) / kSamples * i;
    if (!same(index / columns, index % columns))
      return false;
  }
  for (int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (int64_t c0 = 0; c0 < columns; c0 += kTile)
      for (int64_t c = c0; c < std::min(c0 + kTile, columns); ++c) {
        bool equal = true;
        for (int64_t r = r0; r < std::min(r0 + kTile, rows); ++r)
          equal &= same(r, c);
        if (!equal)
          return false;
      }
  return true;
}

bool isTranspose(Matrix a, Matrix b, int64_t rows, int64_t columns, int bits) {
  switch (bits) {
  case 8:
    return isTransposeOf<uint8_t>(a, b, rows, columns);
  case 16:
    return isTransposeOf<uint16_t>(a, b, rows, columns);
  case 32:
    return isTransposeOf<uint32_t>(a, b, rows, columns);
  default:
    return isTransposeOf<uint64_t>(a, b, rows, columns);
  }
}

} // namespace

Result<std::map<std::string, std::string>> findCopies(std::span<const WeightView> weights,
                                                      WeightStore &store) {
  // Each key refines the former: type, then the first bytes, then all bytes.
  std::map<std::pair<std::string, std::string>, std::vector<const WeightView *>> groups;
  std::map<std::string, size_t> typeCount;
  for (const WeightView &weight : weights)
    ++typeCount[weight.type.toString()];
  for (const WeightView &weight : weights) {
    if (typeCount[weight.type.toString()] < 2)
      continue;
    WeightRange prefix = weight.range;
    prefix.bytes = std::min(prefix.bytes, kPrefixBytes);
    PLATEN_ASSIGN_OR_RETURN(std::string hash, store.hash(prefix));
    groups[{weight.type.toString(), hash}].push_back(&weight);
  }
  std::map<std::string, std::string> copies;
  for (const auto &[key, group] : groups) {
    std::map<std::string, std::string> firstByHash;
    for (const WeightView *weight : group) {
      if (group.size() < 2)
        break;
      PLATEN_ASSIGN_OR_RETURN(std::string hash, store.hash(weight->range));
      auto [first, isNew] = firstByHash.try_emplace(hash, weight->name);
      if (!isNew)
        copies.emplace(weight->name, first->second);
    }
  }
  return copies;
}

Result<std::map<std::string, std::string>> findTransposedTwins(std::span<const WeightView> weights,
                                                               WeightStore &store) {
  std::map<std::string, std::string> twins;
  std::map<std::string, std::vector<const WeightView *>> kept; // type → matrices
  for (const WeightView &weight : weights) {
    int width = base::bitWidth(weight.type.dtype);
    if (weight.type.rank() != 2 || width < 8 || weight.range.bytes == 0)
      continue;
    PLATEN_ASSIGN_OR_RETURN(Matrix bytes, store.view(weight.range));
    ops::TensorType transposed{weight.type.dtype, {weight.type.dims[1], weight.type.dims[0]}};
    const WeightView *twin = nullptr;
    for (const WeightView *candidate : kept[transposed.toString()]) {
      PLATEN_ASSIGN_OR_RETURN(Matrix other, store.view(candidate->range));
      if (isTranspose(other, bytes, transposed.dims[0], transposed.dims[1], width)) {
        twin = candidate;
        break;
      }
    }
    if (twin)
      twins.emplace(weight.name, twin->name);
    else
      kept[weight.type.toString()].push_back(&weight);
  }
  return twins;
}

} // namespace platen::compiler
