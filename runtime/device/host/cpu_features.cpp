// cpuid for the instructions, xgetbv for the registers that the operating system saves. Feature
// bits: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.
#include "runtime/device/host/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace platen::device {
namespace {

#if defined(__x86_64__)

enum Register { kEax, kEbx, kEcx, kEdx };
/// The state that a feature's registers need saved (bits of XCR0).
constexpr uint64_t kNoState = 0, kAvxState = 0x6, kAvx512State = 0xe6;

struct Feature {
  const char *name;
  uint32_t leaf, subleaf;
  Register where;
  int bit;
  uint64_t state;
};

constexpr Feature kFeatures[] = {
    {"cmov", 1, 0, kEdx, 15, kNoState},
    {"fxsr", 1, 0, kEdx, 24, kNoState},
    {"mmx", 1, 0, kEdx, 23, kNoState},
    {"sse", 1, 0, kEdx, 25, kNoState},
    {"sse2", 1, 0, kEdx, 26, kNoState},
    {"sse3", 1, 0, kEcx, 0, kNoState},
    {"pclmul", 1, 0, kEcx, 1, kNoState},
    {"ssse3", 1, 0, kEcx, 9, kNoState},
    {"fma", 1, 0, kEcx, 12, kAvxState},
    {"cx16", 1, 0, kEcx, 13, kNoState},
    {"sse4.1", 1, 0, kEcx, 19, kNoState},
    {"sse4.2", 1, 0, kEcx, 20, kNoState},
    {"movbe", 1, 0, kEcx, 22, kNoState},
    {"popcnt", 1, 0, kEcx, 23, kNoState},
    {"aes", 1, 0, kEcx, 25, kNoState},
    {"xsave", 1, 0, kEcx, 26, kNoState},
    {"avx", 1, 0, kEcx, 28, kAvxState},
    {"f16c", 1, 0, kEcx, 29, kAvxState},
    {"bmi", 7, 0, kEbx, 3, kNoState},
    {"avx2", 7, 0, kEbx, 5, kAvxState},
    {"bmi2", 7, 0, kEbx, 8, kNoState},
    {"avx512f", 7, 0, kEbx, 16, kAvx512State},
    {"avx512dq", 7, 0, kEbx, 17, kAvx512State},
    {"adx", 7, 0, kEbx, 19, kNoState},
    {"avx512ifma", 7, 0, kEbx, 21, kAvx512State},
    {"avx512cd", 7, 0, kEbx, 28, kAvx512State},
    {"avx512bw", 7, 0, kEbx, 30, kAvx512State},
    {"avx512vl", 7, 0, kEbx, 31, kAvx512State},
    {"avx512vbmi", 7, 0, kEcx, 1, kAvx512State},
    {"avx512vbmi2", 7, 0, kEcx, 6, kAvx512State},
    {"gfni", 7, 0, kEcx, 8, kNoState},
    {"vaes", 7, 0, kEcx, 9, kAvxState},
    {"vpclmulqdq", 7, 0, kEcx, 10, kAvxState},
    {"avx512vnni", 7, 0, kEcx, 11, kAvx512State},
    {"avx512bitalg", 7, 0, kEcx, 12, kAvx512State},
    {"avx512vpopcntdq", 7, 0, kEcx, 14, kAvx512State},
    {"avx512fp16", 7, 0, kEdx, 23, kAvx512State},
    {"avxvnni", 7, 1, kEax, 4, kAvxState},
    {"avx512bf16", 7, 1, kEax, 5, kAvx512State},
    {"avxifma", 7, 1, kEax, 23, kAvxState},
    {"avxvnniint8", 7, 1, kEdx, 4, kAvxState},
    {"avxneconvert", 7, 1, kEdx, 5, kAvxState},
    {"sahf", 0x80000001, 0, kEcx, 0, kNoState},
    {"lzcnt", 0x80000001, 0, kEcx, 5, kNoState},
    {"prfchw", 0x80000001, 0, kEcx, 8, kNoState},
};

/// The register sets that the operating system saves, XCR0; 0 if it does not even say.
uint64_t savedState() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr uint32_t kOsxsave = uint32_t{1} << 27;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kOsxsave) == 0)
    return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

std::set<std::string> detect() {
  std::set<std::string> found{"64bit"};
  uint64_t saved = savedState();
  for (const Feature &feature : kFeatures) {
    uint32_t registers[4] = {};
    if (__get_cpuid_count(feature.leaf, feature.subleaf, &registers[kEax], &registers[kEbx],
                          &registers[kEcx], &registers[kEdx]) == 0)
      continue;
    bool present = (registers[feature.where] >> feature.bit) & 1U;
    if (present && (saved & feature.state) == feature.state)
      found.insert(feature.name);
  }
  return found;
}

#else

std::set<std::string> detect() { return {}; }

#endif

} // namespace

const std::set<std::string> &cpuFeatures() {
  static const std::set<std::string> features = detect();
  return features;
}

base::Result<uint32_t> chooseTarget(const plan::Manifest &manifest,
                                    const std::set<std::string> &features) {
  if (manifest.targets.empty())
    return base::unsupported("the plan holds no code at all; compile the model again");
  std::string lacking;
  for (uint32_t i = 0; i < manifest.targets.size(); ++i) {
    const plan::CodeTarget &target = manifest.targets[i];
    const std::string &device = manifest.programs[target.program].device;
    std::string missing = device == plan::kHostDevice ? "" : "a device of kind " + device;
    for (const std::string &feature : target.features) {
      if (device == plan::kHostDevice && !features.contains(feature))
        missing.append(missing.empty() ? "" : ", ").append(feature);
    }
    if (missing.empty())
      return i;
    lacking.append(lacking.empty() ? "" : "; ")
        .append(target.name)
        .append(" needs ")
        .append(missing);
  }
  return base::unsupported("the plan has no code for this CPU: " + lacking +
                           "; compile the model for a target that this CPU can run");
}

} // namespace platen::device
