#include "runtime/base/threads.h"

#include <system_error>

namespace platen::base {

std::vector<std::thread> startThreads(size_t count, const std::function<void()> &work) {
  std::vector<std::thread> threads;
  threads.reserve(count);
  try {
    while (threads.size() < count)
      threads.emplace_back(work);
  } catch (const std::system_error &) { // no more to be had: those that started are the answer
  }
  return threads;
}

} // namespace platen::base
