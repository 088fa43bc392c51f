// What the descriptions of the families share. Internal to this room.
#pragma once

#include "kernels/cuda/describe.h"

#include <initializer_list>
#include <string_view>

namespace platen::kernels::cuda {

/// Shared members of all candidates of one request; `request` is moved from a copy each time.
struct Context {
  const KernelRequest &request;
  const CudaArchitecture &architecture;
  const CudaFamily &family;
  const CudaLimits &limits;
};
using Candidates = std::vector<CudaKernelInfo>;

/// A candidate with name, key, operands and the head of its source (abi.h, device.cuh,
/// `templates`).
CudaKernelInfo begin(const Context &context, std::string tile,
                     std::initializer_list<std::string_view> templates);

/// `struct Config { static constexpr … };` from name/value pairs.
class ConfigPrinter {
public:
  ConfigPrinter &number(std::string_view name, uint64_t value);
  ConfigPrinter &flag(std::string_view name, bool value);
  ConfigPrinter &real(std::string_view name, float value);
  ConfigPrinter &line(std::string text); ///< a member as it stands
  ConfigPrinter &extent(Extent extent);
  std::string print() const;

private:
  std::string text_;
};

/// `extern "C" __global__` function `entry` of `threads` with parameters and body.
std::string printEntry(const std::string &entry, uint32_t threads, const std::string &parameters,
                       const std::string &body);

/// Packing constants that templates of weights and tables need.
void addPacking(ConfigPrinter &config, const Packing &packing, uint64_t k);

/// Candidates of the context's family; none if the family does not take this request.
base::Result<Candidates> candidates(const MatmulSpec &spec, const Context &context);
base::Result<Candidates> candidates(const QuantizeRowsSpec &spec, const Context &context);
base::Result<Candidates> candidates(const RowProgramSpec &spec, const Context &context);
base::Result<Candidates> candidates(const EmbedSpec &spec, const Context &context);
base::Result<Candidates> candidates(const QkvFinishSpec &spec, const Context &context);
base::Result<Candidates> candidates(const PagedAttentionSpec &spec, const Context &context);
base::Result<Candidates> candidates(const SelectRowsSpec &spec, const Context &context);
base::Result<Candidates> candidates(const LoopSpec &spec, const Context &context);
base::Result<Candidates> candidates(const SampleSpec &spec, const Context &context);

} // namespace platen::kernels::cuda
