#include "runtime/base/threads.h"

#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>
#include <sys/resource.h>

namespace platen::base {
namespace {

TEST(StartThreads, EachExecutesTheWorkOnce) {
  std::atomic<int> calls = 0;
  auto threads = startThreads(5, [&] { ++calls; });
  EXPECT_EQ(threads.size(), 5U);
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(calls, 5);
  EXPECT_TRUE(startThreads(0, [] {}).empty());
}

#ifndef __SANITIZE_ADDRESS__ // which cannot live with a limit on addresses
TEST(StartThreadsDeathTest, NoneIsNoFailure) {
  EXPECT_EXIT(
      {
        rlimit limit{}; // no stack for a new thread
        setrlimit(RLIMIT_AS, &limit);
        std::_Exit(startThreads(2, [] {}).empty() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}
#endif

} // namespace
} // namespace platen::base
