// The functional simulator: unmodified PTX text in, memory contents, counters and violations out.
//
//   Module::parse(text)  ->  LoadedModule::load(module, memory, device)  ->  run(launch, options)
//
// It interprets: 32 lanes of a warp at a time, divergence by smallest program counter first, the
// warps of a thread block in turn, the blocks of a cluster together, clusters over host threads.
// Nothing here is a model of time. A wrong kernel ends in a Violation, never in a crash of the
// process; a Status that is not Ok means that the launch itself was wrong (or the PTX was).
// Not covered: what ptxas makes of the PTX, weak memory beyond the orders explored, time.
// Thread-safety: Module and LoadedModule are immutable; run() may be called from several threads.
#pragma once

#include "tools/ptxsim/core/memory.h"

#include "runtime/base/status.h"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace platen::ptxsim {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

struct KernelParameter {
  std::string name;
  size_t offset = 0, size = 0, alignment = 1; // bytes, in the parameter buffer
};

/// An instruction that the simulator does not execute: the kernel that holds it is refused.
struct Refusal {
  uint32_t line = 0; // of the PTX text, from 1
  std::string instruction, why;
  std::string toString() const;
};

struct KernelInfo {
  std::string name;
  std::vector<KernelParameter> parameters;
  size_t parameterBytes = 0, staticSharedBytes = 0, localBytes = 0; // local: for each thread
  /// 32-bit registers live at once, an upper bound from the virtual registers; ptxas knows better.
  uint32_t registerEstimate = 0;
  /// .maxntid / .reqntid, 0 where absent; .reqnctapercluster, 0 where absent.
  uint32_t maxThreads = 0, requiredThreads = 0;
  Dim3 requiredBlock{0, 0, 0}, requiredCluster{0, 0, 0};
  uint32_t line = 0;
  std::vector<Refusal> refusals;
};

struct GlobalVariable {
  std::string name;
  size_t size = 0, alignment = 1;
  bool isConstant = false, isExternal = false;
};

struct Program; // decoded code of all kernels; private

class Module {
public:
  /// kCorrupt names the line of a syntax error. Kernels with unknown instructions are kept, with
  /// their refusals; they cannot be run.
  static base::Result<std::shared_ptr<const Module>> parse(std::string ptx);
  ~Module();

  std::span<const KernelInfo> kernels() const;
  const KernelInfo *kernel(std::string_view name) const;
  std::span<const GlobalVariable> globals() const;
  /// e.g. "sm_90a", and the PTX version as major * 10 + minor, e.g. 88.
  std::string_view target() const;
  int version() const;
  const Program &program() const { return *program_; }

private:
  Module();
  std::unique_ptr<Program> program_;
};

/// A module with its .global and .const variables placed in the memory of one device.
class LoadedModule {
public:
  static base::Result<std::unique_ptr<LoadedModule>> load(std::shared_ptr<const Module> module,
                                                          Memory &memory, int owner);
  ~LoadedModule();
  struct Variable {
    uint64_t address = 0;
    size_t size = 0;
  };
  base::Result<Variable> global(std::string_view name) const;
  const Module &module() const { return *module_; }
  std::span<const uint64_t> globalAddresses() const { return addresses_; }

private:
  LoadedModule() = default;
  std::shared_ptr<const Module> module_;
  Memory *memory_ = nullptr;
  std::vector<uint64_t> addresses_; // one for each of module().globals(); 0: external
};

struct Launch {
  std::string_view kernel;
  Dim3 grid, block, cluster;
  size_t dynamicSharedBytes = 0;
  /// The parameter buffer, laid out as KernelInfo::parameters says; exactly parameterBytes long.
  std::span<const std::byte> parameters;
  /// All blocks make progress together (grid-wide barriers work).
  bool cooperative = false;
  /// The device that runs it, and whether it may touch memory of another owner (peer access).
  int device = 0;
  std::function<bool(int owner)> mayAccess;
};

/// When an asynchronous copy or matrix operation completes: as soon as it is issued, not before the
/// wait that forces it, or at a legal moment drawn from the seed.
enum class AsyncOrder { kEarliest, kLatest, kRandom };

struct Options {
  AsyncOrder asyncOrder = AsyncOrder::kLatest;
  uint64_t seed = 0; // of kRandom, and of the order of warps then
  bool checkRaces = true;
  bool checkInitialised = true;
  /// Races between the lanes of one warp on shared memory, and between blocks on global memory:
  /// they cost time and memory.
  bool checkLaneRaces = false;
  bool checkGlobalRaces = false;
  /// tcgen05.fence where the instruction set demands it; Triton's kernels have none.
  bool checkTensorFences = true;
  bool counters = false;
  /// Warp instructions that one warp may execute before the launch counts as hung.
  uint64_t warpInstructionLimit = uint64_t{1} << 32;
  /// Shared memory that a block may have (static + dynamic).
  size_t sharedBytesLimit = 227 * 1024;
  /// Host threads; 0: all cores. Only one thread makes float atomics between blocks repeatable.
  unsigned threads = 0;
};

enum class Pipe : uint8_t { kAlu, kFma, kSfu, kMma, kLsu, kAsync, kControl };
inline constexpr int kPipes = 7;
std::string_view pipeName(Pipe pipe);

struct Counters {
  uint64_t warpInstructions = 0;
  std::array<uint64_t, kPipes> byPipe{};
  /// Global requests (one for each warp instruction), and 32-byte sectors that they touch.
  uint64_t globalLoadRequests = 0, globalLoadSectors = 0;
  uint64_t globalStoreRequests = 0, globalStoreSectors = 0;
  /// Shared-memory requests, and the waves (passes over 32 banks) that they take.
  uint64_t sharedLoadRequests = 0, sharedLoadWaves = 0;
  uint64_t sharedStoreRequests = 0, sharedStoreWaves = 0;
  uint64_t matrixInstructions = 0, matrixMacs = 0;
  uint64_t branches = 0, divergentBranches = 0, barriers = 0;
  uint64_t blocks = 0;

  void add(const Counters &other);
  std::string toTable() const;
  std::string toJson() const;
};

enum class ViolationKind {
  kOutOfBounds,
  kUninitialisedRead,
  kMisaligned,
  kSharedRace,
  kGlobalRace,
  kDeadlock,
  kHang,
  kIllegalInstruction, // an operand, descriptor or state that the ISA forbids
  kTrap,
};
std::string_view violationName(ViolationKind kind);

struct Violation {
  ViolationKind kind{};
  std::string message; // what, with the numbers
  std::string kernel, instruction;
  uint32_t line = 0; // of the PTX text
  Dim3 block{0, 0, 0};
  uint32_t warp = 0, lane = 0;
  uint64_t address = 0;
  /// "out-of-bounds: kernel k, line 12 `ld.global.u32 …`, block (0,0,0), warp 1, lane 3: …"
  std::string toString() const;
};

struct Report {
  std::optional<Violation> violation; // the first one; what ran after it in other blocks is lost
  Counters counters;                  // zeros but warpInstructions and blocks unless asked for
};

/// Runs one launch to its end. kInvalidArgument: the launch breaks a limit (block too large,
/// parameters of the wrong size, too much shared memory); kUnsupported: the kernel has refusals.
base::Result<Report> run(const LoadedModule &module, const Memory &memory, const Launch &launch,
                         const Options &options);

} // namespace platen::ptxsim
