// Pages are neither lost nor shared, whatever sequences do; failed reservations change nothing.
#include "runtime/cache/sequence_pages.h"

#include <gtest/gtest.h>
#include <random>
#include <set>

namespace platen::cache {
namespace {

TEST(PagePool, GivesEachPageOnceAndRefusesMore) {
  PagePool pool(3);
  std::vector<PageId> pages;
  EXPECT_FALSE(pool.allocate(4, pages));
  EXPECT_TRUE(pages.empty());
  EXPECT_TRUE(pool.allocate(3, pages));
  EXPECT_EQ(std::set<PageId>(pages.begin(), pages.end()), (std::set<PageId>{0, 1, 2}));
  EXPECT_FALSE(pool.allocate(1, pages));
  EXPECT_TRUE(pool.release(1));
  EXPECT_FALSE(pool.release(1)) << "a page must not be released twice";
  EXPECT_FALSE(pool.release(-1));
  EXPECT_FALSE(pool.release(3));
  EXPECT_EQ(pool.freePages(), 1);
}

TEST(SequencePages, ReserveCommitRollBack) {
  PagePool pool(4);
  SequencePages pages(pool, 16);
  ASSERT_TRUE(pages.reserve(17).isOk());
  EXPECT_EQ(pages.pages().size(), 2u);
  ASSERT_TRUE(pages.commit(16).isOk());
  EXPECT_EQ(pages.commit(15).code(), base::StatusCode::kInternal);
  EXPECT_EQ(pages.commit(18).code(), base::StatusCode::kInternal);
  PageId first = pages.pages()[0];
  pages.rollBack(16);
  EXPECT_EQ(pages.pages().size(), 1u);
  EXPECT_EQ(pages.pages()[0], first) << "kept positions keep their page";
  pages.rollBack(3);
  EXPECT_EQ(pages.committedTokens(), 3);
  EXPECT_EQ(pool.freePages(), 3);
  base::Status full = pages.reserve(65);
  EXPECT_EQ(full.code(), base::StatusCode::kResourceExhausted);
  EXPECT_NE(full.message().find("4 more KV pages"), std::string_view::npos) << full.toString();
  EXPECT_EQ(pages.reservedTokens(), 3) << "a failed reservation changes nothing";
  EXPECT_EQ(pool.freePages(), 3);
}

TEST(SequencePages, MovedFromOwnsNothing) {
  PagePool pool(4);
  {
    SequencePages a(pool, 4), b(pool, 4);
    ASSERT_TRUE(a.reserve(8).isOk());
    ASSERT_TRUE(b.reserve(4).isOk());
    b = std::move(a);
    EXPECT_EQ(pool.freePages(), 2) << "assignment returns the pages it replaces";
    SequencePages c(std::move(b));
    EXPECT_EQ(c.pages().size(), 2u);
  }
  EXPECT_EQ(pool.freePages(), 4);
}

void checkNoneLostNoneShared(const PagePool &pool, const std::vector<SequencePages> &sequences,
                             int64_t page_tokens) {
  std::set<PageId> seen;
  int64_t held = 0;
  for (const SequencePages &sequence : sequences) {
    ASSERT_LE(sequence.committedTokens(), sequence.reservedTokens());
    ASSERT_EQ(static_cast<int64_t>(sequence.pages().size()),
              pagesFor(sequence.reservedTokens(), page_tokens));
    for (PageId page : sequence.pages()) {
      ASSERT_TRUE(pool.isOwned(page));
      ASSERT_TRUE(seen.insert(page).second) << "page " << page << " has two owners";
      ++held;
    }
  }
  ASSERT_EQ(held + pool.freePages(), pool.totalPages()) << "a page was lost";
}

TEST(SequencePages, RandomHistoriesLoseAndShareNothing) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    auto below = [&](int64_t n) {
      return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
    };
    int64_t page_tokens = 1 + below(20);
    PagePool pool(1 + below(40));
    std::vector<SequencePages> sequences;
    for (int event = 0; event < 200; ++event) {
      int64_t what = below(6);
      if (sequences.empty() || what == 0) {
        sequences.emplace_back(pool, page_tokens);
        continue;
      }
      SequencePages &sequence =
          sequences[static_cast<size_t>(below(static_cast<int64_t>(sequences.size())))];
      int64_t before = pool.freePages();
      if (what <= 2) {
        base::Status status = sequence.reserve(sequence.reservedTokens() + below(50));
        if (!status.isOk()) {
          ASSERT_EQ(status.code(), base::StatusCode::kResourceExhausted);
          ASSERT_EQ(pool.freePages(), before);
        }
      } else if (what == 3) {
        int64_t span = sequence.reservedTokens() - sequence.committedTokens();
        ASSERT_TRUE(sequence.commit(sequence.committedTokens() + below(span + 1)).isOk());
      } else if (what == 4) {
        sequence.rollBack(below(sequence.reservedTokens() + 2));
      } else {
        std::swap(sequence, sequences.back());
        sequences.pop_back();
      }
      ASSERT_NO_FATAL_FAILURE(checkNoneLostNoneShared(pool, sequences, page_tokens))
          << "seed " << seed;
    }
    sequences.clear();
    ASSERT_EQ(pool.freePages(), pool.totalPages());
  }
}

} // namespace
} // namespace platen::cache
