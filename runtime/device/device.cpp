// What devices that record nothing answer.
#include "runtime/device/device.h"

namespace platen::device {

base::Result<std::unique_ptr<Recording>> Device::record(std::span<const Launch>) {
  return base::unsupported("this device records no launches", description());
}

base::Status Device::replay(const Recording &) {
  return base::unsupported("this device records no launches", description());
}

} // namespace platen::device
