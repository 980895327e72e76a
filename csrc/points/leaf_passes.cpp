#include "points/leaf_passes.h"

#include <algorithm>
#include <bit>

#include "common/double_lanes.h"

namespace mk::points {

namespace {

template <class L>
[[gnu::always_inline]] inline int approach_in(const double* values, int64_t dimensions, const double* query,
                                              double* nearest) {
  using V = typename L::V;
  typename V::Real most = V::broadcast(-1);
  for (int64_t i = 0; i < kLeaf; i += V::lanes) {
    typename V::Real sum{};
    for (int64_t d = 0; d < dimensions; ++d) {
      const typename V::Real apart = V::load(values + d * kLeaf + i) - V::broadcast(query[d]);
      sum = sum + apart * apart;
    }
    const typename V::Real old = V::load(nearest + i), now = L::choose(sum, old, sum, old);
    V::store(nearest + i, now);
    most = L::choose(most, now, now, most);
  }
  double greatest = most[0];
  for (int lane = 1; lane < V::lanes; ++lane) greatest = std::max(greatest, most[lane]);
  uint32_t found = 0;
  for (int64_t i = 0; i < kLeaf; i += V::lanes)
    found |= L::not_above(V::broadcast(greatest), V::load(nearest + i)) << i;
  return std::countr_zero(found);
}

// The square of the gap between a point and a box, for lanes of points or of boxes.
template <class L>
[[gnu::always_inline]] inline typename L::V::Real gap_squared(const typename L::V::Real& point,
                                                              const typename L::V::Real& low,
                                                              const typename L::V::Real& high) {
  const typename L::V::Real zero{}, below = low - point, above = point - high;
  const typename L::V::Real outside = L::choose(below, above, above, below);
  const typename L::V::Real gap = L::choose(outside, zero, zero, outside);
  return gap * gap;
}

template <class L>
[[gnu::always_inline]] inline uint32_t touch_in(const double* low, const double* high, int64_t dimensions,
                                                const double* query, const double* limits) {
  using V = typename L::V;
  uint32_t apart = 0;
  for (int64_t i = 0; i < kFan; i += V::lanes) {
    typename V::Real sum{};
    for (int64_t d = 0; d < dimensions; ++d)
      sum = sum + gap_squared<L>(V::broadcast(query[d]), V::load(low + d * kFan + i), V::load(high + d * kFan + i));
    apart |= L::not_above(V::load(limits + i), sum) << i;
  }
  return ~apart & ((1u << kFan) - 1);
}

// From the end, so that what a place takes from the place before it is still the old value.
template <class L>
[[gnu::always_inline]] inline bool insert_in(double* keys, double* others, int64_t length, double key, double other) {
  using V = typename L::V;
  const typename V::Real new_key = V::broadcast(key), new_other = V::broadcast(other);
  uint32_t equal = 0;
  typename V::Real own = V::load(keys + length - V::lanes), beside = V::load(others + length - V::lanes);
  for (int64_t i = length - V::lanes; i >= 0; i -= V::lanes) {
    const typename V::Real lower = V::load(keys + i - V::lanes), lower_beside = V::load(others + i - V::lanes);
    const typename V::Real before = L::shift(lower, own);
    const typename V::Real moved = L::choose(before, new_key, new_key, before);
    const typename V::Real moved_beside = L::choose(before, new_key, new_other, L::shift(lower_beside, beside));
    equal |= L::not_above(own, new_key) & L::not_above(new_key, own);
    V::store(keys + i, L::choose(own, new_key, own, moved));
    V::store(others + i, L::choose(own, new_key, beside, moved_beside));
    own = lower;
    beside = lower_beside;
  }
  return equal != 0;
}

// Each instruction set needs functions of its own marked with its target.
struct Baseline {
  using L = simd::BaselineDoubles;
  static int approach(const double* values, int64_t dimensions, const double* query, double* nearest) {
    if (dimensions == 3) return approach_in<L>(values, 3, query, nearest);
    return approach_in<L>(values, dimensions, query, nearest);
  }
  static uint32_t touch(const double* low, const double* high, int64_t dimensions, const double* query,
                        const double* limits) {
    if (dimensions == 3) return touch_in<L>(low, high, 3, query, limits);
    return touch_in<L>(low, high, dimensions, query, limits);
  }
  static bool insert(double* keys, double* others, int64_t length, double key, double other) {
    return insert_in<L>(keys, others, length, key, other);
  }
};
#if defined(__x86_64__)
struct Avx2 {
  using L = simd::Avx2Doubles;
  [[gnu::target("avx2")]] static int approach(const double* values, int64_t dimensions, const double* query,
                                              double* nearest) {
    if (dimensions == 3) return approach_in<L>(values, 3, query, nearest);
    return approach_in<L>(values, dimensions, query, nearest);
  }
  [[gnu::target("avx2")]] static uint32_t touch(const double* low, const double* high, int64_t dimensions,
                                                const double* query, const double* limits) {
    if (dimensions == 3) return touch_in<L>(low, high, 3, query, limits);
    return touch_in<L>(low, high, dimensions, query, limits);
  }
  [[gnu::target("avx2")]] static bool insert(double* keys, double* others, int64_t length, double key, double other) {
    return insert_in<L>(keys, others, length, key, other);
  }
};
struct Avx512 {
  using L = simd::Avx512Doubles;
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static int approach(const double* values, int64_t dimensions,
                                                                   const double* query, double* nearest) {
    if (dimensions == 3) return approach_in<L>(values, 3, query, nearest);
    return approach_in<L>(values, dimensions, query, nearest);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static uint32_t touch(const double* low, const double* high,
                                                                     int64_t dimensions, const double* query,
                                                                     const double* limits) {
    if (dimensions == 3) return touch_in<L>(low, high, 3, query, limits);
    return touch_in<L>(low, high, dimensions, query, limits);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static bool insert(double* keys, double* others, int64_t length,
                                                                  double key, double other) {
    return insert_in<L>(keys, others, length, key, other);
  }
};
#endif

template <class Passes>
constexpr LeafPasses kPasses{&Passes::approach, &Passes::touch, &Passes::insert};

}  // namespace

const LeafPasses& leaf_passes() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return kPasses<Avx512>;
  if (simd::level() == simd::Level::avx2) return kPasses<Avx2>;
#endif
  return kPasses<Baseline>;
}

}  // namespace mk::points
