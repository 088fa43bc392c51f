// The machine's state: warps, blocks and clusters, and the checks that every memory access passes.
//
// One host thread runs one cluster at a time (a cooperative launch: all clusters together). Warps
// switch where they wait, poll or have run long. Threads of a warp diverge into groups (pc, lanes);
// the group with the smallest pc runs and takes in what it meets; a group that polls in vain lets
// the others of its warp pass.
//
// Races: every warp is an agent with a clock, and so is whatever completes asynchronous operations
// (one agent for each mbarrier, and for each warp's copy, bulk and matrix groups; shared when there
// are more than kAgents). An access to shared memory must be ordered after what it conflicts with.
// asynchrony.h says how an instruction adds an asynchronous operation.
#pragma once

#include "tools/ptxsim/core/program.h"

#include <deque>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace platen::ptxsim {

struct Block;
struct Cluster;
struct Pending;

/// Thrown by handlers, caught by the cluster's loop; never leaves the library.
struct Stop {
  Violation violation;
};

inline constexpr uint32_t kMaxWarps = 32, kWarpAgents = 48, kAgents = 64;
/// What an agent knows of the others' progress. `fenced`: the part of it that a proxy fence has
/// made visible to the asynchronous proxy. `tensor`: the part that
/// tcgen05.fence::before_thread_sync covers.
struct alignas(64) Clock {
  uint32_t of[kAgents] = {}, fenced[kAgents] = {}, tensor[kAgents] = {};
  void merge(const Clock &other) {
    for (uint32_t i = 0; i < kAgents; ++i) {
      of[i] = of[i] > other.of[i] ? of[i] : other.of[i];
      fenced[i] = fenced[i] > other.fenced[i] ? fenced[i] : other.fenced[i];
      tensor[i] = tensor[i] > other.tensor[i] ? tensor[i] : other.tensor[i];
    }
  }
};

inline constexpr uint32_t kNoPc = ~0u;
struct Group {
  uint32_t pc = 0, lanes = 0;
};
/// Lanes that wait at a barrier of the block, or of the cluster; they go on at group.pc.
struct Waiting {
  Group group;
  uint32_t barrier = 0; // 0..15, or kClusterBarrier
  const Op *op = nullptr;
};
inline constexpr uint32_t kClusterBarrier = 16;

/// What asynchronous operations are waited for by.
enum class Track : uint8_t {
  kCopy,     // cp.async groups, of each lane
  kBulk,     // cp.async.bulk groups, of each lane
  kMatrix,   // wgmma groups, of a warp
  kTensor,   // tcgen05 operations, of a warp; committed to mbarriers
  kMbarrier, // completes on an mbarrier, never waited for by a group
};
inline constexpr uint32_t kTracks = 5;

/// One warp's cp.async instruction in flight.
struct Copy {
  const Op *op = nullptr;
  uint32_t lanes = 0, bytes = 0;
  uint32_t group[32], target[32], sourceBytes[32]; // target: offset in shared memory
  uint64_t source[32];
};

