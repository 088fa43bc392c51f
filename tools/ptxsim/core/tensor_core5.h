// tcgen05: what its files share.
#pragma once

#include "tools/ptxsim/core/asynchrony.h"
#include "tools/ptxsim/core/matrix.h"
#include "tools/ptxsim/core/tensor_memory.h"

namespace platen::ptxsim {

/// The 32-bit tensor-memory address [register + offset] of an operand: slot and offset.
bool tensorAddress(Lowering &lowering, const Operand &operand, uint32_t &slot, uint32_t &offset);
/// 1 or 2; refuses an opcode without .cta_group.
bool ctaGroup(Lowering &lowering, const Instruction &i, uint8_t &group);
/// The value that all lanes of the mask share.
uint32_t uniformWord(Warp &warp, uint32_t slot, uint32_t mask, std::string_view what);
/// The other block of the pair; stops if the cluster has none.
Block &peerOf(Block &block);
/// Whether the launch checks reads of uninitialised memory.

bool lowerTensorMma(Lowering &lowering, const Instruction &i);
bool lowerTensorMove(Lowering &lowering, const Instruction &i); // ld, st, wait
bool lowerTensorCopy(Lowering &lowering, const Instruction &i); // cp

} // namespace platen::ptxsim
