#include "attention/tiles.h"

namespace mk::attention {

namespace {

// L::rows rows and `Columns` registers of the result, which stay in registers over the whole depth.
template <class L, class T, int Columns, bool Add>
[[gnu::always_inline]] inline void multiply_block(const Product<T>& product, int64_t row, int64_t column) {
  using Real = typename L::Real;
  Real sums[L::rows][Columns];
  const T* left = product.left + row * product.left_row;
  const T* right = product.right + column;
  T* const result = product.result + row * product.result_row + column;
  const int64_t depth = product.depth, left_row = product.left_row, left_step = product.left_step;
#pragma GCC unroll 16
  for (int r = 0; r < L::rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c)
      sums[r][c] = Add ? load_vector<Real>(result + r * product.result_row + c * L::lanes) : Real{};
  for (int64_t k = 0; k < depth; ++k) {
    Real b[Columns];
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) b[c] = load_vector<Real>(right + c * L::lanes);
#pragma GCC unroll 16
    for (int r = 0; r < L::rows; ++r) {
      const Real a = L::all(left + r * left_row);
#pragma GCC unroll 16
      for (int c = 0; c < Columns; ++c) sums[r][c] = L::add(sums[r][c], a, b[c]);
    }
    left += left_step;
    right += product.right_row;
  }
#pragma GCC unroll 16
  for (int r = 0; r < L::rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) store_vector(result + r * product.result_row + c * L::lanes, sums[r][c]);
}

template <class L, class T, bool Add>
[[gnu::always_inline]] inline void multiply_all(const Product<T>& product) {
  int64_t column = 0;
  for (; column + 2 * L::lanes <= product.columns; column += 2 * L::lanes)
    for (int64_t row = 0; row < product.rows; row += L::rows) multiply_block<L, T, 2, Add>(product, row, column);
  if (column < product.columns)
    for (int64_t row = 0; row < product.rows; row += L::rows) multiply_block<L, T, 1, Add>(product, row, column);
}

template <class L, class T>
[[gnu::always_inline]] inline bool soften_tile(T* scores, int64_t count, const Columns<T>& columns) {
  using Real = typename L::Real;
  const int64_t width = columns.width;
  uint32_t raised = 0;
  for (int64_t first = 0; first < width; first += L::lanes) {
    T* const column = scores + first;
    const Real before = load_vector<Real>(columns.top + first);
    Real top = before, other = before;  // two, as each waits for its last value
    int64_t key = 0;
    for (; key + 2 <= count; key += 2) {
      top = L::greater(load_vector<Real>(column + key * width), top);
      other = L::greater(load_vector<Real>(column + (key + 1) * width), other);
    }
    if (key < count) top = L::greater(load_vector<Real>(column + key * width), top);
    top = L::greater(top, other);
    raised |= L::above(top, before);
    const Real factor = exponential<L, T>(L::minus(before, top));
    Real total = L::times(load_vector<Real>(columns.total + first), factor);
    for (key = 0; key < count; ++key) {
      const Real weight = exponential<L, T>(L::minus(load_vector<Real>(column + key * width), top));
      store_vector(column + key * width, weight);
      total = L::plus(total, weight);
    }
    store_vector(columns.top + first, top);
    store_vector(columns.total + first, total);
    store_vector(columns.factor + first, factor);
  }
  return raised != 0;
}

template <class L, class T>
[[gnu::always_inline]] inline void tile_above(const T* scores, int64_t count, int64_t width, const T* limits,
                                              uint64_t* hits) {
  using Real = typename L::Real;
  for (int64_t key = 0; key < count; ++key) hits[key] = 0;
  for (int64_t first = 0; first < width; first += L::lanes) {
    const Real limit = load_vector<Real>(limits + first);
    for (int64_t key = 0; key < count; ++key)
      hits[key] |= static_cast<uint64_t>(L::above(load_vector<Real>(scores + key * width + first), limit)) << first;
  }
}

template <class L, class T>
[[gnu::always_inline]] inline void tile_slopes(T* scores, T* products, int64_t count, int64_t width, const T* level,
                                               const T* mean) {
  using Real = typename L::Real;
  for (int64_t first = 0; first < width; first += L::lanes) {
    const Real own_level = load_vector<Real>(level + first), own_mean = load_vector<Real>(mean + first);
    for (int64_t at = first; at < count * width; at += width) {
      const Real weight = exponential<L, T>(L::minus(load_vector<Real>(scores + at), own_level));
      store_vector(scores + at, weight);
      store_vector(products + at, L::times(weight, L::minus(load_vector<Real>(products + at), own_mean)));
    }
  }
}

template <class L, class T>
[[gnu::always_inline]] inline void tile_slopes_by_row(T* scores, T* products, int64_t count, int64_t width,
                                                      const T* level, const T* mean) {
  using Real = typename L::Real;
  for (int64_t row = 0; row < count; ++row) {
    const Real own_level = L::all(level + row), own_mean = L::all(mean + row);
    for (int64_t at = row * width; at < (row + 1) * width; at += L::lanes) {
      const Real weight = exponential<L, T>(L::minus(load_vector<Real>(scores + at), own_level));
      store_vector(scores + at, weight);
      store_vector(products + at, L::times(weight, L::minus(load_vector<Real>(products + at), own_mean)));
    }
  }
}

// Each instruction set needs functions of its own marked with its target.
template <class T>
struct Baseline {
  using L = BaselineLanes<T>;
  static void multiply(const Product<T>& product) { multiply_all<L, T, false>(product); }
  static void multiply_add(const Product<T>& product) { multiply_all<L, T, true>(product); }
  static bool soften(T* scores, int64_t count, const Columns<T>& columns) {
    return soften_tile<L>(scores, count, columns);
  }
  static void above(const T* scores, int64_t count, int64_t width, const T* limits, uint64_t* hits) {
    tile_above<L>(scores, count, width, limits, hits);
  }
  static void slopes(T* scores, T* products, int64_t count, int64_t width, const T* level, const T* mean) {
    tile_slopes<L>(scores, products, count, width, level, mean);
  }
  static void slopes_by_row(T* scores, T* products, int64_t count, int64_t width, const T* level, const T* mean) {
    tile_slopes_by_row<L>(scores, products, count, width, level, mean);
  }
};
#if defined(__x86_64__)
template <class T>
struct Avx2 {
  using L = Avx2Lanes<T>;
  [[gnu::target("avx2,fma")]] static void multiply(const Product<T>& product) { multiply_all<L, T, false>(product); }
  [[gnu::target("avx2,fma")]] static void multiply_add(const Product<T>& product) { multiply_all<L, T, true>(product); }
  [[gnu::target("avx2,fma")]] static bool soften(T* scores, int64_t count, const Columns<T>& columns) {
    return soften_tile<L>(scores, count, columns);
  }
  [[gnu::target("avx2,fma")]] static void above(const T* scores, int64_t count, int64_t width, const T* limits,
                                                uint64_t* hits) {
    tile_above<L>(scores, count, width, limits, hits);
  }
  [[gnu::target("avx2,fma")]] static void slopes(T* scores, T* products, int64_t count, int64_t width, const T* level,
                                                 const T* mean) {
    tile_slopes<L>(scores, products, count, width, level, mean);
  }
  [[gnu::target("avx2,fma")]] static void slopes_by_row(T* scores, T* products, int64_t count, int64_t width,
                                                        const T* level, const T* mean) {
    tile_slopes_by_row<L>(scores, products, count, width, level, mean);
  }
};
template <class T>
struct Avx512 {
  using L = Avx512Lanes<T>;
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void multiply(const Product<T>& product) {
    multiply_all<L, T, false>(product);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void multiply_add(
      const Product<T>& product) {
    multiply_all<L, T, true>(product);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static bool soften(T* scores, int64_t count,
                                                                                          const Columns<T>& columns) {
    return soften_tile<L>(scores, count, columns);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void above(const T* scores, int64_t count,
                                                                                         int64_t width, const T* limits,
                                                                                         uint64_t* hits) {
    tile_above<L>(scores, count, width, limits, hits);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void slopes(T* scores, T* products,
                                                                                          int64_t count, int64_t width,
                                                                                          const T* level,
                                                                                          const T* mean) {
    tile_slopes<L>(scores, products, count, width, level, mean);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void slopes_by_row(
      T* scores, T* products, int64_t count, int64_t width, const T* level, const T* mean) {
    tile_slopes_by_row<L>(scores, products, count, width, level, mean);
  }
};
#endif

template <class Set, class T>
TileKernels<T> kernels_of() {
  return {Set::multiply, Set::multiply_add, Set::soften, Set::above, Set::slopes, Set::slopes_by_row};
}

template <class T>
TileKernels<T> choose() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return kernels_of<Avx512<T>, T>();
  if (simd::level() == simd::Level::avx2) return kernels_of<Avx2<T>, T>();
#endif
  return kernels_of<Baseline<T>, T>();
}

}  // namespace

template <class T>
const TileKernels<T>& tile_kernels() {
  static const TileKernels<T> chosen = choose<T>();
  return chosen;
}

template const TileKernels<float>& tile_kernels();
template const TileKernels<double>& tile_kernels();

}  // namespace mk::attention
