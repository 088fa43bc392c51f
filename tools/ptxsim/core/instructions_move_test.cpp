// mov, its packing and unpacking, special registers and addresses; prmt.
#include "tools/ptxsim/core/instructions_testing.h"

#include <gtest/gtest.h>

namespace platen::ptxsim::testing {
namespace {

using In = const uint64_t *;

void addMoves(std::vector<Case> &cases) {
  for (const char *type :
       {"b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"}) {
    int bits = std::atoi(type + 1);
    char letter = bits == 16 ? 'h' : bits == 32 ? 'r' : 'd';
    cases.push_back(simple(std::string("mov.") + type, {letter, '=', letter}, {few(bits)},
                           [](In v) { return v[0]; }));
  }
  cases.push_back(simple("mov.pred", "p=p", {kFlags}, [](In v) { return v[0]; }));
}

/// d = {elements}, and {elements} = d.
void addVectors(std::vector<Case> &cases, int bits, size_t count) {
  int part = bits / static_cast<int>(count);
  auto letterOf = [](int n) { return n == 8 ? 'b' : n == 16 ? 'h' : n == 32 ? 'r' : 'd'; };
  std::string whole(1, letterOf(bits)), vector = "{" + std::string(count, letterOf(part)) + "}";
  std::string opcode = "mov.b" + std::to_string(bits);
  uint64_t keep = (uint64_t{1} << part) - 1;
  std::vector<Values> parts(count, part == 8 ? Values{0, 1, 0x7F, 0x80, 0xFF, 0x5A} : few(part));
  cases.push_back(simple(opcode, whole + "=" + vector, parts, [=](In v) {
    uint64_t result = 0;
    for (size_t n = 0; n < count; ++n)
      result |= v[n] << (n * static_cast<size_t>(part));
    return result;
  }));
  Case unpack = simple(opcode, vector + "=" + whole, {wholeNumbers(bits)}, nullptr);
  unpack.expected = [=](In v, uint64_t *out) {
    for (size_t n = 0; n < count; ++n)
      out[n] = v[0] >> (n * static_cast<size_t>(part)) & keep;
  };
  cases.push_back(unpack);
}

void addPermutes(std::vector<Case> &cases) {
  struct Mode {
    const char *name;
    int sources[4][4]; // by c & 3: d.b3 d.b2 d.b1 d.b0
  };
  const Mode modes[] = {{".f4e", {{3, 2, 1, 0}, {4, 3, 2, 1}, {5, 4, 3, 2}, {6, 5, 4, 3}}},
                        {".b4e", {{5, 6, 7, 0}, {6, 7, 0, 1}, {7, 0, 1, 2}, {0, 1, 2, 3}}},
                        {".rc8", {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}}},
                        {".ecl", {{3, 2, 1, 0}, {3, 2, 1, 1}, {3, 2, 2, 2}, {3, 3, 3, 3}}},
                        {".ecr", {{0, 0, 0, 0}, {1, 1, 1, 0}, {2, 2, 1, 0}, {3, 2, 1, 0}}},
                        {".rc16", {{1, 0, 1, 0}, {3, 2, 3, 2}, {1, 0, 1, 0}, {3, 2, 3, 2}}}};
  auto byteOf = [](In v, int n) {
    return (n < 4 ? v[0] >> (8 * n) : v[1] >> (8 * (n - 4))) & 0xFF;
  };
  Values controls{0,      0x3210, 0x7654, 0x0123,      0x8888, 0xFEDC, 0x5140,
                  0x4321, 0x9A3F, 0x1032, 0xFFFF3210u, 1,      2,      3};
  Values words{0x03020100, 0x87868584, 0x80FF7F01, 0xFFFFFFFF, 0x12345678};
  cases.push_back(simple("prmt.b32", "r=rrr", {words, words, controls}, [=](In v) {
    uint64_t result = 0;
    for (int n = 0; n < 4; ++n) {
      uint64_t control = v[2] >> (4 * n) & 15, byte = byteOf(v, static_cast<int>(control & 7));
      result |= (control & 8 ? (byte & 0x80 ? 0xFF : 0) : byte) << (8 * n);
    }
    return result;
  }));
  for (const Mode &mode : modes)
    cases.push_back(
        simple(std::string("prmt.b32") + mode.name, "r=rrr", {words, words, controls}, [=](In v) {
          uint64_t result = 0;
          for (int n = 0; n < 4; ++n)
            result = result << 8 | byteOf(v, mode.sources[v[2] & 3][n]);
          return result;
        }));
}

/// Constants of every kind; sinks; a special register.
void addOperands(std::vector<Case> &cases) {
  auto text = [&](const char *opcode, const char *registers, const char *body, uint64_t wanted) {
    Case c = simple(opcode, registers, {few(32)}, [=](In) { return wanted; });
    c.text = body;
    cases.push_back(c);
  };
  text("mov.f32", "r=r", "mov.f32 o0, 0f3FC00000", 0x3FC00000);
  text("mov.f32", "r=r", "mov.f32 o0, 1.5", 0x3FC00000);
  text("mov.f64", "d=r", "mov.f64 o0, 0d3FF8000000000000", 0x3FF8000000000000);
  text("mov.f64", "d=r", "mov.f64 o0, -1.5", 0xBFF8000000000000);
  text("mov.s32", "r=r", "mov.s32 o0, -7", 0xFFFFFFF9);
  text("mov.b64", "d=r", "mov.b64 o0, -7", 0xFFFFFFFFFFFFFFF9);
  text("mov.u32", "r=r", "mov.u32 o0, WARP_SZ", 32);
  text("mov.b32", "r=r",
       "{ .reg .b16 a, b; mov.b32 {a, _}, 0x12345678; mov.b32 {_, b}, 0x12345678; mov.b32 o0, {b, "
       "a}; }",
       0x56781234);
  text("mov.pred", "p=r", "mov.pred o0, 1", 1);
}

} // namespace

std::vector<Case> moveCases() {
  std::vector<Case> cases;
  addMoves(cases);
  addVectors(cases, 16, 2);
  addVectors(cases, 32, 2);
  addVectors(cases, 32, 4);
  addVectors(cases, 64, 2);
  addVectors(cases, 64, 4);
  addPermutes(cases);
  addOperands(cases);
  return cases;
}

namespace {
TEST(Instructions, Moves) { runCases(moveCases()); }
} // namespace
} // namespace platen::ptxsim::testing
