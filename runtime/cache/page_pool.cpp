// A stack of free page numbers, and one byte a page that says whether it is owned.
#include "runtime/cache/page_pool.h"

#include <algorithm>

namespace platen::cache {

PagePool::PagePool(int64_t pages) {
  int64_t count = std::clamp<int64_t>(pages, 0, INT32_MAX);
  owned_.assign(static_cast<size_t>(count), 0);
  free_.reserve(static_cast<size_t>(count));
  for (int64_t page = count; page-- > 0;)
    free_.push_back(static_cast<PageId>(page));
}

bool PagePool::isOwned(PageId page) const {
  return page >= 0 && page < totalPages() && owned_[static_cast<size_t>(page)] != 0;
}

bool PagePool::allocate(int64_t count, std::vector<PageId> &pages) {
  if (count < 0 || count > freePages())
    return false;
  for (int64_t i = 0; i < count; ++i) {
    PageId page = free_.back();
    free_.pop_back();
    owned_[static_cast<size_t>(page)] = 1;
    pages.push_back(page);
  }
  return true;
}

bool PagePool::release(PageId page) {
  if (!isOwned(page))
    return false;
  owned_[static_cast<size_t>(page)] = 0;
  free_.push_back(page);
  return true;
}

} // namespace platen::cache
