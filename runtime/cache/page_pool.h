// The pool of KV cache pages: which page numbers are free.
//
// One page number covers `page_tokens` positions in every layer of the model; the bytes belong to
// the device, so a page is only a number here. Allocation and release are O(1) a page. A page has
// exactly one owner; sharing prefixes later means counting owners inside release(), the only place
// where a page becomes free.
//
// Not thread-safe: the engine's stepping thread owns the pool.
#pragma once

#include <cstdint>
#include <vector>

namespace platen::cache {

using PageId = int32_t;
inline constexpr PageId kNoPage = -1; ///< an absent entry of a page table

class PagePool {
public:
  /// Pages are numbered [0, pages).
  explicit PagePool(int64_t pages);

  int64_t totalPages() const { return static_cast<int64_t>(owned_.size()); }
  int64_t freePages() const { return static_cast<int64_t>(free_.size()); }
  bool isOwned(PageId page) const;

  /// Appends `count` pages to `pages`, or takes none and returns false when fewer are free.
  [[nodiscard]] bool allocate(int64_t count, std::vector<PageId> &pages);
  /// Gives one page back. Returns false (and changes nothing) for a page that nobody owns.
  [[nodiscard]] bool release(PageId page);

private:
  std::vector<PageId> free_;   // a stack: the page freed last is the likeliest to be warm
  std::vector<uint8_t> owned_; // [pages] 1 while allocated
};

} // namespace platen::cache
