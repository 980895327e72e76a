#include "topology/block_rows.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "common/simd.h"
#include "topology/bar_cost.h"
#include "topology/double_lanes.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <Ground ground>
[[gnu::always_inline]] inline void fill_row(double birth, double death, const BarBlock* bars,
                                            std::span<const int32_t> blocks, double* __restrict cost) {
  for (const int32_t block : blocks) {
    const BarBlock& to = bars[block];
    for (int lane = 0; lane < kBarBlock; ++lane)
      cost[lane] =
          bar_distance<ground>(birth - to.birth[lane], death - to.death[lane]) - kToDiagonal<ground> * to.length[lane];
    cost += kBarBlock;
  }
}

// One block of columns in registers. Whatever their width, lane for lane the same happens.
template <class L>
struct Lanes {
  using V = typename L::V;
  using Real = typename V::Real;
  static constexpr int parts = kBarBlock / V::lanes;
  Real part[parts];

  [[gnu::always_inline]] static inline Lanes all(double value) {
    Lanes lanes;
    for (Real& each : lanes.part) each = L::all(value);
    return lanes;
  }
  [[gnu::always_inline]] static inline Lanes load(const double* from) {
    Lanes lanes;
    for (int p = 0; p < parts; ++p) lanes.part[p] = V::load(from + p * V::lanes);
    return lanes;
  }
  [[gnu::always_inline]] inline void store(double* to) const {
    for (int p = 0; p < parts; ++p) V::store(to + p * V::lanes, part[p]);
  }
  [[gnu::always_inline]] inline Lanes operator+(const Lanes& other) const {
    Lanes sum;
    for (int p = 0; p < parts; ++p) sum.part[p] = part[p] + other.part[p];
    return sum;
  }
  [[gnu::always_inline]] inline Lanes operator-(const Lanes& other) const {
    Lanes difference;
    for (int p = 0; p < parts; ++p) difference.part[p] = part[p] - other.part[p];
    return difference;
  }
  // `then` where a < b, `otherwise` elsewhere.
  [[gnu::always_inline]] static inline Lanes choose(const Lanes& a, const Lanes& b, const Lanes& then,
                                                    const Lanes& otherwise) {
    Lanes chosen;
    for (int p = 0; p < parts; ++p) chosen.part[p] = L::choose(a.part[p], b.part[p], then.part[p], otherwise.part[p]);
    return chosen;
  }
  [[gnu::always_inline]] inline double least() const {
    Real values = part[0];
    for (int p = 1; p < parts; ++p) values = L::choose(part[p], values, part[p], values);
    return L::least(values);
  }
  // The lanes that hold a value, as bits.
  [[gnu::always_inline]] inline uint32_t equal(double value) const {
    uint32_t bits = 0;
    for (int p = 0; p < parts; ++p) bits |= L::equal(part[p], value) << (p * V::lanes);
    return bits;
  }
};

// The lanes' least values so far, and the blocks they were in.
template <class L>
struct Least {
  Lanes<L> value = Lanes<L>::all(kInfinity), block = Lanes<L>::all(0);

  [[gnu::always_inline]] inline void offer(const Lanes<L>& values, int32_t from) {
    block = Lanes<L>::choose(values, value, Lanes<L>::all(from), block);
    value = Lanes<L>::choose(values, value, values, value);
  }
  // The least of all; of several columns the first.
  [[gnu::always_inline]] inline Reached reached() const {
    double blocks[kBarBlock];
    block.store(blocks);
    const double least = value.least();
    const uint32_t bits = value.equal(least);
    int64_t column = column_at(bits, blocks);
    for (uint32_t others = bits & (bits - 1); others != 0; others &= others - 1)
      column = std::min(column, column_at(others, blocks));
    return {least, column};
  }

 private:
  [[gnu::always_inline]] static inline int64_t column_at(uint32_t bits, const double* blocks) {
    const int lane = std::countr_zero(bits);
    return kBarBlock * static_cast<int64_t>(blocks[lane]) + lane;
  }
};

template <class L>
[[gnu::always_inline]] inline Bid bid_in(const BlockRow& row, const double* price) {
  using B = Lanes<L>;
  Least<L> best;
  B second = B::all(kInfinity);
  const double* cost = row.cost;
  for (const int32_t block : row.block) {
    const B value = B::load(cost) - B::load(price + kBarBlock * block);
    const B loser = B::choose(value, best.value, best.value, value);
    second = B::choose(loser, second, loser, second);
    best.offer(value, block);
    cost += kBarBlock;
  }
  const auto [least, column] = best.reached();
  const uint32_t bits = best.value.equal(least);
  if ((bits & (bits - 1)) != 0) return {least, least, column};
  const B all_least = B::all(least);
  return {least, B::choose(all_least, best.value, best.value, second).least(), column};
}

