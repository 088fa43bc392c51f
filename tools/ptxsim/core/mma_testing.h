// What the tests of mma share: one instruction on one warp whose registers the test fills, and the
// values of elements by their definition.
#pragma once

#include "tools/ptxsim/core/machine.h"
#include "tools/ptxsim/ptx/parser.h"

#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <string>

namespace platen::ptxsim {

/// One warp with registers that the test fills, and the ops of one instruction.
class OneWarp {
public:
  explicit OneWarp(const std::string &body) {
    auto ast = ptx::parse(".version 8.8\n.target sm_120a\n.address_size 64\n.entry k()\n{\n" +
                          body + "\n}\n");
    if (!ast) {
      ADD_FAILURE() << ast.status().toString();
      return;
    }
    program_.ast = std::move(*ast);
    code_ = lowerKernel(program_, program_.ast->functions[0]);
    registers_.resize(code_.registerBytes + 64);
    auto base = (reinterpret_cast<uintptr_t>(registers_.data()) + 63) / 64 * 64;
    cluster_.state = &state_;
    cluster_.blocks.resize(1);
    cluster_.blocks[0].cluster = &cluster_;
    cluster_.blocks[0].warps.resize(1);
    state_.code = &code_;
    state_.options = &options_;
    warp().block = &cluster_.blocks[0];
    warp().registers = reinterpret_cast<uint8_t *>(base);
    warp().live = warp().active = ~0u;
    for (const Slot &slot : code_.slots)
      if (slot.kind == Slot::Kind::kBits)
        for (int lane = 0; lane < 32; ++lane) {
          if (slot.wide)
            warp().lanes<uint64_t>(slot.offset)[lane] = slot.bits;
          else
            warp().lanes<uint32_t>(slot.offset)[lane] = static_cast<uint32_t>(slot.bits);
        }
  }
  const std::vector<Refusal> &refusals() const { return code_.info.refusals; }
  Warp &warp() { return cluster_.blocks[0].warps[0]; }
  const Op &op() const { return code_.ops[0]; }
  uint32_t slot(size_t n) const { return code_.lists[op().list + n]; }
  void run(uint32_t mask = ~0u) { op().run(warp(), op(), mask); }

private:
  Program program_;
  Code code_;
  Launch launch_;
  Options options_;
  LaunchState state_;
  Cluster cluster_;
  std::vector<uint8_t> registers_;
};

inline double minifloat(uint32_t bits, int exponentBits, int mantissaBits, bool infinity,
                        bool nan) {
  uint32_t mantissa = bits & ((1u << mantissaBits) - 1);
  int exponent = static_cast<int>(bits >> mantissaBits) & ((1 << exponentBits) - 1);
  int bias = (1 << (exponentBits - 1)) - 1, top = (1 << exponentBits) - 1;
  double sign = bits >> (exponentBits + mantissaBits) & 1 ? -1 : 1;
  if (infinity && exponent == top)
    return mantissa ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  if (nan && exponent == top && mantissa == (1u << mantissaBits) - 1)
    return std::nan("");
  double fraction = mantissa / static_cast<double>(1 << mantissaBits);
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias)
                               : std::ldexp(1 + fraction, exponent - bias));
}

inline double valueOf(const std::string &type, uint64_t bits) {
  auto b = static_cast<uint32_t>(bits);
  if (type == "f16")
    return minifloat(b & 0xFFFF, 5, 10, true, false);
  if (type == "bf16")
    return minifloat(b & 0xFFFF, 8, 7, true, false);
  if (type == "tf32")
    return minifloat(b >> 13, 8, 10, true, false);
  if (type == "f32")
    return std::bit_cast<float>(b);
  if (type == "f64")
    return std::bit_cast<double>(bits);
  if (type == "e4m3")
    return minifloat(b & 0xFF, 4, 3, false, true);
  if (type == "e5m2")
    return minifloat(b & 0xFF, 5, 2, true, false);
  if (type == "e3m2")
    return minifloat(b & 0x3F, 3, 2, false, false);
  if (type == "e2m3")
    return minifloat(b & 0x3F, 2, 3, false, false);
  if (type == "e2m1")
    return minifloat(b >> 2 & 0xF, 2, 1, false, false);
  if (type == "e2m1x2")
    return minifloat(b & 0xF, 2, 1, false, false);
  if (type == "ue4m3")
    return minifloat(b & 0x7F, 4, 3, false, true);
  if (type == "ue8m0")
    return b == 255 ? std::nan("") : std::ldexp(1.0, static_cast<int>(b) - 127);
  if (type == "s8")
    return static_cast<int8_t>(b);
  if (type == "u8")
    return b & 0xFF;
  if (type == "s4")
    return static_cast<int>((b & 0xF) ^ 8) - 8;
  if (type == "u4")
    return b & 0xF;
  return b & 1; // b1
}

inline int widthOf(const std::string &type) {
  if (type == "f64")
    return 64;
  if (type == "tf32" || type == "f32" || type == "s32")
    return 32;
  if (type == "f16" || type == "bf16")
    return 16;
  if (type == "s4" || type == "u4" || type == "e2m1x2")
    return 4;
  return type == "b1" ? 1 : 8;
}

/// The registers of one operand, element by element.
struct Fragment {
  OneWarp *warp = nullptr;
  size_t first = 0; // in the operand list
  int bits = 32;
  uint64_t get(int lane, int i) const {
    if (bits == 64)
      return warp->warp().lanes<uint64_t>(slot(static_cast<size_t>(i)))[lane];
    int per = 32 / bits;
    uint32_t word = warp->warp().lanes<uint32_t>(slot(static_cast<size_t>(i / per)))[lane];
    return bits == 32 ? word : word >> (i % per * bits) & ((uint64_t{1} << bits) - 1);
  }
  uint32_t slot(size_t n) const { return warp->slot(first + n); }
};

inline std::string registersOf(char name, int count) {
  std::string text = "{";
  for (int i = 0; i < count; ++i)
    text += (i ? ", %" : "%") + std::string(1, name) + std::to_string(i);
  return text + "}";
}

} // namespace platen::ptxsim
