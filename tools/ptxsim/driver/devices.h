// Devices: the limits and attributes that a simulated GPU claims, by architecture. The numbers are
// those of a common product of each: A100, A10, L40, H100, B200, B300, Thor, RTX 5090.
#pragma once

#include "tools/ptxsim/driver/architecture.h"

#include <cstddef>
#include <cuda.h>
#include <optional>

namespace platen::ptxsim::driver {

struct DeviceTraits {
  int architecture = 80; // the lowest that the row serves
  int multiprocessors = 0;
  size_t sharedPerBlockOptin = 0, sharedPerMultiprocessor = 0; // bytes
  int threadsPerMultiprocessor = 0, blocksPerMultiprocessor = 0;
  size_t l2Bytes = 0;
  bool isIntegrated = false;
};

inline constexpr size_t kSharedPerBlock = 48 * 1024; // without opting in
inline constexpr size_t kSharedReserved = 1024;      // by the system, of every block
inline constexpr int kRegistersPerMultiprocessor = 65536, kLargestBlock = 1024;
inline constexpr int kPortableCluster = 8, kLargestCluster = 16;
inline constexpr int kDriverVersion = 13000;

const DeviceTraits &traitsOf(Architecture device);
/// Null: the driver does not know the attribute.
std::optional<int> deviceAttribute(Architecture device, int ordinal, CUdevice_attribute attribute);

/// Blocks of a kernel that fit into one multiprocessor at once.
int blocksPerMultiprocessor(const DeviceTraits &traits, int registers, size_t sharedBytes,
                            int threads);

} // namespace platen::ptxsim::driver
