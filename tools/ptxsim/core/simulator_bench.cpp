// Measures the interpreter: million warp instructions a second on one core, for a few plain loops.
//   ptxsim_bench [seconds for each loop]
#include "tools/ptxsim/core/simulator.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace platen::ptxsim {
namespace {

struct Loop {
  const char *name, *body;
};

// %rd0, %rd1: buffers of 1 MiB; %r0: the thread. Every body runs 1000 times around %r9.
constexpr Loop kLoops[] = {
    {"fma", "fma.rn.f32 %f1, %f1, %f2, %f3;\nfma.rn.f32 %f4, %f4, %f2, %f3;\n"
            "fma.rn.f32 %f5, %f5, %f2, %f3;\nfma.rn.f32 %f6, %f6, %f2, %f3;\n"},
    {"integers", "add.u32 %r1, %r1, %r0;\nxor.b32 %r2, %r2, %r1;\nshl.b32 %r3, %r2, 3;\n"
                 "mad.lo.u32 %r4, %r3, %r1, %r2;\n"},
    {"global loads", "ld.global.f32 %f1, [%rd3];\nadd.f32 %f4, %f4, %f1;\n"
                     "ld.global.v4.f32 {%f1, %f2, %f3, %f5}, [%rd4];\nadd.f32 %f4, %f4, %f5;\n"},
    {"global stores", "st.global.f32 [%rd3], %f4;\nst.global.v4.f32 [%rd4], {%f4, %f4, %f4, %f4};\n"},
    {"shared", "st.shared.f32 [%r5], %f4;\nbar.sync 0;\nld.shared.f32 %f1, [%r5];\n"
               "ld.shared.f32 %f2, [tile];\nbar.sync 0;\n"},
    {"cp.async", "cp.async.cg.shared.global [%r6], [%rd4], 16;\ncp.async.commit_group;\n"
                 "cp.async.wait_group 0;\nbar.sync 0;\nld.shared.v4.f32 {%f1, %f2, %f3, %f5}, [%r6];\n"
                 "bar.sync 0;\n"},
    {"divergence", "setp.lt.u32 %p2, %r0, %r1;\n@%p2 bra A;\nadd.u32 %r2, %r2, 1;\nA:\n"
                   "add.u32 %r1, %r1, 7;\n"},
};

std::string textOf(const Loop &loop) {
  return std::string(".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 "
                     "p0, .param .u64 p1)\n{\n.reg .pred %p<8>;\n.reg .b32 %r<32>;\n.reg .b64 "
                     "%rd<16>;\n.reg .f32 %f<16>;\n.shared .align 16 .b8 tile[8192];\n"
                     "ld.param.u64 %rd0, [p0];\nld.param.u64 %rd1, [p1];\nmov.u32 %r0, %tid.x;\n"
                     "mul.wide.u32 %rd5, %r0, 4;\nadd.s64 %rd3, %rd0, %rd5;\n"
                     "mul.wide.u32 %rd5, %r0, 16;\nadd.s64 %rd4, %rd1, %rd5;\nmov.u32 %r5, tile;\n"
                     "shl.b32 %r6, %r0, 4;\nadd.u32 %r6, %r5, %r6;\nshl.b32 %r7, %r0, 2;\n"
                     "add.u32 %r5, %r5, %r7;\nmov.u32 %r1, 1;\nmov.u32 %r2, 2;\n"
                     "mov.f32 %f1, 0f00000000;\nmov.f32 %f2, 0f00000000;\nmov.f32 %f3, 0f3F800000;\n"
                     "mov.f32 %f4, 0f00000000;\nmov.f32 %f5, 0f00000000;\nmov.f32 %f6, 0f00000000;\n"
                     "st.shared.f32 [%r5], %f4;\nbar.sync 0;\nmov.u32 %r9, 0;\nLOOP:\n") +
         loop.body +
         "add.u32 %r9, %r9, 1;\nsetp.lt.u32 %p1, %r9, 1000;\n@%p1 bra LOOP;\nret;\n}\n";
}

int measure(const Loop &loop, double seconds) {
  auto module = Module::parse(textOf(loop));
  if (!module.isOk() || !module.value()->kernels()[0].refusals.empty()) {
    std::printf("%-16s refused: %s\n", loop.name,
                module.isOk() ? module.value()->kernels()[0].refusals[0].toString().c_str()
                              : module.status().toString().c_str());
    return 1;
  }
  Memory memory;
  auto loaded = LoadedModule::load(module.value(), memory, 0);
  uint64_t pointers[2];
  for (uint64_t &pointer : pointers) {
    pointer = memory.allocate(1 << 20, 0).value();
    (void)memory.fill(pointer, 0, 1 << 20);
  }
  std::vector<std::byte> parameters(sizeof pointers);
  std::memcpy(parameters.data(), pointers, sizeof pointers);
  Launch launch;
  launch.kernel = "k";
  launch.grid = {8, 1, 1};
  launch.block = {128, 1, 1};
  launch.parameters = parameters;
  Options options;
  options.threads = 1;
  uint64_t instructions = 0;
  // Processor time, so that other programs do not count.
  std::clock_t begin = std::clock();
  double elapsed = 0;
  while (elapsed < seconds) {
    auto report = run(*loaded.value(), memory, launch, options);
    if (!report.isOk() || report.value().violation) {
      std::printf("%-16s %s\n", loop.name,
                  report.isOk() ? report.value().violation->toString().c_str()
                                : report.status().toString().c_str());
      return 1;
    }
    instructions += report.value().counters.warpInstructions;
    elapsed = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  }
  std::printf("%-16s %8.1f M warp instructions/s\n", loop.name,
              static_cast<double>(instructions) / elapsed / 1e6);
  return 0;
}

} // namespace
} // namespace platen::ptxsim

int main(int argc, char **argv) {
  double seconds = argc > 1 ? std::atof(argv[1]) : 1.0;
  int failures = 0;
  for (const platen::ptxsim::Loop &loop : platen::ptxsim::kLoops)
    failures += platen::ptxsim::measure(loop, seconds);
  return failures != 0;
}
