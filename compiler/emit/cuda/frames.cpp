#include "compiler/emit/cuda/frames.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <poll.h>
#include <unistd.h>

namespace platen::compiler {

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kMaximumBytes = uint64_t{1} << 30U;

/// Reads exactly `bytes`; returns how many there were before the end.
base::Result<size_t> readAll(int descriptor, char *to, size_t bytes, Clock::time_point deadline) {
  size_t done = 0;
  while (done < bytes) {
    if (deadline != Clock::time_point::max()) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      pollfd poller{descriptor, POLLIN, 0};
      const int ready =
          left <= 0 ? 0 : poll(&poller, 1, static_cast<int>(std::min<long>(left, 1 << 30)));
      if (ready == 0)
        return base::resourceExhausted("no answer in time", "worker");
      if (ready < 0 && errno == EINTR)
        continue;
    }
    const ssize_t count = read(descriptor, to + done, bytes - done);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return base::ioError(std::strerror(errno), "worker");
    if (count == 0)
      break;
    done += static_cast<size_t>(count);
  }
  return done;
}

base::Result<uint64_t> readNumber(int descriptor, Clock::time_point deadline, bool &ended) {
  uint64_t value = 0;
  PLATEN_ASSIGN_OR_RETURN(const size_t got, readAll(descriptor, reinterpret_cast<char *>(&value),
                                                    sizeof value, deadline));
  ended = got == 0;
  if (!ended && got != sizeof value)
    return base::ioError("the other side ended in the middle of a frame", "worker");
  return value;
}

} // namespace

base::Status writeFrame(int descriptor, const Frame &frame) {
  std::string bytes;
  auto number = [&](uint64_t value) {
    bytes.append(reinterpret_cast<const char *>(&value), sizeof value);
  };
  number(frame.size());
  for (const std::string &one : frame) {
    number(one.size());
    bytes += one;
  }
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t count = write(descriptor, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return base::ioError(std::strerror(errno), "worker");
    done += static_cast<size_t>(count);
  }
  return base::Status::ok();
}

base::Result<Frame> readFrame(int descriptor, Clock::time_point deadline) {
  bool ended = false;
  PLATEN_ASSIGN_OR_RETURN(const uint64_t count, readNumber(descriptor, deadline, ended));
  Frame frame;
  if (ended)
    return frame;
  if (count == 0 || count > 16)
    return base::ioError("a frame of " + std::to_string(count) + " strings", "worker");
  for (uint64_t i = 0; i < count; ++i) {
    PLATEN_ASSIGN_OR_RETURN(const uint64_t bytes, readNumber(descriptor, deadline, ended));
    if (ended || bytes > kMaximumBytes)
      return base::ioError("a frame that is cut short", "worker");
    std::string text(bytes, '\0');
    PLATEN_ASSIGN_OR_RETURN(const size_t got, readAll(descriptor, text.data(), bytes, deadline));
    if (got != bytes)
      return base::ioError("a frame that is cut short", "worker");
    frame.push_back(std::move(text));
  }
  return frame;
}

} // namespace platen::compiler
