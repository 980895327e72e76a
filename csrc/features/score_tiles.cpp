#include "features/score_tiles.h"

#include <bit>
#include <cstring>

#include "common/simd.h"
#include "features/float_lanes.h"

namespace mk::features {

namespace {

// How vectors of one kind add products, finish scores and compare them. Instructions are named, because generic
// comparisons and products in functions without a target of their own would be taken apart.
template <class L, int Rows>
struct Numbers {
  static constexpr int lanes = L::lanes, group = 1, rows = Rows;
  using Query = float;
  using Target = float;
  using Score = float;
  using Sums = typename L::Floats;
  using Products = Sums;
  [[gnu::always_inline]] static Sums start(const float* biases) { return load_vector<Sums>(biases); }
  [[gnu::always_inline]] static Products all(const float* at) { return L::all(at); }
  [[gnu::always_inline]] static Sums add(const Sums& sums, const Products& a, const Products& b) {
    return L::add(sums, a, b);
  }
  [[gnu::always_inline]] static Sums finish(const Sums& sums, const float*) { return sums; }
  [[gnu::always_inline]] static uint32_t above(const Sums& scores, float limit) {
    return L::above(scores, L::all(&limit));
  }
};

struct BaselineWords {
  static constexpr int lanes = 4, group = 2, rows = 6;
  using Query = int16_t;
  using Target = int16_t;
  using Score = int32_t;
  typedef int32_t Sums __attribute__((vector_size(16)));
  typedef int16_t Products __attribute__((vector_size(16)));
  [[gnu::always_inline]] static Sums start(const int32_t*) { return Sums{}; }
  [[gnu::always_inline]] static Products all(const int16_t* at) {
    int32_t pair;
    std::memcpy(&pair, at, sizeof pair);
    return __builtin_bit_cast(Products, Sums{pair, pair, pair, pair});
  }
  [[gnu::always_inline]] static Sums add(const Sums& sums, const Products& a, const Products& b) {
#if defined(__x86_64__)
    return sums + __builtin_bit_cast(Sums, __builtin_ia32_pmaddwd128(a, b));
#else
    Sums next = sums;
    for (int i = 0; i < lanes; ++i) next[i] += a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
    return next;
#endif
  }
  [[gnu::always_inline]] static Sums finish(const Sums& sums, const int32_t* biases) {
    return sums + sums + load_vector<Sums>(biases);
  }
  [[gnu::always_inline]] static uint32_t above(const Sums& scores, int32_t limit) {
    uint32_t bits = 0;
    for (int i = 0; i < lanes; ++i) bits |= static_cast<uint32_t>(scores[i] > limit) << i;
    return bits;
  }
};

#if defined(__x86_64__)

struct Avx2Words {
  static constexpr int lanes = 8, group = 2, rows = 6;
  using Query = int16_t;
  using Target = int16_t;
  using Score = int32_t;
  typedef int Sums __attribute__((vector_size(32)));
  typedef short Products __attribute__((vector_size(32)));
  typedef float Bits __attribute__((vector_size(32)));
  [[gnu::always_inline]] static Sums start(const int32_t*) { return Sums{}; }
  [[gnu::always_inline]] static Products all(const int16_t* at) {
    int pair;
    std::memcpy(&pair, at, sizeof pair);
    return (Products)everywhere(pair);
  }
  [[gnu::always_inline]] static Sums add(const Sums& sums, const Products& a, const Products& b) {
    return __builtin_ia32_paddd256(sums, __builtin_ia32_pmaddwd256(a, b));
  }
  [[gnu::always_inline]] static Sums finish(const Sums& sums, const int32_t* biases) {
    return __builtin_ia32_paddd256(__builtin_ia32_paddd256(sums, sums), load_vector<Sums>(biases));
  }
  [[gnu::always_inline]] static uint32_t above(const Sums& scores, int32_t limit) {
    const Sums higher = __builtin_ia32_pcmpgtd256(scores, everywhere(limit));
    return static_cast<uint32_t>(__builtin_ia32_movmskps256((Bits)higher));
  }

 private:
  typedef int Quarter __attribute__((vector_size(16)));
  [[gnu::always_inline]] static Sums everywhere(int value) { return __builtin_ia32_pbroadcastd256(Quarter{value}); }
};

struct VnniBytes {
  static constexpr int lanes = 16, group = 4, rows = 12;
  using Query = uint8_t;
  using Target = int8_t;
  using Score = int32_t;
  typedef int Sums __attribute__((vector_size(64)));
  using Products = Sums;
  [[gnu::always_inline]] static Sums start(const int32_t*) { return Sums{}; }
  [[gnu::always_inline]] static Products all(const uint8_t* at) {
    int four;
    std::memcpy(&four, at, sizeof four);
    return everywhere(four);
  }
  [[gnu::always_inline]] static Sums add(const Sums& sums, const Products& a, const Products& b) {
    return __builtin_ia32_vpdpbusd_v16si(sums, a, b);
  }
  [[gnu::always_inline]] static Sums finish(const Sums& sums, const int32_t* biases) {
    return plus(plus(sums, sums), load_vector<Sums>(biases));
  }
  [[gnu::always_inline]] static uint32_t above(const Sums& scores, int32_t limit) {
    constexpr int greater = 6;
    return static_cast<uint16_t>(
        __builtin_ia32_cmpd512_mask(scores, everywhere(limit), greater, static_cast<uint16_t>(-1)));
  }

