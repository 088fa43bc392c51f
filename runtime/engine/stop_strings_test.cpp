// Whatever the pieces, the released text is the text up to the first stop string, and nothing is
// released too early.
#include "runtime/engine/stop_strings.h"

#include <gtest/gtest.h>
#include <random>

namespace platen::engine {
namespace {

TEST(StopStrings, HoldsBackOnlyWhatCouldBeABeginning) {
  StopStrings stops({"</end>", "e!"});
  std::string out;
  EXPECT_FALSE(stops.push("abc<", out));
  EXPECT_EQ(out, "abc");
  EXPECT_FALSE(stops.push("/x", out));
  EXPECT_EQ(out, "abc</x");
  EXPECT_FALSE(stops.push("</en", out));
  EXPECT_EQ(out, "abc</x");
  EXPECT_TRUE(stops.push("d>tail", out));
  EXPECT_EQ(out, "abc</x");
}

TEST(StopStrings, FinishReleasesTheRest) {
  StopStrings stops({"stop"});
  std::string out;
  EXPECT_FALSE(stops.push("sto", out));
  EXPECT_EQ(out, "");
  stops.finish(out);
  EXPECT_EQ(out, "sto");
}

TEST(StopStrings, RandomPiecesEqualAWholeSearch) {
  std::mt19937 random(5);
  auto letters = [&](size_t most) {
    std::string text;
    for (size_t n = random() % (most + 1); n > 0; --n)
      text += static_cast<char>('a' + random() % 2);
    return text;
  };
  int stopped = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> list;
    for (size_t n = random() % 3; n > 0; --n)
      list.push_back("a" + letters(5));
    StopStrings stops(list);
    std::string all, released;
    bool found = false;
    while (all.size() < 20 && !found) {
      std::string piece = letters(4);
      all += piece;
      found = stops.push(piece, released);
      size_t first = std::string::npos;
      for (const std::string &stop : list)
        first = std::min(first, all.find(stop));
      ASSERT_EQ(found, first != std::string::npos);
      ASSERT_EQ(released, all.substr(0, found ? first : released.size()));
    }
    stopped += found;
    if (found)
      continue;
    // What is held back is the shortest suffix that may matter.
    std::string held = all.substr(released.size());
    for (size_t i = 0; i < all.size(); ++i)
      for (const std::string &stop : list)
        if (stop.starts_with(all.substr(i))) {
          ASSERT_LE(released.size(), i);
        }
    bool needed = held.empty();
    for (const std::string &stop : list)
      needed |= stop.starts_with(held);
    ASSERT_TRUE(needed) << "held back without need: " << held;
    stops.finish(released);
    ASSERT_EQ(released, all);
  }
  EXPECT_GT(stopped, 1000);
}

} // namespace
} // namespace platen::engine
