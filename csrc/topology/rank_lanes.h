// A register of ranks, for each instruction set. The instructions are named one by one: left to itself the
// compiler takes comparisons in a function that is only inlined into code for AVX apart into scalars.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>  // declares the builtins of all instruction sets
#endif

namespace mk::topology {

// What the compiler makes of plain vector code: SSE2 or NEON. A mask has sizeof(R) bits for each lane.
template <class R>
struct BaselineLanes {
  static constexpr int lanes = 16 / sizeof(R), mask_bits = sizeof(R);
  typedef R Ranks __attribute__((vector_size(16)));

  [[gnu::always_inline]] static Ranks load(const R* at) {
    Ranks ranks;
    std::memcpy(&ranks, at, sizeof ranks);
    return ranks;
  }
  [[gnu::always_inline]] static void store(R* at, const Ranks& ranks) { std::memcpy(at, &ranks, sizeof ranks); }
  [[gnu::always_inline]] static Ranks all(R value) { return value - Ranks{}; }
  [[gnu::always_inline]] static Ranks least(const Ranks& a, const Ranks& b) { return a < b ? a : b; }
  [[gnu::always_inline]] static Ranks greatest(const Ranks& a, const Ranks& b) { return a > b ? a : b; }

  // The lanes where a <= b.
  [[gnu::always_inline]] static uint64_t within(const Ranks& a, const Ranks& b) {
    typedef char Bytes __attribute__((vector_size(16)));
    const Bytes mask = (Bytes)(a <= b);
#if defined(__SSE2__)
    return static_cast<uint32_t>(__builtin_ia32_pmovmskb128(mask));
#else
    uint64_t bits = 0;
    for (int i = 0; i < 16; ++i) bits |= static_cast<uint64_t>(mask[i] != 0) << i;
    return bits;
#endif
  }
  // x where a <= b, `absent` elsewhere; and the other way round.
  [[gnu::always_inline]] static Ranks keep_within(const Ranks& x, const Ranks& a, const Ranks& b) {
    return x | (Ranks)(a > b);
  }
  [[gnu::always_inline]] static Ranks keep_beyond(const Ranks& x, const Ranks& a, const Ranks& b) {
    return x | (Ranks)(a <= b);
  }
};

#if defined(__x86_64__)

namespace vectors {
typedef char Bytes32 __attribute__((vector_size(32)));
typedef short Words32 __attribute__((vector_size(32)));
typedef int Ints32 __attribute__((vector_size(32)));
typedef short Words64 __attribute__((vector_size(64)));
typedef int Ints64 __attribute__((vector_size(64)));
}  // namespace vectors

template <class R>
struct Avx2Lanes {
  static constexpr int lanes = 32 / sizeof(R), mask_bits = sizeof(R);
  static constexpr bool short_ranks = sizeof(R) == 2;
  using Bytes = vectors::Bytes32;
  using Words = vectors::Words32;
  using Ints = vectors::Ints32;
  typedef long long Ranks __attribute__((vector_size(32)));

  [[gnu::always_inline]] static Ranks load(const R* at) {
    return (Ranks)__builtin_ia32_lddqu256(reinterpret_cast<const char*>(at));
  }
  [[gnu::always_inline]] static void store(R* at, const Ranks& ranks) { std::memcpy(at, &ranks, sizeof ranks); }
  [[gnu::always_inline]] static Ranks all(R value) {
    const long long word = static_cast<long long>(short_ranks ? value * 0x0001000100010001ull : value * 0x100000001ull);
    return Ranks{word, word, word, word};
  }
  [[gnu::always_inline]] static Ranks least(const Ranks& a, const Ranks& b) {
    if constexpr (short_ranks)
      return (Ranks)__builtin_ia32_pminuw256((Words)a, (Words)b);
    else
      return (Ranks)__builtin_ia32_pminud256((Ints)a, (Ints)b);
  }
  [[gnu::always_inline]] static Ranks greatest(const Ranks& a, const Ranks& b) {
    if constexpr (short_ranks)
      return (Ranks)__builtin_ia32_pmaxuw256((Words)a, (Words)b);
    else
      return (Ranks)__builtin_ia32_pmaxud256((Ints)a, (Ints)b);
  }
  [[gnu::always_inline]] static uint64_t within(const Ranks& a, const Ranks& b) {
    return static_cast<uint32_t>(__builtin_ia32_pmovmskb256(compare(a, b)));
  }
  [[gnu::always_inline]] static Ranks keep_within(const Ranks& x, const Ranks& a, const Ranks& b) {
    return (Ranks)__builtin_ia32_pblendvb256((Bytes)absent(), (Bytes)x, compare(a, b));
  }
  [[gnu::always_inline]] static Ranks keep_beyond(const Ranks& x, const Ranks& a, const Ranks& b) {
    return (Ranks)__builtin_ia32_pblendvb256((Bytes)x, (Bytes)absent(), compare(a, b));
  }

