#include "segmentation/slot_softmax.h"

#include <limits>

#include "segmentation/lanes.h"

namespace mk::segmentation {

namespace {

// Each of these goes over the classes for the lanes of one register, from `lane` of the chunk on.
template <class L, class T, int Phases>
[[gnu::always_inline]] inline void soften_lanes(const Block<T>& block, const Exponentials<T>& to, int64_t lane) {
  using Real = typename L::Real;
  Real low[Phases], high[Phases], top[Phases], total[Phases];
#pragma GCC unroll 4
  for (int p = 0; p < Phases; ++p) {
    low[p] = load_vector<Real>(block.low + p * block.step + lane);
    high[p] = load_vector<Real>(block.high + p * block.step + lane);
    top[p] = L::Vector::broadcast(-std::numeric_limits<T>::infinity());
    total[p] = Real{};
  }
  const T* row = block.rows + lane;
  for (int64_t c = 0; c < block.classes; ++c, row += block.stride) {
    const Real a = load_vector<Real>(row), b = load_vector<Real>(row + 1);
#pragma GCC unroll 4
    for (int p = 0; p < Phases; ++p) top[p] = L::greater(low[p] * a + high[p] * b, top[p]);
  }
  row = block.rows + lane;
  T* values = to.values + lane;
  for (int64_t c = 0; c < block.classes; ++c, row += block.stride, values += kBlock<T>) {
    const Real a = load_vector<Real>(row), b = load_vector<Real>(row + 1);
#pragma GCC unroll 4
    for (int p = 0; p < Phases; ++p) {
      const Real value = exponential<L, T>(low[p] * a + high[p] * b - top[p]);
      store_vector(values + p * kChunk<T>, value);
      total[p] += value;
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < Phases; ++p) {
    store_vector(to.top + p * kChunk<T> + lane, top[p]);
    store_vector(to.total + p * kChunk<T> + lane, total[p]);
  }
}

template <class L, class T, int Phases>
[[gnu::always_inline]] inline void square_lanes(const Block<T>& block, const T* values, const T* inverse,
                                                const T* shares, T* squares, int64_t lane) {
  using Real = typename L::Real;
  Real own[Phases], weight[Phases];
#pragma GCC unroll 4
  for (int p = 0; p < Phases; ++p) {
    own[p] = load_vector<Real>(inverse + p * kChunk<T> + lane);
    weight[p] = own[p] * load_vector<Real>(shares + p * kChunk<T> + lane) * own[p];
  }
  values += lane;
  squares += lane;
  for (int64_t c = 0; c < block.classes; ++c, values += kBlock<T>, squares += kChunk<T>) {
    Real sum = load_vector<Real>(squares);
#pragma GCC unroll 4
    for (int p = 0; p < Phases; ++p) {
      const Real value = load_vector<Real>(values + p * kChunk<T>);
      sum += value * weight[p] * value;
    }
    store_vector(squares, sum);
  }
}

template <class L, class T, int Phases>
[[gnu::always_inline]] inline void weigh_lanes(const Block<T>& block, const T* values, const T* inverse,
                                               const T* factors, T* sums, int64_t lane) {
  using Real = typename L::Real;
  Real sum[Phases];
#pragma GCC unroll 4
  for (int p = 0; p < Phases; ++p) sum[p] = Real{};
  const T* own = values + lane;
  for (int64_t c = 0; c < block.classes; ++c, own += kBlock<T>) {
    const Real factor = L::Vector::broadcast(factors[c]);
#pragma GCC unroll 4
    for (int p = 0; p < Phases; ++p) {
      const Real value = load_vector<Real>(own + p * kChunk<T>);
      sum[p] += value * factor * value;
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < Phases; ++p) {
    const Real scale = load_vector<Real>(inverse + p * kChunk<T> + lane);
    store_vector(sums + p * kChunk<T> + lane, sum[p] * scale * scale);
  }
}

template <class L, class T, int Phases>
[[gnu::always_inline]] inline void slope_lanes(const Block<T>& block, const T* values, const T* inverse,
                                               const T* shares, const T* factors, const T* offsets, T* gradient,
                                               int64_t lane) {
  using Real = typename L::Real;
  Real low[Phases], high[Phases], square[Phases], linear[Phases];
#pragma GCC unroll 4
  for (int p = 0; p < Phases; ++p) {
    const Real scale = load_vector<Real>(inverse + p * kChunk<T> + lane);
    low[p] = load_vector<Real>(block.low + p * block.step + lane);
    high[p] = load_vector<Real>(block.high + p * block.step + lane);
    square[p] = load_vector<Real>(shares + p * kChunk<T> + lane) * scale * scale;
    linear[p] = load_vector<Real>(offsets + p * kChunk<T> + lane) * scale;
  }
  values += lane;
  gradient += lane;
  for (int64_t c = 0; c < block.classes; ++c, values += kBlock<T>, gradient += block.stride) {
    const Real factor = L::Vector::broadcast(factors[c]);
    Real first = load_vector<Real>(gradient), second{};
#pragma GCC unroll 4
    for (int p = 0; p < Phases; ++p) {
      const Real value = load_vector<Real>(values + p * kChunk<T>);
      const Real slope = value * (square[p] * factor * value + linear[p]);
      first += low[p] * slope;
      second += high[p] * slope;
    }
    store_vector(gradient, first);
    store_vector(gradient + 1, load_vector<Real>(gradient + 1) + second);
  }
}

// Calls body with the number of phases as a constant.
template <class Body>
[[gnu::always_inline]] inline void with_phases(int64_t phases, const Body& body) {
  if (phases == 4) return body.template operator()<4>();
  if (phases == 3) return body.template operator()<3>();
  if (phases == 2) return body.template operator()<2>();
  body.template operator()<1>();
}

template <class L, class T>
[[gnu::always_inline]] inline void soften_all(const Block<T>& block, const Exponentials<T>& to) {
  with_phases(block.phases, [&]<int Phases>() __attribute__((always_inline)) {
    for (int64_t lane = 0; lane < kChunk<T>; lane += L::lanes) soften_lanes<L, T, Phases>(block, to, lane);
  });
}

template <class L, class T>
[[gnu::always_inline]] inline void square_all(const Block<T>& block, const T* values, const T* inverse, const T* shares,
                                              T* squares) {
  with_phases(block.phases, [&]<int Phases>() __attribute__((always_inline)) {
    for (int64_t lane = 0; lane < kChunk<T>; lane += L::lanes)
      square_lanes<L, T, Phases>(block, values, inverse, shares, squares, lane);
  });
}

template <class L, class T>
[[gnu::always_inline]] inline void weigh_all(const Block<T>& block, const T* values, const T* inverse, const T* factors,
                                             T* sums) {
  with_phases(block.phases, [&]<int Phases>() __attribute__((always_inline)) {
    for (int64_t lane = 0; lane < kChunk<T>; lane += L::lanes)
      weigh_lanes<L, T, Phases>(block, values, inverse, factors, sums, lane);
  });
}

template <class L, class T>
[[gnu::always_inline]] inline void slope_all(const Block<T>& block, const T* values, const T* inverse, const T* shares,
                                             const T* factors, const T* offsets, T* gradient) {
  with_phases(block.phases, [&]<int Phases>() __attribute__((always_inline)) {
    for (int64_t lane = 0; lane < kChunk<T>; lane += L::lanes)
      slope_lanes<L, T, Phases>(block, values, inverse, shares, factors, offsets, gradient, lane);
  });
}

// Each instruction set needs functions of its own marked with its target.
template <class T>
struct Baseline {
  using L = BaselineLanes<T>;
  static void soften(const Block<T>& block, const Exponentials<T>& to) { soften_all<L>(block, to); }
  static void square(const Block<T>& block, const T* values, const T* inverse, const T* shares, T* squares) {
    square_all<L>(block, values, inverse, shares, squares);
  }
  static void weigh(const Block<T>& block, const T* values, const T* inverse, const T* factors, T* sums) {
    weigh_all<L>(block, values, inverse, factors, sums);
  }
  static void slope(const Block<T>& block, const T* values, const T* inverse, const T* shares, const T* factors,
                    const T* offsets, T* gradient) {
    slope_all<L>(block, values, inverse, shares, factors, offsets, gradient);
  }
};
#if defined(__x86_64__)
template <class T>
struct Avx2 {
  using L = Avx2Lanes<T>;
  [[gnu::target("avx2,fma")]] static void soften(const Block<T>& block, const Exponentials<T>& to) {
    soften_all<L>(block, to);
  }
  [[gnu::target("avx2,fma")]] static void square(const Block<T>& block, const T* values, const T* inverse,
                                                 const T* shares, T* squares) {
    square_all<L>(block, values, inverse, shares, squares);
  }
  [[gnu::target("avx2,fma")]] static void weigh(const Block<T>& block, const T* values, const T* inverse,
                                                const T* factors, T* sums) {
    weigh_all<L>(block, values, inverse, factors, sums);
  }
  [[gnu::target("avx2,fma")]] static void slope(const Block<T>& block, const T* values, const T* inverse,
                                                const T* shares, const T* factors, const T* offsets, T* gradient) {
    slope_all<L>(block, values, inverse, shares, factors, offsets, gradient);
  }
};
template <class T>
struct Avx512 {
  using L = Avx512Lanes<T>;
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void soften(const Block<T>& block,
                                                                                          const Exponentials<T>& to) {
    soften_all<L>(block, to);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void square(const Block<T>& block,
                                                                                          const T* values,
                                                                                          const T* inverse,
                                                                                          const T* shares, T* squares) {
    square_all<L>(block, values, inverse, shares, squares);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void weigh(const Block<T>& block,
                                                                                         const T* values,
                                                                                         const T* inverse,
                                                                                         const T* factors, T* sums) {
    weigh_all<L>(block, values, inverse, factors, sums);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void slope(
      const Block<T>& block, const T* values, const T* inverse, const T* shares, const T* factors, const T* offsets,
      T* gradient) {
    slope_all<L>(block, values, inverse, shares, factors, offsets, gradient);
  }
};
#endif

template <class Set, class T>
SlotKernels<T> kernels_of() {
  return {Set::soften, Set::square, Set::weigh, Set::slope};
}

template <class T>
SlotKernels<T> choose() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return kernels_of<Avx512<T>, T>();
  if (simd::level() == simd::Level::avx2) return kernels_of<Avx2<T>, T>();
#endif
  return kernels_of<Baseline<T>, T>();
}

}  // namespace

template <class T>
const SlotKernels<T>& slot_kernels() {
  static const SlotKernels<T> chosen = choose<T>();
  return chosen;
}

template const SlotKernels<float>& slot_kernels();
template const SlotKernels<double>& slot_kernels();

}  // namespace mk::segmentation
