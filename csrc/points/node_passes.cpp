#include "points/node_passes.h"

#include <algorithm>
#include <bit>

#include "points/distance_lanes.h"

namespace mk::points {

namespace {

// With more coordinates than kAtOnce it is looked after each kTogether whether any point is near enough.
constexpr int64_t kAtOnce = 16, kTogether = 8;

template <class L, int64_t kRegisters>
[[gnu::always_inline]] inline uint32_t within(const typename L::Real (&squared)[kRegisters],
                                              const typename L::Real& bound) {
  uint32_t found = 0;
  for (int64_t r = 0; r < kRegisters; ++r) found |= L::not_above(squared[r], bound) << (r * L::V::lanes);
  return found;
}

// Bit i of the result is bit (i ^ with) of the bits. Box i ^ with, with rising i, is about as far from box `with` as
// their splits are high up.
[[gnu::always_inline]] inline uint32_t crossed(uint32_t bits, int with) {
  if (with & 1) bits = (bits & 0x5555) << 1 | (bits >> 1 & 0x5555);
  if (with & 2) bits = (bits & 0x3333) << 2 | (bits >> 2 & 0x3333);
  if (with & 4) bits = (bits & 0x0f0f) << 4 | (bits >> 4 & 0x0f0f);
  if (with & 8) bits = (bits & 0x00ff) << 8 | (bits >> 8 & 0x00ff);
  return bits;
}

template <class L, class T>
[[gnu::always_inline]] inline void gaps_in(const T* low, const T* high, int64_t dimensions, const T* query,
                                           typename L::Real (&sums)[kFan / L::V::lanes]) {
  using V = typename L::V;
  constexpr int64_t registers = kFan / V::lanes;
  const typename L::Real zero{};
  for (int64_t r = 0; r < registers; ++r) sums[r] = zero;
  for (int64_t d = 0; d < dimensions; ++d) {
    const typename L::Real at = V::broadcast(query[d]);
    for (int64_t r = 0; r < registers; ++r) {
      const typename L::Real below = V::load(low + d * kFan + r * V::lanes) - at;
      const typename L::Real above = at - V::load(high + d * kFan + r * V::lanes);
      const typename L::Real gap = L::greater(L::greater(below, above), zero);
      sums[r] = L::fused(gap, gap, sums[r]);
    }
  }
}

template <class L, class T>
[[gnu::always_inline]] inline uint32_t node_gaps(const T* low, const T* high, int64_t dimensions, const T* query,
                                                 T bound, T* squared) {
  using V = typename L::V;
  typename L::Real sums[kFan / V::lanes];
  gaps_in<L>(low, high, dimensions, query, sums);
  for (int64_t r = 0; r < kFan / V::lanes; ++r) V::store(squared + r * V::lanes, sums[r]);
  return within<L>(sums, V::broadcast(bound));
}

template <class L, class T>
[[gnu::always_inline]] inline uint32_t box_reach(const T* queries, int64_t dimensions, const T* low, const T* high,
                                                 const T* bounds) {
  using V = typename L::V;
  constexpr int64_t registers = kLeaf / V::lanes;
  const typename L::Real zero{};
  typename L::Real sums[registers]{};
  for (int64_t d = 0; d < dimensions; ++d) {
    const typename L::Real from = V::broadcast(low[d * kFan]), to = V::broadcast(high[d * kFan]);
    for (int64_t r = 0; r < registers; ++r) {
      const typename L::Real at = V::load(queries + d * kLeaf + r * V::lanes);
      const typename L::Real gap = L::greater(L::greater(from - at, at - to), zero);
      sums[r] = L::fused(gap, gap, sums[r]);
    }
  }
  uint32_t found = 0;
  for (int64_t r = 0; r < registers; ++r)
    found |= L::not_above(sums[r], V::load(bounds + r * V::lanes)) << (r * V::lanes);
  return found;
}

template <class L, class T>
[[gnu::always_inline]] inline void node_visit(const T* low, const T* high, const T* values, int64_t dimensions,
                                              const T* query, T bound, int nearest, void* search,
                                              typename NodePasses<T>::Hit hit) {
  using V = typename L::V;
  constexpr int64_t registers = kLeaf / V::lanes;
  typename L::Real gaps[kFan / V::lanes], limit = V::broadcast(bound);
  gaps_in<L>(low, high, dimensions, query, gaps);
  for (uint32_t left = crossed(within<L>(gaps, limit), nearest); left;) {
    const int leaf = std::countr_zero(left) ^ nearest;
    left &= left - 1;
    const T* own = values + leaf * dimensions * kLeaf;
    typename L::Real sums[registers]{};
    uint32_t found = 0;
    for (int64_t d = 0; d < dimensions;) {
      const int64_t end = dimensions <= kAtOnce ? dimensions : std::min(dimensions, d + kTogether);
#pragma GCC unroll 4
      for (; d < end; ++d) {
        const typename L::Real at = V::broadcast(query[d]);
        for (int64_t r = 0; r < registers; ++r) {
          const typename L::Real apart = V::load(own + d * kLeaf + r * V::lanes) - at;
          sums[r] = L::fused(apart, apart, sums[r]);
        }
      }
      found = within<L>(sums, limit);
      if (!found) break;
    }
    if (found) {
      limit = V::broadcast(hit(search, leaf, found));
      left &= crossed(within<L>(gaps, limit), nearest);
    }
  }
}

// L: lanes of doubles.
template <class L, class T>
[[gnu::always_inline]] inline uint32_t leaf_near(const T* values, int64_t dimensions, const T* query, double limit,
                                                 uint32_t candidates, double* squared) {
  using V = typename L::V;
  constexpr int64_t registers = 2, step = registers * V::lanes;
  const typename L::Real bound = V::broadcast(limit);
  uint32_t found = 0;
  for (int64_t i = 0; i < kLeaf; i += step) {
    // A branch that is hard to foretell pays where sums are long.
    if (dimensions > kAtOnce && !(candidates >> i & ((1u << step) - 1))) continue;
    typename L::Real sums[registers]{};
    for (int64_t d = 0; d < dimensions; ++d) {
      const typename L::Real at = V::broadcast(query[d]);
      for (int64_t r = 0; r < registers; ++r) {
        const typename L::Real apart = L::widened(values + d * kLeaf + i + r * V::lanes) - at;
        sums[r] = sums[r] + apart * apart;
      }
    }
    for (int64_t r = 0; r < registers; ++r) {
      V::store(squared + i + r * V::lanes, sums[r]);
      found |= L::not_above(sums[r], bound) << (i + r * V::lanes);
    }
  }
  return found & candidates;
}

// Each instruction set needs functions of its own marked with its target.
template <class T>
struct Baseline {
  using L = BaselineDistances<T>;
  static uint32_t gaps(const T* low, const T* high, int64_t dimensions, const T* query, T bound, T* squared) {
    return node_gaps<L>(low, high, dimensions, query, bound, squared);
  }
  static uint32_t reach(const T* queries, int64_t dimensions, const T* low, const T* high, const T* bounds) {
    return box_reach<L>(queries, dimensions, low, high, bounds);
  }
  static void visit(const T* low, const T* high, const T* values, int64_t dimensions, const T* query, T bound,
                    int nearest, void* search, typename NodePasses<T>::Hit hit) {
    if (dimensions == 3) return node_visit<L>(low, high, values, 3, query, bound, nearest, search, hit);
    node_visit<L>(low, high, values, dimensions, query, bound, nearest, search, hit);
  }
  static uint32_t near(const T* values, int64_t dimensions, const T* query, double limit, uint32_t candidates,
                       double* squared) {
    return leaf_near<BaselineDistances<double>>(values, dimensions, query, limit, candidates, squared);
  }
};
#if defined(__x86_64__)
template <class T>
struct Avx2 {
  using L = Avx2Distances<T>;
  [[gnu::target("avx2,fma")]] static uint32_t gaps(const T* low, const T* high, int64_t dimensions, const T* query,
                                                   T bound, T* squared) {
    return node_gaps<L>(low, high, dimensions, query, bound, squared);
  }
  [[gnu::target("avx2,fma")]] static uint32_t reach(const T* queries, int64_t dimensions, const T* low, const T* high,
                                                    const T* bounds) {
    return box_reach<L>(queries, dimensions, low, high, bounds);
  }
  [[gnu::target("avx2,fma")]] static void visit(const T* low, const T* high, const T* values, int64_t dimensions,
                                                const T* query, T bound, int nearest, void* search,
                                                typename NodePasses<T>::Hit hit) {
    if (dimensions == 3) return node_visit<L>(low, high, values, 3, query, bound, nearest, search, hit);
    node_visit<L>(low, high, values, dimensions, query, bound, nearest, search, hit);
  }
  [[gnu::target("avx2,fma")]] static uint32_t near(const T* values, int64_t dimensions, const T* query, double limit,
                                                   uint32_t candidates, double* squared) {
    return leaf_near<Avx2Distances<double>>(values, dimensions, query, limit, candidates, squared);
  }
};
template <class T>
struct Avx512 {
  using L = Avx512Distances<T>;
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static uint32_t gaps(const T* low, const T* high, int64_t dimensions,
                                                                    const T* query, T bound, T* squared) {
    return node_gaps<L>(low, high, dimensions, query, bound, squared);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static uint32_t reach(const T* queries, int64_t dimensions, const T* low,
                                                                     const T* high, const T* bounds) {
    return box_reach<L>(queries, dimensions, low, high, bounds);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static void visit(const T* low, const T* high, const T* values,
                                                                 int64_t dimensions, const T* query, T bound,
                                                                 int nearest, void* search,
                                                                 typename NodePasses<T>::Hit hit) {
    if (dimensions == 3) return node_visit<L>(low, high, values, 3, query, bound, nearest, search, hit);
    node_visit<L>(low, high, values, dimensions, query, bound, nearest, search, hit);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static uint32_t near(const T* values, int64_t dimensions, const T* query,
                                                                    double limit, uint32_t candidates,
                                                                    double* squared) {
    return leaf_near<Avx512Distances<double>>(values, dimensions, query, limit, candidates, squared);
  }
};
#endif

template <class T, class Passes>
constexpr NodePasses<T> kPasses{&Passes::gaps, &Passes::reach, &Passes::visit, &Passes::near};

}  // namespace

template <class T>
const NodePasses<T>& node_passes() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return kPasses<T, Avx512<T>>;
  if (simd::level() == simd::Level::avx2) return kPasses<T, Avx2<T>>;
#endif
  return kPasses<T, Baseline<T>>;
}

template const NodePasses<float>& node_passes();
template const NodePasses<double>& node_passes();

}  // namespace mk::points
