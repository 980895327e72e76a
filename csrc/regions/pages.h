// Tables that are not initialised, large enough for the worst case. Pages that are never touched cost nothing; those
// that are touched come, in large tables, in pieces of 2 MiB, which is several times as fast as page by page.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace mk::regions {

struct FreePages {
  void operator()(void* memory) const { std::free(memory); }
};

template <class T>
using Pages = std::unique_ptr<T[], FreePages>;

template <class T>
Pages<T> allocate_pages(int64_t count) {
  static_assert(std::is_trivially_destructible_v<T>);
  constexpr size_t piece = size_t{2} << 20, line = 64;
  const size_t bytes = static_cast<size_t>(count) * sizeof(T);
  const size_t alignment = bytes >= piece ? piece : line;
  const size_t rounded = (bytes / alignment + 1) * alignment;
  void* const memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  if (alignment == piece) madvise(memory, rounded, MADV_HUGEPAGE);  // advice: nothing is lost if it is not followed
#endif
  return Pages<T>(static_cast<T*>(memory));
}

}  // namespace mk::regions
