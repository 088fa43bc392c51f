// What the descriptions of all attention families share. Internal to this room.
#pragma once

#include "kernels/cuda/describe_detail.h"

namespace platen::kernels::cuda {

/// Chunks of keys that the positions which one token sees can touch.
uint64_t attentionSplits(const PagedAttentionSpec &spec, uint64_t contextTokens);
/// The members that Attention (attention.cuh) reads, but for kSplit, kSplits, kWorkspaceTokens.
ConfigPrinter attentionConfig(const PagedAttentionSpec &spec, uint64_t rowTiles,
                              uint64_t blockTokens);
std::string attentionParameters(const PagedAttentionSpec &spec, bool workspace);
CudaWork attentionWork(const PagedAttentionSpec &spec, const CudaLimits &limits);
/// Bytes of the workspace that a token takes, and tokens that a split kernel has space for.
uint64_t attentionTokenBytes(const PagedAttentionSpec &spec, const CudaLimits &limits);
uint64_t attentionDecodeExtent(const PagedAttentionSpec &spec, const CudaLimits &limits);

/// sm_90a: heads of 64, 128 and 256; none for others.
base::Result<Candidates> hopperAttention(const PagedAttentionSpec &spec, const Context &context);

} // namespace platen::kernels::cuda