template <class B>
[[gnu::always_inline]] inline void set_column(double* values, int64_t column, double value) {
  // In whole registers, as these values are about to be loaded: a lone number is not forwarded to such a load.
  alignas(64) static constexpr double others[2 * kBarBlock - 1] = {1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1};
  const int64_t lane = column % kBarBlock;
  double* const at = values + (column - lane);
  const B is_other = B::load(others + (kBarBlock - 1 - lane));
  B::choose(B::all(0), is_other, B::load(at), B::all(value)).store(at);
}

template <class L>
[[gnu::always_inline]] inline Reached relax_in(const BlockRow& row, double base, double owner, int64_t settled,
                                               Search& search) {
  using B = Lanes<L>;
  if (settled >= 0) {
    set_column<B>(search.distance, settled, kInfinity);
    set_column<B>(search.price, settled, -kInfinity);
  }
  // Blocks of the row are seen twice, first with distances that may be about to become less: so neither loop waits for
  // the other.
  Least<L> least;
  for (int64_t k = 0; k < search.touched_count; ++k) {
    const int32_t block = search.touched[k];
    least.offer(B::load(search.distance + kBarBlock * block), block);
  }
  const B from = B::all(base), by = B::all(owner);
  const double* cost = row.cost;
  for (const int32_t block : row.block) {
    double* const distance = search.distance + kBarBlock * block;
    double* const previous = search.previous + kBarBlock * block;
    const B reached = from + (B::load(cost) - B::load(search.price + kBarBlock * block)), old = B::load(distance);
    const B now = B::choose(reached, old, reached, old);
    B::choose(reached, old, by, B::load(previous)).store(previous);
    now.store(distance);
    least.offer(now, block);
    search.touched[search.touched_count] = block;
    search.touched_count += 1 - search.is_touched[block];
    search.is_touched[block] = 1;
    cost += kBarBlock;
  }
  return least.reached();
}

// Each instruction set needs functions of its own marked with its target.
struct BaselinePasses {
  using L = BaselineDoubles;
  static void euclidean(double birth, double death, const BarBlock* bars, std::span<const int32_t> blocks,
                        double* cost) {
    fill_row<Ground::euclidean>(birth, death, bars, blocks, cost);
  }
  static void maximum(double birth, double death, const BarBlock* bars, std::span<const int32_t> blocks, double* cost) {
    fill_row<Ground::maximum>(birth, death, bars, blocks, cost);
  }
  static Bid bid(const BlockRow& row, const double* price) { return bid_in<L>(row, price); }
  static Reached relax(const BlockRow& row, double base, double owner, int64_t settled, Search& search) {
    return relax_in<L>(row, base, owner, settled, search);
  }
};
#if defined(__x86_64__)
struct Avx2Passes {
  using L = Avx2Doubles;
  [[gnu::target("avx2")]] static void euclidean(double birth, double death, const BarBlock* bars,
                                                std::span<const int32_t> blocks, double* cost) {
    fill_row<Ground::euclidean>(birth, death, bars, blocks, cost);
  }
  [[gnu::target("avx2")]] static void maximum(double birth, double death, const BarBlock* bars,
                                              std::span<const int32_t> blocks, double* cost) {
    fill_row<Ground::maximum>(birth, death, bars, blocks, cost);
  }
  [[gnu::target("avx2")]] static Bid bid(const BlockRow& row, const double* price) { return bid_in<L>(row, price); }
  [[gnu::target("avx2")]] static Reached relax(const BlockRow& row, double base, double owner, int64_t settled,
                                               Search& search) {
    return relax_in<L>(row, base, owner, settled, search);
  }
};
struct Avx512Passes {
  using L = Avx512Doubles;
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void euclidean(
      double birth, double death, const BarBlock* bars, std::span<const int32_t> blocks, double* cost) {
    fill_row<Ground::euclidean>(birth, death, bars, blocks, cost);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void maximum(
      double birth, double death, const BarBlock* bars, std::span<const int32_t> blocks, double* cost) {
    fill_row<Ground::maximum>(birth, death, bars, blocks, cost);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static Bid bid(const BlockRow& row, const double* price) {
    return bid_in<L>(row, price);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static Reached relax(const BlockRow& row, double base, double owner,
                                                                    int64_t settled, Search& search) {
    return relax_in<L>(row, base, owner, settled, search);
  }
};
#endif

template <class Passes>
BlockRows passes_of() {
  return {Passes::euclidean, Passes::maximum, Passes::bid, Passes::relax};
}

BlockRows choose() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return passes_of<Avx512Passes>();
  if (simd::level() == simd::Level::avx2) return passes_of<Avx2Passes>();
#endif
  return passes_of<BaselinePasses>();
}

}  // namespace

const BlockRows& block_rows() {
  static const BlockRows chosen = choose();
  return chosen;
}

}  // namespace mk::topology
