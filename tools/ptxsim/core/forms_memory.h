// What the instructions on memory share: spaces, qualifiers, release and acquire.
#pragma once

#include "tools/ptxsim/core/lowering.h"

#include <initializer_list>

namespace platen::ptxsim {

/// How strong an access is: kWeak may race, the others may not; kOrders acquires or releases.
enum Strength : uint8_t { kWeak, kRelaxed, kAcquire, kRelease, kAcquireRelease };
Strength strengthOf(const Instruction &i);

/// Sets op.space, or op.generic where no space is written.
bool setSpace(Lowering &l, const Instruction &i, Op &op);
/// Refuses qualifiers that are neither types, nor scopes, spaces or cache hints, nor in `more`.
bool knownQualifiers(Lowering &l, const Instruction &i,
                     std::initializer_list<std::string_view> more);
/// Notes in the kernel how finely shared memory is written.
void writesShared(Lowering &l, const Op &op, uint32_t bytes);
/// Release and acquire through the shared-memory words at the lanes' addresses.
void synchronise(Warp &warp, const Op &op, uint32_t mask, const uint64_t (&address)[32],
                 Strength strength, bool reads, bool writes);

/// fence.acq_rel: what earlier relaxed reads saw becomes known; what follows may publish what came
/// before.
void releaseFence(Warp &warp);

bool lowerAtomic(Lowering &l, const Instruction &i); // atom, red
bool lowerCvta(Lowering &l, const Instruction &i);
bool lowerIsSpace(Lowering &l, const Instruction &i);
bool lowerMapa(Lowering &l, const Instruction &i);
bool lowerRank(Lowering &l, const Instruction &i); // getctarank

} // namespace platen::ptxsim
