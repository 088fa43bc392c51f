// Asynchronous operations: what is issued now and happens at a moment that the options choose.
//
// For whoever writes an instruction that completes later (bulk copies, wgmma, tcgen05):
//   1. Read operands and check descriptors at once.
//   2. Build a Pending: `ranges` name every byte of shared memory that it reads or writes,
//   `perform`
//      is the whole effect (it reads its sources when it is called, not before), `track` says how
//      it is waited for, `ordered` that it happens after earlier ordered ones of the same track and
//      warp (wgmma, tcgen05). Call issue(). From then on the written ranges are poison, a
//      conflicting access is a race, and `perform` is called exactly once: at once (kEarliest), at
//      the wait that forces it or when nothing else can go on (kLatest), or in between (kRandom).
//   3. commit_group: commitGroup(); wait_group N: waitGroups(), which performs what is left and
//      tells the warp's clock of it.
//   4. Completion on an mbarrier: set `mbarrierBlock` and `mbarrier` (the operation then belongs to
//      that mbarrier's agent); `perform` takes the issued Pending: arriveOn() or completeTx() with
//      pendingClock(pending). tcgen05.commit is an ordered Pending on track kTensor without ranges
//      and without `mbarrierBlock`, whose `perform` arrives with pendingClock(pending).
// `perform` may throw Stop (by stop()); the report then names the issuing instruction.
// Generic writes that an operation reads through the asynchronous proxy need fence.proxy.async;
// set `genericProxy` for an operation that reads through the generic one.
#pragma once

#include "tools/ptxsim/core/machine.h"

namespace platen::ptxsim {

struct SharedRange {
  Block *block = nullptr;
  uint32_t offset = 0, bytes = 0;
  bool isWrite = false;
};

struct Pending {
  Track track = Track::kMbarrier;
  bool ordered = false, genericProxy = false;
  uint32_t lane = 0;
  std::vector<SharedRange> ranges;
  std::function<void(const Pending &)> perform;
  /// Reads the shared sources into the closure's own buffer, for cp.async.bulk.wait_group.read;
  /// empty: such a wait performs everything.
  std::function<void()> readSources;
  /// The mbarrier that completes it (its block and offset), if any.
  Block *mbarrierBlock = nullptr;
  uint32_t mbarrier = 0;
  // Filled by issue().
  const Op *op = nullptr;
  uint32_t agent = 0, time = 0, group = 0;
  uint64_t order = 0;
  bool sourcesRead = false;
};

/// Checks the ranges (initialised sources, races), then performs or queues.
void issue(Warp &warp, const Op &op, Pending pending);
/// Closes the open group of `track` for the lanes of `mask`.
void commitGroup(Warp &warp, Track track, uint32_t mask);
/// Completes all groups of the lanes in `mask` but the `keep` newest. `readOnly`: the sources only.
void waitGroups(Warp &warp, Track track, uint32_t mask, uint32_t keep, bool readOnly = false);
/// Performs everything of `track` that the warp has issued.
void drain(Warp &warp, Track track);

/// The clock that a completed operation publishes: its own accesses (and, of an ordered one, those
/// of the operations before it).
Clock pendingClock(const Pending &pending);
/// Arrivals and bytes of transactions at an mbarrier; `clock` is published when the phase
/// completes. They stop with a violation where `offset` holds no mbarrier or a count leaves its
/// range.
void arriveOn(Block &block, uint32_t offset, uint32_t count, const Clock &clock);
void completeTx(Block &block, uint32_t offset, uint32_t bytes, const Clock &clock);
void expectTx(Block &block, uint32_t offset, uint32_t bytes);
void addPending(Block &block, uint32_t offset, uint32_t count); // of this phase
void dropFrom(Block &block, uint32_t offset, uint32_t count); // lowers what the next phases expect
/// Block and offset of the mbarrier at a lane's shared address, which must be one.
MbarrierState &mbarrierAt(Warp &warp, uint64_t address, uint32_t lane, Block *&block,
                          uint32_t &offset);

/// An mbarrier's 8 bytes, as this simulator keeps them (opaque to PTX).
struct MbarrierWord {
  uint32_t expected, pending; // arrivals, of 20 bits
  int32_t tx;                 // bytes of transactions outstanding
  bool parity;
  static MbarrierWord unpack(uint64_t bits);
  uint64_t pack() const;
};
inline constexpr uint32_t kMbarrierMaxCount = (1u << 20) - 1;
inline constexpr uint64_t kMbarrierMark = uint64_t{1} << 62; // set in every live one
std::string describeMbarrier(uint64_t bits, const MbarrierState &state);

/// Moves some asynchronous operation on: one at random (kRandom), or the oldest (`force`).
/// False: nothing is pending.
bool advance(Cluster &cluster, bool force);
/// When a block ends: performs what is left; a source that was never waited for is a violation.
void finishBlock(Block &block);

// cp.async: one Copy holds the 32 lanes of an instruction; addresses are checked already.
void issueCopy(Warp &warp, Copy copy);
/// Performs the copies of the lanes in `mask` but those of their `keep` newest groups; `all`: also
/// those of the open group.
void performCopies(Warp &warp, uint32_t mask, uint32_t keep, bool all);

// races.h's part for asynchronous agents.
/// Notes an access of `agent` to shared memory, after checking it against the clock.
struct Accessor {
  const Clock *clock;
  uint32_t agent, time;
  bool viaAsyncProxy;
};
void touchShared(Block &block, uint32_t offset, uint32_t bytes, int access, const Accessor &who,
                 uint32_t lane);

} // namespace platen::ptxsim
