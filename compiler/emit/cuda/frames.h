// How the emitter and its workers talk: frames of strings over pipes, each string with its length.
#pragma once

#include "runtime/base/status.h"

#include <chrono>
#include <string>
#include <vector>

namespace platen::compiler {

using Frame = std::vector<std::string>;

/// kIo if the other side is gone.
base::Status writeFrame(int descriptor, const Frame &frame);

/// Reads a frame. An empty frame: the other side closed the pipe before one began. kIo if it did so
/// in the middle; kResourceExhausted at the deadline.
base::Result<Frame> readFrame(int descriptor, std::chrono::steady_clock::time_point deadline =
                                                  std::chrono::steady_clock::time_point::max());

} // namespace platen::compiler
