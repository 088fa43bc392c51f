// What tests and benchmarks of host kernels share besides data_harness.h: executable memory, and
// how a kernel is run. Header-only, so that the room itself links no code generator.
#pragma once

#include "compiler/emit/host/emit.h"
#include "kernels/data_harness.h"
#include "kernels/descriptor.h"
#include "kernels/host/specs.h"

namespace platen::kernels::harness {

/// A code blob mapped read + execute.
class Code {
public:
  explicit Code(compiler::CodeBlob blob) : blob_(std::move(blob)) {
    memory_ = mmap(nullptr, blob_.bytes.size() + 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED)
      die("mmap failed");
    std::memcpy(memory_, blob_.bytes.data(), blob_.bytes.size());
    mprotect(memory_, blob_.bytes.size() + 1, PROT_READ | PROT_EXEC);
  }
  Code(const Code &) = delete;
  Code &operator=(const Code &) = delete;
  ~Code() { munmap(memory_, blob_.bytes.size() + 1); }
  PlatenHostKernel entry(const std::string &name) const {
    auto at = blob_.entries.find(name);
    if (at == blob_.entries.end())
      die("no kernel '" + name + "'");
    return reinterpret_cast<PlatenHostKernel>(static_cast<char *>(memory_) + at->second);
  }

private:
  compiler::CodeBlob blob_;
  void *memory_;
};

/// Runs the kernel of `spec`; its units are cut into `pieces` ranges, run last first.
inline void run(const Code &code, const HostKernelSpec &spec, const Step &step,
                const std::vector<BufferPtr> &operands, unsigned pieces = 1) {
  const HostKernelInfo info = must(describeHostKernel(spec));
  if (operands.size() != info.operands.size())
    die(info.name + " takes " + std::to_string(info.operands.size()) + " operands, not " +
        std::to_string(operands.size()));
  const PlatenStep abi = step.abi();
  const int64_t extent = info.extent == Extent::kRows ? step.rows : step.tokens;
  const int64_t units =
      (extent + info.rowsPerUnit - 1) / info.rowsPerUnit * static_cast<int64_t>(info.unitsPerRows);
  std::vector<void *> pointers = {const_cast<PlatenStep *>(&abi)};
  for (const BufferPtr &operand : operands)
    pointers.push_back(operand->data());
  Buffer scratch(info.scratchBytes, 0);
  if (info.scratchBytes != 0)
    pointers.push_back(scratch.data());
  const PlatenHostKernel kernel = code.entry(info.name);
  for (int64_t piece = pieces; piece-- > 0;)
    kernel(pointers.data(), units * piece / pieces, units * (piece + 1) / pieces);
  if (!scratch.intact())
    die(info.name + " wrote outside its scratch");
}

inline Code compile(const std::vector<HostKernelSpec> &specs, const HostTarget &target) {
  return Code(must(compiler::emitHostKernels(specs, target)));
}

/// Targets whose code this machine can execute.
inline const std::vector<HostTarget> &executableTargets() {
  static const std::vector<HostTarget> targets = {kAvx2Target, kAvx512OnAvx2Target};
  return targets;
}

} // namespace platen::kernels::harness
