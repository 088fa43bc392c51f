#include "tools/ptxsim/driver/architecture.h"

#include <charconv>

namespace platen::ptxsim::driver {

std::string Architecture::name() const {
  return "sm_" + std::to_string(number) + (suffix ? std::string(1, suffix) : "");
}

base::Result<Architecture> parseArchitecture(std::string_view text) {
  std::string_view rest = text;
  for (std::string_view prefix : {"sm_", "compute_"})
    if (rest.starts_with(prefix))
      rest.remove_prefix(prefix.size());
  Architecture result;
  auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), result.number);
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  if (rest == "a" || rest == "f") {
    result.suffix = rest[0];
    rest = {};
  }
  if (error != std::errc() || !rest.empty() || result.number < 10 || result.number > 999)
    return base::invalidArgument("'" + std::string(text) + "' is no architecture such as sm_90a");
  return result;
}

bool cubinRunsOn(Architecture code, Architecture device) {
  if (code.suffix == 'a')
    return code.number == device.number;
  return code.major() == device.major() && code.minor() <= device.minor();
}

bool ptxCompilesFor(Architecture target, Architecture device) {
  return target.suffix ? cubinRunsOn(target, device) : target.number <= device.number;
}

} // namespace platen::ptxsim::driver
