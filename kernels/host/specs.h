// Requests as host kernels see them: how work is cut into units, what a plan stores.
//
// `describeHostKernel` turns a request into name, operands, units and scratch, the same for every
// CPU; it also checks the request and names what is wrong.
//
// Numerics of a host matmul: one fp32 fma chain an element, k ascending; bf16 on AVX-512 rounds x
// to bf16 and sums pairs as vdpbf16ps does. Units: matmul ceil(E / rowsPerUnit) * columnUnits, all
// variants (rowsPerTile) share packing and give equal bits; quantised rows, embeddings and selected
// rows one row; row programs E * rowsPerToken rows; qkv_finish one head of one token; attention one
// block of tokens × one kv head.
#pragma once

#include "kernels/specs.h"
#include "runtime/base/status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace platen::kernels {

using HostKernelSpec = KernelSpec;

/// Variants of a matmul that a launch should carry, ascending; the last takes every size.
struct MatmulVariant {
  uint64_t maxExtent; ///< UINT64_MAX for the last
  uint32_t rowsPerTile;
};
std::vector<MatmulVariant> matmulVariants(const Packing &packing);

/// What a plan stores of a kernel (manifest Kernel, Variant.units and Launch.operands).
struct HostKernelInfo {
  std::string name; ///< <op>_<dtypes>__host_<tile>_<hash of the request>
  std::string key;  ///< canonical text of the request
  Extent extent = Extent::kTokens;
  uint32_t rowsPerUnit = 1;  ///< Units.per
  uint64_t unitsPerRows = 1; ///< Units.times
  uint64_t scratchBytes = 0; ///< a thread, the largest of all targets
  std::vector<OperandInfo> operands;
};

/// Checks the request (kInvalidArgument or kUnsupported, naming the field) and describes its
/// kernel.
base::Result<HostKernelInfo> describeHostKernel(const HostKernelSpec &spec);

} // namespace platen::kernels
