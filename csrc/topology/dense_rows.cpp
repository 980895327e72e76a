#include "topology/dense_rows.h"

#include <algorithm>
#include <limits>

#include "common/simd.h"
#include "topology/bar_cost.h"
#include "topology/double_lanes.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <Ground ground>
[[gnu::always_inline]] inline void fill_row(double birth, double death, const BarColumns& bars,
                                            double* __restrict cost) {
  const double* __restrict births = bars.birth;
  const double* __restrict deaths = bars.death;
  const double* __restrict leave = bars.leave;
  for (int64_t j = 0; j < bars.padded; ++j)
    cost[j] = bar_distance<ground>(birth - births[j], death - deaths[j]) - leave[j];
}

// The least of all lanes, without branches, which would be guessed wrong.
template <class L>
[[gnu::always_inline]] inline Reached least_lane(const typename L::V::Real& values,
                                                 const typename L::V::Real& columns) {
  double least = kInfinity, column = kInfinity;
  for (int i = 0; i < L::V::lanes; ++i) least = std::min(least, values[i]);
  for (int i = 0; i < L::V::lanes; ++i) column = std::min(column, values[i] == least ? columns[i] : kInfinity);
  return {least, static_cast<int64_t>(column)};
}

template <class L>
[[gnu::always_inline]] inline Bid bid_in(const double* cost, const double* price, int64_t padded) {
  typename L::V::Real best = L::V::broadcast(kInfinity), second = best, where = L::V::broadcast(0), at = L::V::iota();
  for (int64_t j = 0; j < padded; j += L::V::lanes, at += L::V::broadcast(L::V::lanes)) {
    const typename L::V::Real value = L::V::load(cost + j) - L::V::load(price + j);
    second = L::choose(value, best, best, L::choose(value, second, value, second));
    where = L::choose(value, best, at, where);
    best = L::choose(value, best, value, best);
  }
  Bid found{kInfinity, kInfinity, 0};
  const Reached least = least_lane<L>(best, where);
  found.best = least.distance;
  found.column = least.column;
  for (int i = 0; i < L::V::lanes; ++i)
    found.second = std::min(found.second, where[i] == static_cast<double>(found.column) ? second[i] : best[i]);
  return found;
}

template <class L>
[[gnu::always_inline]] inline Reached relax_in(const double* cost, const double* price, double base, double row,
                                               int64_t padded, double* distance, double* previous) {
  typename L::V::Real least = L::V::broadcast(kInfinity), where = L::V::broadcast(0), at = L::V::iota();
  const typename L::V::Real from = L::V::broadcast(base), owner = L::V::broadcast(row);
  for (int64_t j = 0; j < padded; j += L::V::lanes, at += L::V::broadcast(L::V::lanes)) {
    const typename L::V::Real reached = from + (L::V::load(cost + j) - L::V::load(price + j)),
                              old = L::V::load(distance + j);
    const typename L::V::Real now = L::choose(reached, old, reached, old);
    L::V::store(previous + j, L::choose(reached, old, owner, L::V::load(previous + j)));
    L::V::store(distance + j, now);
    where = L::choose(now, least, at, where);
    least = L::choose(now, least, now, least);
  }
  return least_lane<L>(least, where);
}

// Each instruction set needs functions of its own marked with its target.
struct BaselinePasses {
  using L = BaselineDoubles;
  static void euclidean(double birth, double death, const BarColumns& bars, double* cost) {
    fill_row<Ground::euclidean>(birth, death, bars, cost);
  }
  static void maximum(double birth, double death, const BarColumns& bars, double* cost) {
    fill_row<Ground::maximum>(birth, death, bars, cost);
  }
  static Bid bid(const double* cost, const double* price, int64_t padded) { return bid_in<L>(cost, price, padded); }
  static Reached relax(const double* cost, const double* price, double base, double row, int64_t padded,
                       double* distance, double* previous) {
    return relax_in<L>(cost, price, base, row, padded, distance, previous);
  }
};
#if defined(__x86_64__)
struct Avx2Passes {
  using L = Avx2Doubles;
  [[gnu::target("avx2")]] static void euclidean(double birth, double death, const BarColumns& bars, double* cost) {
    fill_row<Ground::euclidean>(birth, death, bars, cost);
  }
  [[gnu::target("avx2")]] static void maximum(double birth, double death, const BarColumns& bars, double* cost) {
    fill_row<Ground::maximum>(birth, death, bars, cost);
  }
  [[gnu::target("avx2")]] static Bid bid(const double* cost, const double* price, int64_t padded) {
    return bid_in<L>(cost, price, padded);
  }
  [[gnu::target("avx2")]] static Reached relax(const double* cost, const double* price, double base, double row,
                                               int64_t padded, double* distance, double* previous) {
    return relax_in<L>(cost, price, base, row, padded, distance, previous);
  }
};
struct Avx512Passes {
  using L = Avx512Doubles;
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void euclidean(double birth, double death,
                                                                                             const BarColumns& bars,
                                                                                             double* cost) {
    fill_row<Ground::euclidean>(birth, death, bars, cost);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void maximum(double birth, double death,
                                                                                           const BarColumns& bars,
                                                                                           double* cost) {
    fill_row<Ground::maximum>(birth, death, bars, cost);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static Bid bid(const double* cost, const double* price, int64_t padded) {
    return bid_in<L>(cost, price, padded);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static Reached relax(const double* cost, const double* price,
                                                                    double base, double row, int64_t padded,
                                                                    double* distance, double* previous) {
    return relax_in<L>(cost, price, base, row, padded, distance, previous);
  }
};
#endif

template <class Passes>
DenseRows passes_of() {
  return {Passes::euclidean, Passes::maximum, Passes::bid, Passes::relax};
}

DenseRows choose() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return passes_of<Avx512Passes>();
  if (simd::level() == simd::Level::avx2) return passes_of<Avx2Passes>();
#endif
  return passes_of<BaselinePasses>();
}

}  // namespace

const DenseRows& dense_rows() {
  static const DenseRows chosen = choose();
  return chosen;
}

}  // namespace mk::topology
