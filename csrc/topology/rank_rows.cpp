#include "topology/rank_rows.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "common/simd.h"
#include "topology/rank_lanes.h"

namespace mk::topology {

namespace {

// First lane of a non-zero mask.
template <class L>
[[gnu::always_inline]] inline int first_lane(uint64_t mask) {
  return std::countr_zero(mask) / L::mask_bits;
}

template <class L, class R>
[[gnu::always_inline]] inline typename L::Ranks greatest_of(const R* const* rows, int count, int64_t x) {
  typename L::Ranks top = L::load(rows[0] + x);
  for (int i = 1; i < count; ++i) top = L::greatest(top, L::load(rows[i] + x));
  return top;
}

template <class L, class R>
[[gnu::always_inline]] inline void greatest(const R* const* rows, int count, int64_t width, R* out) {
  for (int64_t x = 0; x < width; x += L::lanes) L::store(out + x, greatest_of<L>(rows, count, x));
}

template <class L, class R>
[[gnu::always_inline]] inline R lowest_lane(const typename L::Ranks& ranks) {
  R lanes[L::lanes];
  L::store(lanes, ranks);
  typedef R Quarter __attribute__((vector_size(16)));
  constexpr int quarter = 16 / sizeof(R);
  Quarter low;
  std::memcpy(&low, lanes, sizeof low);
  for (int i = quarter; i < L::lanes; i += quarter) {
    Quarter other;
    std::memcpy(&other, lanes + i, sizeof other);
    low = other < low ? other : low;
  }
  R lowest = low[0];
  for (int i = 1; i < quarter; ++i) lowest = std::min<R>(lowest, low[i]);
  return lowest;
}

template <class L, class R>
[[gnu::always_inline]] inline R least(const R* row, int64_t width) {
  typename L::Ranks low = L::load(row);
  for (int64_t x = L::lanes; x < width; x += L::lanes) low = L::least(low, L::load(row + x));
  return lowest_lane<L, R>(low);
}

template <class L, class R>
[[gnu::always_inline]] inline int64_t first_within(const R* const* rows, int count, int64_t width, R limit) {
  const typename L::Ranks top = L::all(limit);
  for (int64_t x = 0; x < width; x += L::lanes) {
    uint64_t inside = L::within(L::load(rows[0] + x), top);
    for (int i = 1; i < count; ++i) inside &= L::within(L::load(rows[i] + x), top);
    if (inside != 0) return x + first_lane<L>(inside);
  }
  return -1;
}

template <class L, class R>
[[gnu::always_inline]] inline int64_t between(const R* const* rows, int count, int64_t width, R low, R high,
                                              int32_t* indices, R* values) {
  constexpr uint64_t lane_bits = (uint64_t{1} << L::mask_bits) - 1;
  const typename L::Ranks bottom = L::all(low), top = L::all(high);
  int64_t found = 0;
  for (int64_t x = 0; x < width; x += L::lanes) {
    const typename L::Ranks m = greatest_of<L>(rows, count, x);
    uint64_t inside = L::within(bottom, m) & L::within(m, top);
    if (inside == 0) continue;
    R lanes[L::lanes];
    L::store(lanes, m);
    while (inside != 0) {
      const int lane = first_lane<L>(inside);
      inside &= ~(lane_bits << (lane * L::mask_bits));
      indices[found] = static_cast<int32_t>(x + lane);
      values[found++] = lanes[lane];
    }
  }
  return found;
}

// First x that is among the common neighbours by `s` but not adjacent to w by `s`, or -1.
template <class L, class R>
[[gnu::always_inline]] inline int64_t first_outside(const R* common, const R* w, int64_t width,
                                                    const typename L::Ranks& s) {
  for (int64_t x = 0; x < width; x += L::lanes) {
    const uint64_t outside = L::within(L::load(common + x), s) & ~L::within(L::load(w + x), s);
    if (outside != 0) return x + first_lane<L>(outside);
  }
  return -1;
}

template <class L, class R>
[[gnu::always_inline]] inline R settle(const R* ranks, int64_t width, int32_t u, int32_t v, R* scratch) {
  constexpr R absent = std::numeric_limits<R>::max();
  R* common = scratch;              // when x becomes a common neighbour
  R* candidates = scratch + width;  // the same for those that may still dominate, else absent
  const R* ends[] = {ranks + u * width, ranks + v * width};
  R s = ends[0][v];
  greatest<L>(ends, 2, width, common);
  common[u] = common[v] = absent;
  for (;;) {
    const typename L::Ranks now = L::all(s);
    for (int64_t x = 0; x < width; x += L::lanes) {
      const typename L::Ranks c = L::load(common + x);
      L::store(candidates + x, L::keep_within(c, c, now));
    }
    // The candidate that is nearest to both ends is tried first; a common neighbour that it does not reach rules out
    // all others that do not reach it either.
    const R* dominator = nullptr;
    for (;;) {
      const R nearest = least<L>(candidates, width);
      if (nearest == absent) return s;
      const R* const row = candidates;
      dominator = ranks + first_within<L>(&row, 1, width, nearest) * width;
      const int64_t missed = first_outside<L>(common, dominator, width, now);
      if (missed < 0) break;
      const R* reached = ranks + missed * width;
      for (int64_t x = 0; x < width; x += L::lanes)
        L::store(candidates + x, L::keep_within(L::load(candidates + x), L::load(reached + x), now));
    }
    // It dominates until a common neighbour appears that it is not adjacent to by then.
    typename L::Ranks next = L::all(absent);
    for (int64_t x = 0; x < width; x += L::lanes) {
      const typename L::Ranks c = L::load(common + x);
      next = L::least(next, L::keep_beyond(L::keep_beyond(c, c, now), L::load(dominator + x), c));
    }
    s = lowest_lane<L, R>(next);
    if (s == absent) return absent;
  }
}

// The loops above for each instruction set.
template <class R>
struct BaselineRows {
  using L = BaselineLanes<R>;
  static void greatest_rows(const R* const* rows, int count, int64_t width, R* out) {
    greatest<L>(rows, count, width, out);
  }
  static R least_of(const R* row, int64_t width) { return least<L>(row, width); }
  static int64_t first(const R* const* rows, int count, int64_t width, R limit) {
    return first_within<L>(rows, count, width, limit);
  }
  static int64_t listed(const R* const* rows, int count, int64_t width, R low, R high, int32_t* x, R* m) {
    return between<L>(rows, count, width, low, high, x, m);
  }
  static R settled(const R* ranks, int64_t width, int32_t u, int32_t v, R* scratch) {
    return settle<L>(ranks, width, u, v, scratch);
  }
};
#if defined(__x86_64__)
template <class R>
struct Avx2Rows {
  using L = Avx2Lanes<R>;
  [[gnu::target("avx2,bmi")]] static void greatest_rows(const R* const* rows, int count, int64_t width, R* out) {
    greatest<L>(rows, count, width, out);
  }
  [[gnu::target("avx2,bmi")]] static R least_of(const R* row, int64_t width) { return least<L>(row, width); }
  [[gnu::target("avx2,bmi")]] static int64_t first(const R* const* rows, int count, int64_t width, R limit) {
    return first_within<L>(rows, count, width, limit);
  }
  [[gnu::target("avx2,bmi")]] static int64_t listed(const R* const* rows, int count, int64_t width, R low, R high,
                                                    int32_t* x, R* m) {
    return between<L>(rows, count, width, low, high, x, m);
  }
  [[gnu::target("avx2,bmi")]] static R settled(const R* ranks, int64_t width, int32_t u, int32_t v, R* scratch) {
    return settle<L>(ranks, width, u, v, scratch);
  }
};
template <class R>
struct Avx512Rows {
  using L = Avx512Lanes<R>;
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,bmi")]] static void greatest_rows(const R* const* rows, int count,
                                                                                      int64_t width, R* out) {
    greatest<L>(rows, count, width, out);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,bmi")]] static R least_of(const R* row, int64_t width) {
    return least<L>(row, width);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,bmi")]] static int64_t first(const R* const* rows, int count,
                                                                                 int64_t width, R limit) {
    return first_within<L>(rows, count, width, limit);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,bmi")]] static int64_t listed(const R* const* rows, int count,
                                                                                  int64_t width, R low, R high,
                                                                                  int32_t* x, R* m) {
    return between<L>(rows, count, width, low, high, x, m);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,bmi")]] static R settled(const R* ranks, int64_t width, int32_t u,
                                                                             int32_t v, R* scratch) {
    return settle<L>(ranks, width, u, v, scratch);
  }
};
#endif

template <class R, template <class> class Rows>
RankRows<R> rows_of() {
  return {Rows<R>::greatest_rows, Rows<R>::least_of, Rows<R>::first, Rows<R>::listed, Rows<R>::settled};
}

template <class R>
RankRows<R> choose() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return rows_of<R, Avx512Rows>();
  if (simd::level() == simd::Level::avx2) return rows_of<R, Avx2Rows>();
#endif
  return rows_of<R, BaselineRows>();
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
