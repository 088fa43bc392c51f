// Starting helper threads where fewer than asked for will do.
#pragma once

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace platen::base {

/// Starts up to `count` threads that each execute `work` once, and returns those that started:
/// fewer, or none, when the system has no more threads. The caller joins them; what `work` refers
/// to outlives that.
std::vector<std::thread> startThreads(size_t count, const std::function<void()> &work);

} // namespace platen::base
