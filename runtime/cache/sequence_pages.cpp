// Growth and shrinking of one sequence's page table.
#include "runtime/cache/sequence_pages.h"

#include <algorithm>
#include <string>

namespace platen::cache {

SequencePages::SequencePages(SequencePages &&other) noexcept
    : pool_(other.pool_), page_tokens_(other.page_tokens_),
      committed_(std::exchange(other.committed_, 0)), reserved_(std::exchange(other.reserved_, 0)),
      pages_(std::exchange(other.pages_, {})) {}

SequencePages &SequencePages::operator=(SequencePages &&other) noexcept {
  if (this == &other)
    return *this;
  clear();
  pool_ = other.pool_;
  page_tokens_ = other.page_tokens_;
  committed_ = std::exchange(other.committed_, 0);
  reserved_ = std::exchange(other.reserved_, 0);
  pages_ = std::exchange(other.pages_, {});
  return *this;
}

base::Status SequencePages::reserve(int64_t tokens) {
  if (tokens <= reserved_)
    return {};
  int64_t missing = pagesFor(tokens, page_tokens_) - static_cast<int64_t>(pages_.size());
  if (!pool_->allocate(missing, pages_))
    return base::resourceExhausted("position " + std::to_string(tokens - 1) + " needs " +
                                   std::to_string(missing) + " more KV pages of " +
                                   std::to_string(page_tokens_) + " tokens, but only " +
                                   std::to_string(pool_->freePages()) + " of " +
                                   std::to_string(pool_->totalPages()) + " are free");
  reserved_ = tokens;
  return {};
}

base::Status SequencePages::commit(int64_t tokens) {
  if (tokens < committed_ || tokens > reserved_)
    return base::internalError("commit of " + std::to_string(tokens) + " positions outside of [" +
                               std::to_string(committed_) + " committed, " +
                               std::to_string(reserved_) + " reserved]");
  committed_ = tokens;
  return {};
}

void SequencePages::rollBack(int64_t tokens) {
  tokens = std::max<int64_t>(tokens, 0);
  if (tokens >= reserved_)
    return;
  reserved_ = tokens;
  committed_ = std::min(committed_, tokens);
  auto kept = static_cast<size_t>(pagesFor(tokens, page_tokens_));
  while (pages_.size() > kept) {
    // Never false: the table owns its pages exclusively (cache tests hold this for random
    // histories).
    (void)pool_->release(pages_.back());
    pages_.pop_back();
  }
}

} // namespace platen::cache
