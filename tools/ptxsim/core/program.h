// Decoded code: what lowering makes of a kernel and what the machine executes.
//
// A register file is a run of slots for one warp: a 32-bit register is uint32_t[32] (128 bytes), a
// 64-bit one uint64_t[32]; narrower values lie zero-extended in 32-bit lanes; a predicate is the
// uint32_t at the start of a slot, one bit a lane. Constants and special registers are slots too,
// filled when a warp starts, so that a handler knows only byte offsets.
#pragma once

#include "tools/ptxsim/core/simulator.h"
#include "tools/ptxsim/ptx/ast.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace platen::ptxsim {

struct Warp;
struct Op;
/// Executes `op` for the lanes in `mask` (never 0).
using Handler = void (*)(Warp &warp, const Op &op, uint32_t mask);

struct Op {
  Handler run = nullptr;
  Handler inner = nullptr;            // what a rounding wrapper calls
  uint32_t guard = 0, guardXor = 0;   // predicate slot; lanes run where (predicate ^ guardXor)
  uint32_t r[6] = {};                 // register file offsets: r[0] the result, then sources
  uint32_t list = 0, count = 0;       // registers of vectors: Code::lists[list, list + count)
  uint32_t target = 0;                // of branches
  uint32_t line = 0, instruction = 0; // PTX line; index into Code::texts
  int64_t immediate = 0;
  ptx::Space space{};
  bool generic = false, wideAddress = false, isSigned = false, atomic = false, wide = false;
  uint8_t bytes = 0; // of one element in memory
  uint8_t variant = 0, variant2 = 0;
  Pipe pipe = Pipe::kAlu;
};

enum class Special : uint8_t {
  kTidX,
  kTidY,
  kTidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLaneId,
  kWarpId,
  kNwarpId,
  kWarpSize,
  kLaneMaskEq,
  kLaneMaskLt,
  kLaneMaskLe,
  kLaneMaskGt,
  kLaneMaskGe,
  kClusterIdX,
  kClusterIdY,
  kClusterIdZ,
  kNclusterIdX,
  kNclusterIdY,
  kNclusterIdZ,
  kClusterCtaidX,
  kClusterCtaidY,
  kClusterCtaidZ,
  kClusterNctaidX,
  kClusterNctaidY,
  kClusterNctaidZ,
  kClusterCtarank,
  kClusterNctarank,
  kIsExplicitCluster,
  kSmId,
  kNsmId,
  kGridId,
  kDynamicSharedBytes,
  kTotalSharedBytes,
  kClock,
  kClock64,
  kGlobalTimer,
  kZero,
};

struct Slot {
  enum class Kind : uint8_t { kBits, kGlobal, kSpecial } kind{};
  Special special{};
  bool wide = false;
  uint32_t offset = 0, global = 0; // kGlobal: bits is added to the variable's address
  uint64_t bits = 0;
};

struct Code {
  KernelInfo info;
  std::vector<Op> ops;
  std::vector<uint32_t> lists;
  std::vector<Slot> slots;
  std::vector<std::string_view> texts;
  uint32_t registerBytes = 0, sharedGranularity = 4; // bytes of one race-detection cell
  uint32_t globalGranularity = 4;                    // the same of global memory
  uint64_t dynamicSharedAlignment = 16;
};

struct Program {
  std::unique_ptr<ptx::Module> ast;
  std::vector<Code> codes;
  std::vector<KernelInfo> kernels; // of codes, in the same order
  std::vector<GlobalVariable> globals;
  std::unordered_map<std::string_view, uint32_t> globalIndex;
};

/// Address windows of the generic space; device memory lies below them.
inline constexpr uint64_t kSharedWindow = uint64_t{1} << 56, kLocalWindow = uint64_t{2} << 56,
                          kParamWindow = uint64_t{3} << 56, kWindowMask = uint64_t{0xFF} << 56;
/// mapa: the rank of another block, plus one, above its shared-memory offset.
inline constexpr uint32_t kRankShift = 24;

/// Lowers one entry of `program.ast`. What cannot be lowered lands in info.refusals.
Code lowerKernel(const Program &program, const ptx::Function &function);

} // namespace platen::ptxsim