 private:
  typedef int Quarter __attribute__((vector_size(16)));
  [[gnu::always_inline]] static Sums everywhere(int value) {
    return __builtin_ia32_pbroadcastd512(Quarter{value}, Sums{}, static_cast<uint16_t>(-1));
  }
  [[gnu::always_inline]] static Sums plus(const Sums& a, const Sums& b) {
    return __builtin_ia32_paddd512_mask(a, b, a, static_cast<uint16_t>(-1));
  }
};

#endif

// Two vectors of targets by L::rows queries: as many sums as the registers hold.
template <class L>
[[gnu::always_inline]] inline void score_tile(const typename L::Query* queries, const typename L::Target* targets,
                                              const typename L::Score* biases, int64_t groups, int32_t first_target,
                                              Best<typename L::Score>* best) {
  using Score = typename L::Score;
  using Sums = typename L::Sums;
  Sums left[L::rows], right[L::rows];
#pragma GCC unroll 16
  for (int r = 0; r < L::rows; ++r) {
    left[r] = L::start(biases);
    right[r] = L::start(biases + L::lanes);
  }
  for (int64_t g = 0; g < groups; ++g) {
    const auto b = load_vector<typename L::Products>(targets);
    const auto c = load_vector<typename L::Products>(targets + L::lanes * L::group);
#pragma GCC unroll 16
    for (int r = 0; r < L::rows; ++r) {
      const typename L::Products a = L::all(queries + r * L::group);
      left[r] = L::add(left[r], a, b);
      right[r] = L::add(right[r], a, c);
    }
    queries += L::rows * L::group;
    targets += 2 * L::lanes * L::group;
  }
#pragma GCC unroll 16
  for (int r = 0; r < L::rows; ++r) {
    const Sums scores[2] = {L::finish(left[r], biases), L::finish(right[r], biases + L::lanes)};
    const Score limit = best[r].scores[kKept - 1];
    uint32_t hits = L::above(scores[0], limit) | L::above(scores[1], limit) << L::lanes;
    if (hits == 0) [[likely]]
      continue;
    Score values[2 * L::lanes];
    std::memcpy(values, scores, sizeof values);
    for (; hits != 0; hits &= hits - 1) {
      const int lane = std::countr_zero(hits);
      if (values[lane] > best[r].scores[kKept - 1]) best[r].insert(values[lane], first_target + lane);
    }
  }
}

// The loop above for each instruction set.
template <class L>
struct Tile {
  static void baseline(const typename L::Query* q, const typename L::Target* t, const typename L::Score* biases,
                       int64_t groups, int32_t first_target, Best<typename L::Score>* best) {
    score_tile<L>(q, t, biases, groups, first_target, best);
  }
#if defined(__x86_64__)
  [[gnu::target("avx2,fma,bmi")]] static void avx2(const typename L::Query* q, const typename L::Target* t,
                                                   const typename L::Score* biases, int64_t groups,
                                                   int32_t first_target, Best<typename L::Score>* best) {
    score_tile<L>(q, t, biases, groups, first_target, best);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,bmi")]] static void avx512(const typename L::Query* q,
                                                                               const typename L::Target* t,
                                                                               const typename L::Score* biases,
                                                                               int64_t groups, int32_t first_target,
                                                                               Best<typename L::Score>* best) {
    score_tile<L>(q, t, biases, groups, first_target, best);
  }
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,bmi")]] static void vnni(
      const typename L::Query* q, const typename L::Target* t, const typename L::Score* biases, int64_t groups,
      int32_t first_target, Best<typename L::Score>* best) {
    score_tile<L>(q, t, biases, groups, first_target, best);
  }
#endif
};

template <class L>
using KernelOf = ScoreKernel<typename L::Query, typename L::Target, typename L::Score>;

template <class L>
KernelOf<L> kernel(decltype(KernelOf<L>::tile) tile) {
  return {L::rows, 2 * L::lanes, L::group, tile};
}

}  // namespace

const NumberKernel& number_kernel() {
  static const NumberKernel chosen = [] {
#if defined(__x86_64__)
    using Wide = Numbers<Avx512Floats, 12>;
    using Half = Numbers<Avx2Floats, 6>;
    if (simd::level() == simd::Level::avx512) return kernel<Wide>(Tile<Wide>::avx512);
    if (simd::level() == simd::Level::avx2) return kernel<Half>(Tile<Half>::avx2);
#endif
    using Narrow = Numbers<BaselineFloats, 6>;
    return kernel<Narrow>(Tile<Narrow>::baseline);
  }();
  return chosen;
}

const WordKernel& word_kernel() {
  static const WordKernel chosen = [] {
#if defined(__x86_64__)
    if (simd::level() >= simd::Level::avx2) return kernel<Avx2Words>(Tile<Avx2Words>::avx2);
#endif
    return kernel<BaselineWords>(Tile<BaselineWords>::baseline);
  }();
  return chosen;
}

const ByteKernel* byte_kernel() {
#if defined(__x86_64__)
  static const bool there = simd::level() == simd::Level::avx512 && __builtin_cpu_supports("avx512vnni");
  static const ByteKernel kernel_of_bytes = kernel<VnniBytes>(Tile<VnniBytes>::vnni);
  return there ? &kernel_of_bytes : nullptr;
#else
  return nullptr;
#endif
}

}  // namespace mk::features
