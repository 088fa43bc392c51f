// The KV pages of one sequence: reserve before a step, commit or roll back after it.
//
// Positions [0, committedTokens) hold keys and values that later steps may read. reserve() adds
// pages for the positions that the next step writes; commit() keeps those of them that turned out
// to be right, and rollBack() (rejected drafts, failed steps) returns every page that no kept
// position needs.
//
//   committed <= reserved <= pages().size() * page_tokens
//
// The object owns its pages exclusively and returns them when it is destroyed; the pool must
// outlive it. Costs: amortised O(1) a page. Not thread-safe.
#pragma once

#include "runtime/base/status.h"
#include "runtime/cache/page_pool.h"

#include <span>

namespace platen::cache {

/// Pages that positions [0, tokens) take.
constexpr int64_t pagesFor(int64_t tokens, int64_t page_tokens) {
  return (tokens + page_tokens - 1) / page_tokens;
}

class SequencePages {
public:
  /// `page_tokens` > 0: positions a page holds.
  SequencePages(PagePool &pool, int64_t page_tokens) : pool_(&pool), page_tokens_(page_tokens) {}
  SequencePages(SequencePages &&other) noexcept;
  SequencePages &operator=(SequencePages &&other) noexcept;
  ~SequencePages() { clear(); }

  /// Makes sure that positions [0, tokens) have pages. All or nothing: kResourceExhausted changes
  /// nothing.
  base::Status reserve(int64_t tokens);
  /// Positions [0, tokens) are valid from now on. kInternal if they were not reserved or if
  /// `tokens` is less than what is committed already (that is what rollBack is for).
  base::Status commit(int64_t tokens);
  /// Forgets positions >= `tokens`, committed or reserved, and returns the pages that only they
  /// needed.
  void rollBack(int64_t tokens);
  /// Returns every page.
  void clear() { rollBack(0); }

  int64_t committedTokens() const { return committed_; }
  int64_t reservedTokens() const { return reserved_; }
  /// Entry p / page_tokens is the page of position p; valid until the next non-const call.
  std::span<const PageId> pages() const { return pages_; }

private:
  PagePool *pool_;
  int64_t page_tokens_;
  int64_t committed_ = 0;
  int64_t reserved_ = 0;
  std::vector<PageId> pages_; // [pagesFor(reserved_)]
};

} // namespace platen::cache
