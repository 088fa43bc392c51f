// The signature of a graph that is no decoder: named inputs and outputs, whose dimensions may
// depend on numbers that only a run knows.
//
// Such a plan has Manifest::graph. Each run binds the symbols from the shapes of its inputs; then
// every other size of the plan is a number.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/dtype.h"
#include "runtime/base/size.h"
#include "runtime/base/status.h"

namespace platen::plan {

inline constexpr size_t kMaxSymbols = 64;
inline constexpr size_t kMaxGraphTensors = 1024; ///< inputs, and outputs
inline constexpr size_t kMaxGraphRank = 8;
inline constexpr size_t kMaxSizeTerms = 64; ///< of any size in a plan; of a dimension 16
inline constexpr size_t kMaxDimensionTerms = 16;
inline constexpr size_t kMaxSizeDegree = 16; ///< factors of a term
/// Symbols, dimensions, points of a launch.
inline constexpr uint64_t kMaxGraphExtent = uint64_t{1} << 40;

/// Validated: least <= greatest, greatest at least 1; names are distinct and not empty.
struct Symbol {
  std::string name; ///< ONNX's dim_param
  uint64_t least = 0;
  uint64_t greatest = 0;
  bool operator==(const Symbol &) const = default;
};

/// Dense and row-major. Validated: the buffer has tensorBytes() in every program, and a slot of its
/// own; no two tensors have the same one; names of inputs are distinct and not empty, as are those
/// of outputs.
struct GraphTensor {
  std::string name;
  base::DType dtype = base::DType::kF32;
  std::vector<base::Size> dims; ///< at most kMaxGraphRank
  uint32_t buffer = 0;          ///< index into the buffers of every program
  bool operator==(const GraphTensor &) const = default;
};

/// Validated: every symbol is, alone, a dimension of an input; there is an output.
struct GraphSignature {
  std::vector<Symbol> symbols; ///< at most kMaxSymbols
  std::vector<GraphTensor> inputs, outputs;
  bool operator==(const GraphSignature &) const = default;
};

/// Bytes of a dense tensor. 4-bit types take half a byte, rounded up in all. kUnsupported for
/// 4-bit types of dimensions that only a run knows, kCorrupt for no dtype, and for products of too
/// many terms.
base::Result<base::Size> tensorBytes(base::DType dtype, std::span<const base::Size> dims);

/// The symbol that a dimension is, alone; -1 if it is none.
int64_t soleSymbol(const base::Size &dimension);

/// "n", "2*n*m + 3": with the symbols' names. Requires a validated signature.
std::string toString(const base::Size &size, std::span<const Symbol> symbols);

} // namespace platen::plan