 private:
  [[gnu::always_inline]] static Ranks absent() { return Ranks{-1, -1, -1, -1}; }
  [[gnu::always_inline]] static Bytes compare(const Ranks& a, const Ranks& b) {
    if constexpr (short_ranks)
      return (Bytes)__builtin_ia32_pcmpeqw256((Words)least(a, b), (Words)a);
    else
      return (Bytes)__builtin_ia32_pcmpeqd256((Ints)least(a, b), (Ints)a);
  }
};

// A mask has one bit for each lane.
template <class R>
struct Avx512Lanes {
  static constexpr int lanes = 64 / sizeof(R), mask_bits = 1;
  static constexpr bool short_ranks = sizeof(R) == 2;
  static constexpr int not_above = 2, above = 6;  // predicates of the comparison
  using Words = vectors::Words64;
  using Ints = vectors::Ints64;
  typedef long long Ranks __attribute__((vector_size(64)));

  [[gnu::always_inline]] static Ranks load(const R* at) {
    Ranks ranks;
    std::memcpy(&ranks, at, sizeof ranks);
    return ranks;
  }
  [[gnu::always_inline]] static void store(R* at, const Ranks& ranks) { std::memcpy(at, &ranks, sizeof ranks); }
  [[gnu::always_inline]] static Ranks all(R value) {
    return static_cast<long long>(short_ranks ? value * 0x0001000100010001ull : value * 0x100000001ull) - Ranks{};
  }
  [[gnu::always_inline]] static Ranks least(const Ranks& a, const Ranks& b) {
    if constexpr (short_ranks)
      return (Ranks)__builtin_ia32_pminuw512_mask((Words)a, (Words)b, Words{}, ~0u);
    else
      return (Ranks)__builtin_ia32_pminud512_mask((Ints)a, (Ints)b, Ints{}, 0xffff);
  }
  [[gnu::always_inline]] static Ranks greatest(const Ranks& a, const Ranks& b) {
    if constexpr (short_ranks)
      return (Ranks)__builtin_ia32_pmaxuw512_mask((Words)a, (Words)b, Words{}, ~0u);
    else
      return (Ranks)__builtin_ia32_pmaxud512_mask((Ints)a, (Ints)b, Ints{}, 0xffff);
  }
  [[gnu::always_inline]] static uint64_t within(const Ranks& a, const Ranks& b) { return compare<not_above>(a, b); }
  [[gnu::always_inline]] static Ranks keep_within(const Ranks& x, const Ranks& a, const Ranks& b) {
    return keep(x, compare<not_above>(a, b));
  }
  [[gnu::always_inline]] static Ranks keep_beyond(const Ranks& x, const Ranks& a, const Ranks& b) {
    return keep(x, compare<above>(a, b));
  }

 private:
  template <int Predicate>
  [[gnu::always_inline]] static uint32_t compare(const Ranks& a, const Ranks& b) {
    if constexpr (short_ranks)
      return __builtin_ia32_ucmpw512_mask((Words)a, (Words)b, Predicate, ~0u);
    else
      return static_cast<uint16_t>(__builtin_ia32_ucmpd512_mask((Ints)a, (Ints)b, Predicate, 0xffff));
  }
  [[gnu::always_inline]] static Ranks keep(const Ranks& x, uint32_t mask) {
    const Ranks absent = ~Ranks{};
    if constexpr (short_ranks)
      return (Ranks)__builtin_ia32_blendmw_512_mask((Words)absent, (Words)x, mask);
    else
      return (Ranks)__builtin_ia32_blendmd_512_mask((Ints)absent, (Ints)x, static_cast<uint16_t>(mask));
  }
};

#endif

}  // namespace mk::topology
