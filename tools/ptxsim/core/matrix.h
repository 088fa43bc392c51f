// What the files of the tensor instructions share: how an instruction's operands become an op, and
// the checks that all of them make.
#pragma once

#include "tools/ptxsim/core/elements.h"
#include "tools/ptxsim/core/lowering.h"

namespace platen::ptxsim {

/// Reads "m16n8k32". False where `text` is no shape.
struct Shape {
  int m = 0, n = 0, k = 0;
};
bool parseShape(std::string_view text, Shape &shape);

/// Appends the registers of `operand` ({…} or one register) to Code::lists: exactly `count`, each
/// 32 bits wide (64 if `wide`). Sources may be immediates.
bool appendRegisters(Lowering &lowering, const Operand &operand, size_t count, bool wide,
                     bool isDestination, std::string_view what);

/// The register offsets of op.list.
inline const uint32_t *listOf(const Warp &warp, const Op &op) {
  return warp.block->cluster->state->code->lists.data() + op.list;
}

/// Stops unless all 32 lanes execute the instruction together, as .sync.aligned demands.
inline void requireWholeWarp(uint32_t mask) {
  if (mask != ~0u)
    stop(ViolationKind::kIllegalInstruction,
         "only the lanes " + hexOf(mask) + " execute it, but .sync.aligned needs the whole warp");
}

/// Adds one matrix instruction of `macs` multiplications to the counters.
inline void countMatrix(Warp &warp, uint64_t macs) {
  Cluster &cluster = *warp.block->cluster;
  if (cluster.state->options->counters) {
    ++cluster.counters.matrixInstructions;
    cluster.counters.matrixMacs += macs;
  }
}

bool lowerMmaQuads(Lowering &lowering, const Instruction &i); // mma.m8n8k4 of f16
bool lowerMma(Lowering &lowering, const Instruction &i);
bool lowerLdmatrix(Lowering &lowering, const Instruction &i);
bool lowerStmatrix(Lowering &lowering, const Instruction &i);
bool lowerMovmatrix(Lowering &lowering, const Instruction &i);
bool lowerWmma(Lowering &lowering, const Instruction &i);
bool lowerWgmma(Lowering &lowering, const Instruction &i);
bool lowerTensorCore5(Lowering &lowering, const Instruction &i);

} // namespace platen::ptxsim