struct Warp {
  uint8_t *registers = nullptr;
  uint32_t pc = 0, active = 0, nextPc = kNoPc; // nextPc: where another group waits to be met
  uint32_t live = 0, index = 0, agent = 0;
  int64_t budget = 0;         // instructions until the other warps' turn
  uint32_t longTurns = 0;     // that the same group used up
  std::vector<Group> groups;  // the other runnable ones
  std::vector<Group> parked;  // wait for other lanes to come to their .sync instruction
  std::vector<Group> polling; // polled in vain in this turn
  std::vector<Waiting> waiting;
  Block *block = nullptr;
  Clock clock;
  Clock release, acquired; // what a fence published, and what relaxed reads brought
  bool hasAcquired = false, polled = false;
  uint32_t tensorSeen[kAgents] =
      {}; // of clock.tensor, at the last tcgen05.fence::after_thread_sync
  uint64_t executed = 0;
  uint32_t laneStamp = 1, laneSync = 0; // lane_races.h
  uint32_t globalRelease = 0;           // the cluster's globalTime at the last fence, 0: none
  const Allocation *lastAllocation = nullptr;
  std::vector<Copy> copies;
  std::deque<std::shared_ptr<Pending>> pending;
  uint32_t committed[kTracks][32] = {};      // groups committed by each lane
  std::vector<uint32_t> groupTimes[kTracks]; // async agent's time of each group (by warp)
  uint32_t trackAgents[kTracks] = {};        // 0: none yet
  uint32_t clusterPhase[32] = {};            // cluster barrier: phase that a lane arrived in
  uint32_t clusterArrived = 0;               // lanes that arrived and did not wait yet
  uint8_t *local = nullptr, *localInitialised = nullptr; // [lane][localBytes]
  /// A bit for each 128 bytes of registers that an operation in flight uses (wgmma.cpp); empty:
  /// none.
  std::vector<uint64_t> watched;
  // For reports: the last poll in vain.
  const Op *pollOp = nullptr;
  uint32_t pollAddress = 0, pollLane = 0;
  Block *pollBlock = nullptr;

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
  /// Lets the other warps run after this instruction.
  void yield() { budget = 0; }
};

struct Barrier {
  uint32_t arrived = 0, expected = 0;   // threads; expected 0: all that live
  uint32_t any = 0, all = 1, count = 0; // of the predicates of bar.red
  uint32_t lanes[kMaxWarps] = {};       // who arrived
  Clock clock;
};

/// Race detection for a few bytes of shared memory. writer: agent in the low 6 bits, then atomic,
/// then the time; reader: a set of (agent, time), by number (races.h).
struct Cell {
  uint32_t writer, reader;
};
/// The same between the lanes of one warp (lane_races.h).
struct LaneCell {
  uint32_t writeStamp = 0, readStamp = 0, readers = 0;
  uint8_t writer = 0, agent = 0;
  bool isStrong = false;
};
struct ReaderSet {
  std::vector<std::pair<uint8_t, uint32_t>> readers; // by agent
};

/// What the simulator knows of an mbarrier beside its 8 bytes of shared memory.
struct MbarrierState {
  Clock arriving, completed; // of this phase, of the last one
  uint64_t phase = 0;
  uint32_t agent = 0, line = 0; // who completes its transactions; where it was initialised
  uint32_t initAgent = 0, initTime = 0;
  bool shownToAsync = false; // a fence has made the initialisation visible to the copy engine
  bool announced = false;    // fence.mbarrier_init and the cluster barrier have shown it to others
};

struct Block {
  Cluster *cluster = nullptr;
  Dim3 id{0, 0, 0};
  uint32_t rank = 0, threads = 0, liveWarps = 0, liveThreads = 0;
  std::vector<Warp> warps;
  std::vector<uint8_t> shared, sharedInitialised;
  std::vector<Cell> cells;
  std::vector<LaneCell> laneCells; // empty: lanes are not told apart
  std::vector<ReaderSet> readerSets;
  std::unordered_map<uint64_t, uint32_t> readerSteps;
  Barrier barriers[16];
  std::map<uint32_t, MbarrierState> mbarriers;   // by offset in shared memory
  std::unordered_map<uint32_t, Clock> locations; // of release and acquire, by offset
  std::shared_ptr<void> matrixState;             // tensor memory; forms_matrix*.cpp knows
  void arrive(uint32_t barrier, Warp &warp, uint32_t mask);
  void releaseIfComplete(uint32_t barrier);
  void release(uint32_t barrier);
};

class GlobalRaces;
struct LaunchState {
  const Code *code = nullptr;
  const Launch *launch = nullptr;
  const Options *options = nullptr;
  std::span<const uint64_t> globals;
  std::shared_ptr<const AllocationTable> table;
  Dim3 cluster; // {1, 1, 1} without clusters
  uint32_t sharedBytes = 0;
  std::vector<uint8_t> registerImage;       // of one warp: constants in place, the rest poison
  std::shared_ptr<GlobalRaces> globalRaces; // null: not checked
};

