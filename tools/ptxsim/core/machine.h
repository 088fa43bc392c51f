// The machine's state: warps, blocks and clusters, and the checks that every memory access passes.
//
// One host thread runs one cluster at a time. Warps switch only where they wait. Threads of a warp
// diverge into groups (pc, lanes); the group with the smallest pc runs and takes in what it meets.
#pragma once

#include "tools/ptxsim/core/program.h"

#include <deque>
#include <random>
#include <string>
#include <vector>

namespace platen::ptxsim {

struct Block;
struct Cluster;

/// Thrown by handlers, caught by the cluster's loop; never leaves the library.
struct Stop {
  Violation violation;
};

inline constexpr int kMaxWarps = 32, kAsyncAgent = 32, kAgents = 33;
/// What an agent (warp, or the asynchronous proxy) knows of the others' progress.
struct Clock {
  uint32_t of[kAgents] = {};
  void merge(const Clock &other) {
    for (int i = 0; i < kAgents; ++i)
      of[i] = of[i] > other.of[i] ? of[i] : other.of[i];
  }
};

struct Group {
  uint32_t pc = 0, lanes = 0;
};
struct Waiting {
  Group group;
  uint32_t barrier = 0; // 0..15, or kClusterBarrier
  const Op *op = nullptr;
};
inline constexpr uint32_t kClusterBarrier = 16, kNoPc = ~0u;

/// One lane's cp.async in flight.
struct Copy {
  uint32_t lane, group, target, bytes, sourceBytes; // target: offset in shared memory
  uint64_t source;
  bool done;
};

struct Warp {
  uint8_t *registers = nullptr;
  uint32_t pc = 0, active = 0, nextPc = kNoPc; // nextPc: where another group waits to be met
  uint32_t live = 0, index = 0;
  bool yielded = false;
  std::vector<Group> groups; // the other runnable ones
  std::vector<Waiting> waiting;
  Block *block = nullptr;
  Clock clock;
  uint64_t executed = 0;
  const Allocation *lastAllocation = nullptr;
  std::vector<Copy> copies;
  uint32_t committed[32] = {}; // cp.async groups committed, for each lane
  uint8_t *local = nullptr, *localInitialised = nullptr; // [lane][localBytes]

  template <class T> T *lanes(uint32_t offset) {
    return static_cast<T *>(__builtin_assume_aligned(registers + offset, 64));
  }
  uint32_t &predicate(uint32_t offset) { return *reinterpret_cast<uint32_t *>(registers + offset); }
  void setPredicate(uint32_t offset, uint32_t value, uint32_t mask) {
    uint32_t &p = predicate(offset);
    p = (p & ~mask) | (value & mask);
  }
  /// Runs `group` next, or leaves it to be met.
  void addGroup(Group group);
  /// Takes the group with the smallest pc; active stays 0 if none can run.
  void pickGroup();
  void exitLanes(uint32_t mask);
};

struct Barrier {
  uint32_t arrived = 0, expected = 0; // threads, whole warps count 32; expected 0: all
  uint32_t any = 0, all = ~0u, count = 0; // of the predicates of bar.red
  Clock clock;
};

struct Cell { // of race detection: agent in the low 6 bits, then atomic, then the clock
  uint32_t writer = 0, reader = 0;
};

struct Block {
  Cluster *cluster = nullptr;
  Dim3 id{0, 0, 0};
  uint32_t rank = 0, threads = 0, liveWarps = 0;
  std::vector<Warp> warps;
  std::vector<uint8_t> shared, sharedInitialised;
  std::vector<Cell> cells;
  Barrier barriers[17];
  std::unordered_map<uint32_t, Clock> mbarrierClocks;
  void arrive(uint32_t barrier, Warp &warp, uint32_t mask);
  void releaseIfComplete(uint32_t barrier);
  void release(uint32_t barrier);
};

struct LaunchState {
  const Code *code = nullptr;
  const Launch *launch = nullptr;
  const Options *options = nullptr;
  std::span<const uint64_t> globals;
  std::shared_ptr<const AllocationTable> table;
  Dim3 cluster;
  uint32_t sharedBytes = 0;
};

struct Cluster {
  const LaunchState *state = nullptr;
  std::vector<Block> blocks;
  std::vector<uint8_t> registers, local;
  std::vector<uint64_t> profile; // executions of each op, if counters are on
  Counters counters;
  uint64_t progress = 0;
  std::mt19937_64 random;
  void start(const LaunchState &state, uint64_t firstBlock, uint32_t blockCount);
  std::optional<Violation> runToEnd();
  std::optional<Violation> finish(const Warp &warp, Violation violation) const;
};

[[noreturn]] void stop(ViolationKind kind, std::string message, uint32_t lane = 0,
                       uint64_t address = 0);
std::string hexOf(uint64_t value);

enum Access : int { kRead = 1, kWrite = 2, kAtomic = 4, kUnchecked = 8 };
/// Host addresses of `bytes` bytes at each lane's address, after every check of the access.
void resolve(Warp &warp, const Op &op, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
             int access, uint8_t *(&host)[32]);
/// The same for one lane and one range in shared memory of the warp's own block or cluster.
uint8_t *resolveShared(Warp &warp, uint64_t address, uint32_t bytes, int access, uint32_t lane,
                       uint32_t alignment);
uint8_t *resolveGlobal(Warp &warp, uint64_t address, uint32_t bytes, int access, uint32_t lane,
                       uint32_t alignment);
/// Lane addresses of op.r[slot] plus the immediate.
void addresses(Warp &warp, const Op &op, int slot, uint64_t (&address)[32]);
/// Completes the lane's copies of groups before `group`.
void completeCopies(Warp &warp, uint32_t lane, uint32_t group);

} // namespace platen::ptxsim
