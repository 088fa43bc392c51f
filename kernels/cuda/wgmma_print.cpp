#include "kernels/cuda/wgmma_print.h"

namespace platen::kernels::cuda {

namespace {

/// %first … %(first + count - 1), separated by commas.
std::string registers(uint32_t first, uint32_t count) {
  std::string list;
  for (uint32_t i = 0; i < count; ++i)
    list += (i == 0 ? "%" : ", %") + std::to_string(first + i);
  return list;
}

std::string function(std::string_view name, std::string_view type, uint32_t k, uint32_t n,
                     std::string_view tail) {
  const uint32_t results = n / 2;
  std::string text =
      "  __device__ static void " + std::string(name) + "(float (&d)[" + std::to_string(results) +
      "], const u32 (&a)[4], u64 b, u32 add) {\n" +
      "    asm volatile(\"{\\n.reg .pred p;\\nsetp.ne.u32 p, %" + std::to_string(results + 5) +
      ", 0;\\n\"\n" + "      \"wgmma.mma_async.sync.aligned.m64n" + std::to_string(n) + "k" +
      std::to_string(k) + ".f32." + std::string(type) + "." + std::string(type) + " {" +
      registers(0, results) + "}, {" + registers(results, 4) + "}, %" +
      std::to_string(results + 4) + ", p, 1, 1" + std::string(tail) + ";\\n}\"\n      : ";
  for (uint32_t i = 0; i < results; ++i)
    text += (i == 0 ? "\"+f\"(d[" : ", \"+f\"(d[") + std::to_string(i) + "])";
  return text + "\n      : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"l\"(b), "
                "\"r\"(add));\n  }\n";
}

/// As function() with a from shared memory, and b's k the slow dimension.
std::string sharedFunction(std::string_view name, uint32_t n) {
  const uint32_t results = n / 2;
  std::string text =
      "  __device__ static void " + std::string(name) + "(float (&d)[" + std::to_string(results) +
      "], u64 a, u64 b, u32 add) {\n" + "    asm volatile(\"{\\n.reg .pred p;\\nsetp.ne.u32 p, %" +
      std::to_string(results + 2) + ", 0;\\n\"\n" + "      \"wgmma.mma_async.sync.aligned.m64n" +
      std::to_string(n) + "k16.f32.bf16.bf16 {" + registers(0, results) + "}, %" +
      std::to_string(results) + ", %" + std::to_string(results + 1) +
      ", p, 1, 1, 0, 1;\\n}\"\n      : ";
  for (uint32_t i = 0; i < results; ++i)
    text += (i == 0 ? "\"+f\"(d[" : ", \"+f\"(d[") + std::to_string(i) + "])";
  return text + "\n      : \"l\"(a), \"l\"(b), \"r\"(add));\n  }\n";
}

} // namespace

std::string printWgmma(uint32_t n) {
  return "namespace platen {\ntemplate <> struct Wgmma<" + std::to_string(n) + "> {\n" +
         function("bf16", "bf16", 16, n, ", 0") + function("f16", "f16", 16, n, ", 0") +
         function("f8", "e4m3", 32, n, "") + function("bf16Values", "bf16", 16, n, ", 1") +
         sharedFunction("bf16Keys", n) + "};\n} // namespace platen\n";
}

} // namespace platen::kernels::cuda
