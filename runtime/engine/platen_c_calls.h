// What the files of the C interface share: errors become codes and a message, structs may be an
// older caller's.
#pragma once

#include "runtime/base/status.h"
#include "runtime/engine/platen_c.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <string>

namespace platen::engine::c {

/// Of this thread's last call; "" if it did not fail.
inline std::string &lastError() {
  thread_local std::string message;
  return message;
}

inline int fail(const base::Status &status) {
  lastError() = status.toString();
  return static_cast<int>(status.code());
}

inline int failArgument(const char *what) { return fail(base::invalidArgument(what)); }

/// Runs `body` (which returns a Status) and keeps exceptions inside.
template <typename Body> int call(const Body &body) {
  try {
    lastError().clear();
    base::Status status = body();
    return status.isOk() ? 0 : fail(status);
  } catch (const std::bad_alloc &) {
    return PLATEN_RESOURCE_EXHAUSTED;
  } catch (const std::exception &exception) {
    return fail(base::internalError(exception.what()));
  } catch (...) {
    return PLATEN_INTERNAL;
  }
}

/// Members that an older caller's shorter struct lacks are 0.
template <typename T> std::optional<T> copyStruct(const T *given) {
  T copy{};
  if (given == nullptr || given->struct_bytes < sizeof(size_t) || given->struct_bytes > 65536)
    return std::nullopt;
  std::memcpy(&copy, given, std::min(given->struct_bytes, sizeof(T)));
  return copy;
}

} // namespace platen::engine::c