struct Cluster {
  const LaunchState *state = nullptr;
  std::vector<Block> blocks;
  std::vector<uint8_t> registers, local;
  std::vector<uint64_t> profile; // executions of each op, if counters are on
  Counters counters;
  uint32_t number = 0; // in the grid
  // global_races.h: when this cluster last published, and what it has seen of the others.
  uint32_t globalTime = 1;
  std::unordered_map<uint32_t, uint32_t> globalSeen;
  uint64_t progress = 0;       // counts what may let another warp go on
  uint32_t time[kAgents] = {}; // of each agent
  uint32_t asyncAgents = 0;
  const Allocation *recent[64] = {};                              // that an instruction met last
  uint64_t issued = 0;                                            // asynchronous operations so far
  uint32_t barrierArrived = 0, barrierPhase = 0, liveThreads = 0; // the cluster's barrier
  Clock barrierArriving, barrierClock;
  std::mt19937_64 random;
  /// Sets up the blocks of the cluster with this number in the grid.
  void start(const LaunchState &state, uint64_t number);
  Violation finish(const Warp &warp, const Op *op, Violation violation) const;
  /// A new agent for asynchronous operations (shared when all are taken).
  uint32_t newAgent() { return kWarpAgents + asyncAgents++ % (kAgents - kWarpAgents); }
  void releaseIfComplete();
};
/// Runs the clusters together to their end.
std::optional<Violation> runClusters(std::span<Cluster> clusters);
/// Makes what the warp did so far distinguishable from what it does next (after a release).
inline void tick(Warp &warp);
/// Where every warp of the clusters waits, for a report.
std::string describeWaits(std::span<Cluster> clusters);

[[noreturn]] void stop(ViolationKind kind, std::string message, uint32_t lane = 0,
                       uint64_t address = 0);
std::string hexOf(uint64_t value);

/// Stops if `op` touches a register of warp.watched (wgmma.cpp).
void checkWatched(Warp &warp, const Op &op);
/// At a block's end: stops if tensor memory was not given back (tensor_memory.cpp).
void finishMatrixState(Block &block);

/// For .sync instructions: whether the lanes of `members` that live are all here. False: the group
/// has been put back until the missing ones come; the handler returns at once and is called again.
bool gather(Warp &warp, const Op &op, uint32_t mask, uint32_t members);

enum Access : int {
  kRead = 1,
  kWrite = 2,
  kAtomic = 4,           // strong: does not race with other atomic accesses
  kUnchecked = 8,        // neither initialised bits nor races
  kSameInstruction = 16, // as the access before: lanes of one instruction do not race
};
/// Host addresses of `bytes` bytes at each lane's address, after every check of the access: the
/// space (op.space, or by window where op.generic), bounds, alignment to `bytes`, initialised bits
/// (a write sets them), races, counters.
void resolve(Warp &warp, const Op &op, uint32_t mask, const uint64_t (&address)[32], uint32_t bytes,
             int access, uint8_t *(&host)[32]);
/// The same for one lane and one range in shared memory of the warp's own block or cluster
/// (`address` as a 32-bit shared or shared::cluster address, or a generic one).
uint8_t *resolveShared(Warp &warp, uint64_t address, uint32_t bytes, int access, uint32_t lane,
                       uint32_t alignment);
uint8_t *resolveGlobal(Warp &warp, uint64_t address, uint32_t bytes, int access, uint32_t lane,
                       uint32_t alignment);
/// Block and offset that a shared-memory address means, in bounds; block `own` if it names none.
Block &sharedBlock(Warp &warp, uint64_t address, uint32_t bytes, uint32_t lane, uint32_t &offset);
inline bool checksInitialised(const Warp &warp) {
  return warp.block->cluster->state->options->checkInitialised;
}
inline void tick(Warp &warp) {
  warp.clock.of[warp.agent] = ++warp.block->cluster->time[warp.agent];
}
/// Lane addresses of op.r[slot] plus the immediate.
void addresses(Warp &warp, const Op &op, int slot, uint64_t (&address)[32]);

} // namespace platen::ptxsim
