#include "topology/rank_rows.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/simd.h"

namespace mk::topology {

namespace {

// 64 bytes; the compiler splits them where registers are smaller.
template <class R>
struct Block {
  typedef R Ranks __attribute__((vector_size(64)));
  typedef uint64_t Words __attribute__((vector_size(64)));
  static constexpr int64_t lanes = 64 / sizeof(R);
};

template <class R>
[[gnu::always_inline]] inline typename Block<R>::Ranks load(const R* at) {
  typename Block<R>::Ranks ranks;
  std::memcpy(&ranks, at, sizeof ranks);
  return ranks;
}

template <class V>
[[gnu::always_inline]] inline bool any(const V& mask) {
  typename Block<uint64_t>::Words words;
  std::memcpy(&words, &mask, sizeof words);
  uint64_t all = 0;
  for (int i = 0; i < 8; ++i) all |= words[i];
  return all != 0;
}

template <class R>
[[gnu::always_inline]] inline void greatest(const R* const* rows, int count, int64_t width, R* out) {
  for (int64_t x = 0; x < width; x += Block<R>::lanes) {
    auto top = load(rows[0] + x);
    for (int i = 1; i < count; ++i) {
      const auto other = load(rows[i] + x);
      top = other > top ? other : top;
    }
    std::memcpy(out + x, &top, sizeof top);
  }
}

template <class R>
[[gnu::always_inline]] inline R least(const R* row, int64_t width) {
  auto low = load(row);
  for (int64_t x = Block<R>::lanes; x < width; x += Block<R>::lanes) {
    const auto other = load(row + x);
    low = other < low ? other : low;
  }
  R lowest = low[0];
  for (int64_t i = 1; i < Block<R>::lanes; ++i) lowest = std::min<R>(lowest, low[i]);
  return lowest;
}

template <class R>
[[gnu::always_inline]] inline int64_t first_within(const R* const* rows, int count, int64_t width, R limit) {
  for (int64_t x = 0; x < width; x += Block<R>::lanes) {
    auto inside = load(rows[0] + x) <= limit;
    for (int i = 1; i < count; ++i) inside &= load(rows[i] + x) <= limit;
    if (!any(inside)) continue;
    for (int64_t i = 0; i < Block<R>::lanes; ++i)
      if (inside[i]) return x + i;
  }
  return -1;
}

template <class R>
[[gnu::always_inline]] inline int64_t between(const R* const* rows, int count, int64_t width, R low, R high,
                                              int32_t* indices, R* values) {
  int64_t found = 0;
  for (int64_t x = 0; x < width; x += Block<R>::lanes) {
    auto top = load(rows[0] + x);
    for (int i = 1; i < count; ++i) {
      const auto other = load(rows[i] + x);
      top = other > top ? other : top;
    }
    const auto inside = (top >= low) & (top <= high);
    if (!any(inside)) continue;
    for (int64_t i = 0; i < Block<R>::lanes; ++i) {
      if (!inside[i]) continue;
      indices[found] = static_cast<int32_t>(x + i);
      values[found++] = top[i];
    }
  }
  return found;
}

// First x that is among the common neighbours by `s` but not adjacent to w by `s`, or -1.
template <class R>
[[gnu::always_inline]] inline int64_t first_outside(const R* common, const R* w, int64_t width, R s) {
  for (int64_t x = 0; x < width; x += Block<R>::lanes) {
    const auto outside = (load(common + x) <= s) & (load(w + x) > s);
    if (!any(outside)) continue;
    for (int64_t i = 0; i < Block<R>::lanes; ++i)
      if (outside[i]) return x + i;
  }
  return -1;
}

template <class R>
[[gnu::always_inline]] inline int64_t index_of(const R* row, int64_t width, R value) {
  for (int64_t x = 0; x < width; x += Block<R>::lanes) {
    const auto equal = load(row + x) == value;
    if (!any(equal)) continue;
    for (int64_t i = 0; i < Block<R>::lanes; ++i)
      if (equal[i]) return x + i;
  }
  return -1;
}

template <class R>
[[gnu::always_inline]] inline R settle(const R* ranks, int64_t width, int32_t u, int32_t v, R* scratch) {
  constexpr R absent = std::numeric_limits<R>::max();
  R* common = scratch;              // when x becomes a common neighbour
  R* candidates = scratch + width;  // the same for those that may still dominate, else absent
  const R* ends[] = {ranks + u * width, ranks + v * width};
  R s = ends[0][v];
  greatest(ends, 2, width, common);
  common[u] = common[v] = absent;
  for (;;) {
    const R now = s;
    for (int64_t x = 0; x < width; x += Block<R>::lanes) {
      const auto c = load(common + x);
      const auto kept = c <= now ? c : (c | absent);
      std::memcpy(candidates + x, &kept, sizeof kept);
    }
    // The candidate that is nearest to both ends is tried first; a common neighbour that it does not reach rules out
    // all others that do not reach it either.
    const R* dominator = nullptr;
    for (;;) {
      const R nearest = least(candidates, width);
      if (nearest == absent) return now;
      dominator = ranks + index_of(candidates, width, nearest) * width;
      const int64_t missed = first_outside(common, dominator, width, now);
      if (missed < 0) break;
      const R* row = ranks + missed * width;
      for (int64_t x = 0; x < width; x += Block<R>::lanes) {
        const auto c = load(candidates + x);
        const auto kept = load(row + x) <= now ? c : (c | absent);
        std::memcpy(candidates + x, &kept, sizeof kept);
      }
    }
    // It dominates until a common neighbour appears that it is not adjacent to by then.
    auto next = load(common) | absent;
    for (int64_t x = 0; x < width; x += Block<R>::lanes) {
      const auto c = load(common + x);
      const auto lost = ((c > now) & (load(dominator + x) > c)) ? c : (c | absent);
      next = lost < next ? lost : next;
    }
    s = next[0];
    for (int64_t i = 1; i < Block<R>::lanes; ++i) s = std::min<R>(s, next[i]);
    if (s == absent) return absent;
  }
}

// The loops above for each instruction set.
#if defined(__x86_64__)
template <class R>
struct Avx512 {
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] static void greatest_rows(const R* const* rows, int count,
                                                                                  int64_t width, R* out) {
    greatest(rows, count, width, out);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] static R least_of(const R* row, int64_t width) {
    return least(row, width);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] static int64_t first(const R* const* rows, int count,
                                                                             int64_t width, R limit) {
    return first_within(rows, count, width, limit);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] static int64_t listed(const R* const* rows, int count,
                                                                              int64_t width, R low, R high, int32_t* x,
                                                                              R* m) {
    return between(rows, count, width, low, high, x, m);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] static R settled(const R* ranks, int64_t width, int32_t u,
                                                                         int32_t v, R* scratch) {
    return settle(ranks, width, u, v, scratch);
  }
};
template <class R>
struct Avx2 {
  [[gnu::target("avx2")]] static void greatest_rows(const R* const* rows, int count, int64_t width, R* out) {
    greatest(rows, count, width, out);
  }
  [[gnu::target("avx2")]] static R least_of(const R* row, int64_t width) { return least(row, width); }
  [[gnu::target("avx2")]] static int64_t first(const R* const* rows, int count, int64_t width, R limit) {
    return first_within(rows, count, width, limit);
  }
  [[gnu::target("avx2")]] static int64_t listed(const R* const* rows, int count, int64_t width, R low, R high,
                                                int32_t* x, R* m) {
    return between(rows, count, width, low, high, x, m);
  }
  [[gnu::target("avx2")]] static R settled(const R* ranks, int64_t width, int32_t u, int32_t v, R* scratch) {
    return settle(ranks, width, u, v, scratch);
  }
};
#endif

template <class R>
struct Baseline {
  static void greatest_rows(const R* const* rows, int count, int64_t width, R* out) {
    greatest(rows, count, width, out);
  }
  static R least_of(const R* row, int64_t width) { return least(row, width); }
  static int64_t first(const R* const* rows, int count, int64_t width, R limit) {
    return first_within(rows, count, width, limit);
  }
  static int64_t listed(const R* const* rows, int count, int64_t width, R low, R high, int32_t* x, R* m) {
    return between(rows, count, width, low, high, x, m);
  }
  static R settled(const R* ranks, int64_t width, int32_t u, int32_t v, R* scratch) {
    return settle(ranks, width, u, v, scratch);
  }
};

template <class R, template <class> class Isa>
RankRows<R> rows_of() {
  return {Isa<R>::greatest_rows, Isa<R>::least_of, Isa<R>::first, Isa<R>::listed, Isa<R>::settled};
}

template <class R>
RankRows<R> choose() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return rows_of<R, Avx512>();
  if (simd::level() == simd::Level::avx2) return rows_of<R, Avx2>();
#endif
  return rows_of<R, Baseline>();
}

}  // namespace

template <class R>
const RankRows<R>& rank_rows() {
  static const RankRows<R> chosen = choose<R>();
  return chosen;
}

template const RankRows<uint16_t>& rank_rows<uint16_t>();
template const RankRows<uint32_t>& rank_rows<uint32_t>();

}  // namespace mk::topology
