#include "topology/block_rows.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "common/double_lanes.h"
#include "common/simd.h"
#include "topology/bar_cost.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One block of columns in registers. Whatever their width, lane for lane the same happens.
template <class L>
struct Lanes {
  using V = typename L::V;
  using Real = typename V::Real;
  static constexpr int parts = kBarBlock / V::lanes;
  Real part[parts];

  [[gnu::always_inline]] static inline Lanes all(double value) {
    Lanes lanes;
    for (Real& each : lanes.part) each = L::V::broadcast(value);
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
  [[gnu::always_inline]] inline Lanes operator*(const Lanes& other) const {
    Lanes product;
    for (int p = 0; p < parts; ++p) product.part[p] = part[p] * other.part[p];
    return product;
  }
  // `then` where a < b, `otherwise` elsewhere.
  [[gnu::always_inline]] static inline Lanes choose(const Lanes& a, const Lanes& b, const Lanes& then,
                                                    const Lanes& otherwise) {
    Lanes chosen;
    for (int p = 0; p < parts; ++p) chosen.part[p] = L::choose(a.part[p], b.part[p], then.part[p], otherwise.part[p]);
    return chosen;
  }
  [[gnu::always_inline]] inline Lanes root() const {
    Lanes roots;
    for (int p = 0; p < parts; ++p) roots.part[p] = L::root(part[p]);
    return roots;
  }
  [[gnu::always_inline]] inline Lanes magnitude() const {
    const Lanes zero = all(0), negative = zero - *this;
    return choose(*this, zero, negative, *this);
  }
  [[gnu::always_inline]] inline double least() const {
    Real values = part[0];
    for (int p = 1; p < parts; ++p) values = L::choose(part[p], values, part[p], values);
    return L::least(values);
  }
  // The lanes where a < b, and those that hold a value, as bits.
  [[gnu::always_inline]] static inline uint32_t below(const Lanes& a, const Lanes& b) {
    uint32_t bits = 0;
    for (int p = 0; p < parts; ++p) bits |= L::below(a.part[p], b.part[p]) << (p * V::lanes);
    return bits;
  }
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

  [[gnu::always_inline]] inline void offer(const Lanes<L>& values, int64_t from) {
    block = Lanes<L>::choose(values, value, Lanes<L>::all(static_cast<double>(from)), block);
    value = Lanes<L>::choose(values, value, values, value);
  }
  // The least of all; of several columns the first.
  [[gnu::always_inline]] inline Reached reached(double bound) const {
    double blocks[kBarBlock];
    block.store(blocks);
    const double least = value.least();
    if (!(least < bound)) return {least, -1};
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
  const auto [least, column] = best.reached(kInfinity);
  if (column < 0) return {kInfinity, kInfinity, -1};
  const uint32_t bits = best.value.equal(least);
  if ((bits & (bits - 1)) != 0) return {least, least, column};
  const B all_least = B::all(least);
  return {least, B::choose(all_least, best.value, best.value, second).least(), column};
}

// Whether a bar of a block is nearer to a given one than both are to the diagonal taken together.
template <Ground ground, class B>
[[gnu::always_inline]] inline bool holds_match(const B& middle, const B& length, const BarBlock& to) {
  const B gap = middle - B::load(to.middle.data()), other = B::load(to.length.data());
  if constexpr (ground == Ground::euclidean) return B::below(gap * gap, B::all(4) * (length * other)) != 0;
  return B::below(gap.magnitude(), B::all(2) * B::choose(other, length, other, length)) != 0;
}

template <Ground ground, class B>
[[gnu::always_inline]] inline B distances(const B& birth, const B& death, const BarBlock& to) {
  const B birth_gap = birth - B::load(to.birth.data()), death_gap = death - B::load(to.death.data());
  if constexpr (ground == Ground::euclidean) return (birth_gap * birth_gap + death_gap * death_gap).root();
  const B x = birth_gap.magnitude(), y = death_gap.magnitude();
  return B::choose(x, y, y, x);
}

template <Ground ground, class L>
[[gnu::always_inline]] inline int64_t fill_row(const Chooser& bar, const BarBlock* bars, BlockRange range,
                                               int32_t* block, double* cost) {
  using B = Lanes<L>;
  const B middle = B::all(bar.birth + bar.death), length = B::all(bar.death - bar.birth);
  int64_t count = 0;
  for (int32_t k = range.begin; k < range.end; ++k) {
    block[count] = k;
    count += holds_match<ground>(middle, length, bars[k]);
  }
  const B birth = B::all(bar.birth), death = B::all(bar.death), to_diagonal = B::all(kToDiagonal<ground>);
  for (int64_t k = 0; k < count; ++k) {
    const BarBlock& to = bars[block[k]];
    const B leave = to_diagonal * B::load(to.length.data());
    (distances<ground>(birth, death, to) - leave).store(cost + kBarBlock * k);
  }
  return count;
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
[[gnu::always_inline]] inline Reached relax_in(const BlockRow& row, const Step& step, Search& search) {
  using B = Lanes<L>;
  double *const distances = search.distance, *const owners = search.previous, *const prices = search.price;
  int32_t* const touched = search.touched;
  uint8_t* const is_touched = search.is_touched;
  int64_t touched_count = search.touched_count;
  if (step.settled >= 0) {
    set_column<B>(distances, step.settled, kInfinity);
    set_column<B>(prices, step.settled, -kInfinity);
  }
  // Blocks of the row are seen twice, first with distances that may be about to become less: so neither loop waits for
  // the other.
  Least<L> least;
  for (int64_t k = 0; k < touched_count; ++k) least.offer(B::load(distances + kBarBlock * touched[k]), touched[k]);
  const B from = B::all(step.base), by = B::all(step.owner), bound = B::all(step.bound);
  const double* cost = row.cost;
  for (const int64_t block : row.block) {
    double *const distance = distances + kBarBlock * block, *const previous = owners + kBarBlock * block;
    const B reached = from + (B::load(cost) - B::load(prices + kBarBlock * block)), old = B::load(distance);
    const B limit = B::choose(old, bound, old, bound), now = B::choose(reached, limit, reached, old);
    B::choose(reached, limit, by, B::load(previous)).store(previous);
    now.store(distance);
    least.offer(now, block);
    const bool lowered = B::below(reached, limit) != 0;
    touched[touched_count] = static_cast<int32_t>(block);
    touched_count += lowered & (is_touched[block] == 0);
    is_touched[block] |= static_cast<uint8_t>(lowered);
    cost += kBarBlock;
  }
  search.touched_count = touched_count;
  return least.reached(step.bound);
}

// Each instruction set needs functions of its own marked with its target.
struct BaselinePasses {
  using L = simd::BaselineDoubles;
  static int64_t euclidean(const Chooser& bar, const BarBlock* bars, BlockRange range, int32_t* block, double* cost) {
    return fill_row<Ground::euclidean, L>(bar, bars, range, block, cost);
  }
  static int64_t maximum(const Chooser& bar, const BarBlock* bars, BlockRange range, int32_t* block, double* cost) {
    return fill_row<Ground::maximum, L>(bar, bars, range, block, cost);
  }
  static Bid bid(const BlockRow& row, const double* price) { return bid_in<L>(row, price); }
  static Reached relax(const BlockRow& row, const Step& step, Search& search) { return relax_in<L>(row, step, search); }
};
#if defined(__x86_64__)
struct Avx2Passes {
  using L = simd::Avx2Doubles;
  [[gnu::target("avx2")]] static int64_t euclidean(const Chooser& bar, const BarBlock* bars, BlockRange range,
                                                   int32_t* block, double* cost) {
    return fill_row<Ground::euclidean, L>(bar, bars, range, block, cost);
  }
  [[gnu::target("avx2")]] static int64_t maximum(const Chooser& bar, const BarBlock* bars, BlockRange range,
                                                 int32_t* block, double* cost) {
    return fill_row<Ground::maximum, L>(bar, bars, range, block, cost);
  }
  [[gnu::target("avx2")]] static Bid bid(const BlockRow& row, const double* price) { return bid_in<L>(row, price); }
  [[gnu::target("avx2")]] static Reached relax(const BlockRow& row, const Step& step, Search& search) {
    return relax_in<L>(row, step, search);
  }
};
struct Avx512Passes {
  using L = simd::Avx512Doubles;
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static int64_t euclidean(
      const Chooser& bar, const BarBlock* bars, BlockRange range, int32_t* block, double* cost) {
    return fill_row<Ground::euclidean, L>(bar, bars, range, block, cost);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static int64_t maximum(
      const Chooser& bar, const BarBlock* bars, BlockRange range, int32_t* block, double* cost) {
    return fill_row<Ground::maximum, L>(bar, bars, range, block, cost);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static Bid bid(const BlockRow& row, const double* price) {
    return bid_in<L>(row, price);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static Reached relax(const BlockRow& row, const Step& step,
                                                                    Search& search) {
    return relax_in<L>(row, step, search);
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
