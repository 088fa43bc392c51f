// Runs a few lines of PTX and gives back what happened, for the tests of the machine.
#pragma once

#include "tools/ptxsim/core/simulator.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace platen::ptxsim {

/// A kernel `k` with parameters p0, p1, p2 (addresses) and the usual registers, %rd0 to %rd2
/// holding the parameters and %r0 the thread's number.
inline std::string kernelText(const std::string &body, const std::string &directives = "",
                              const std::string &outside = "") {
  return ".version 8.8\n.target sm_90a\n.address_size 64\n" + outside +
         "\n.visible .entry k(.param .u64 p0, .param .u64 p1, .param .u64 p2,\n"
         ".param .align 64 .b8 map[128])\n" +
         directives +
         "{\n.reg .pred %p<16>;\n.reg .b16 %h<16>;\n.reg .b32 %r<64>;\n.reg .b64 %rd<64>;\n"
         ".reg .f32 %f<32>;\n.reg .f64 %fd<8>;\n"
         "ld.param.u64 %rd0, [p0];\nld.param.u64 %rd1, [p1];\nld.param.u64 %rd2, [p2];\n"
         "mov.u32 %r0, %tid.x;\n" +
         body + "\nret;\n}\n";
}

class Bench {
public:
  explicit Bench(const std::string &body, const std::string &directives = "",
                 const std::string &outside = "") {
    auto module = Module::parse(kernelText(body, directives, outside));
    EXPECT_TRUE(module.isOk()) << module.status().toString();
    if (!module.isOk())
      return;
    for (const Refusal &refusal : module.value()->kernels()[0].refusals)
      ADD_FAILURE() << refusal.toString();
    auto loaded = LoadedModule::load(module.value(), memory, 0);
    EXPECT_TRUE(loaded.isOk()) << loaded.status().toString();
    if (loaded.isOk())
      module_ = std::move(loaded.value());
    options.threads = 1;
    options.warpInstructionLimit = 1000000;
    launch.kernel = "k";
    launch.block = {32, 1, 1};
  }
  /// A buffer for parameter `number`; uninitialised where `values` is empty.
  template <class T> uint64_t buffer(int number, size_t count, const std::vector<T> &values = {}) {
    uint64_t address = memory.allocate(count * sizeof(T), 0).value();
    if (!values.empty()) {
      EXPECT_TRUE(memory.write(address, values.data(), values.size() * sizeof(T)).isOk());
    }
    pointers[number] = address;
    return address;
  }
  template <class T> std::vector<T> read(int number, size_t count) {
    std::vector<T> values(count);
    EXPECT_TRUE(memory.read(pointers[number], values.data(), count * sizeof(T)).isOk());
    return values;
  }
  Report run() {
    std::vector<std::byte> parameters(192);
    std::memcpy(parameters.data(), pointers, sizeof pointers);
    std::memcpy(parameters.data() + 64, map, sizeof map);
    launch.parameters = parameters;
    auto report = ptxsim::run(*module_, memory, launch, options);
    EXPECT_TRUE(report.isOk()) << report.status().toString();
    return report.isOk() ? std::move(report.value()) : Report{};
  }
  /// Runs; the violation's text, empty if there is none.
  std::string violation() {
    Report report = run();
    return report.violation ? report.violation->toString() : "";
  }

  Memory memory;
  Launch launch;
  Options options;
  uint64_t pointers[3] = {};
  std::byte map[128] = {};

private:
  std::unique_ptr<LoadedModule> module_;
};

inline void expectContains(const std::string &text, const std::string &part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}

} // namespace platen::ptxsim
