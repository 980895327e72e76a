// Random numbers that are a function of a seed and a counter, so that any processor gets the same ones in any order:
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"), which Triton's
// `tl.philox` and CUDA's curand compute too. The key is the seed, low word first.
//
// Cost: 20 products of 32 bits for four numbers.
#pragma once

#include <cstdint>

#include "attention/lanes.h"

namespace mk::attention {

// Registers of 64-bit lanes of which the low 32 bits count. Instructions are named, see lanes.h.
struct BaselineWords {
  typedef uint64_t Words __attribute__((vector_size(16)));
  static constexpr int lanes = 2;
  [[gnu::always_inline]] static Words all(uint64_t value) { return Words{value, value}; }
  [[gnu::always_inline]] static Words product(const Words& a, const Words& b) {
#if defined(__x86_64__)
    typedef int Halves __attribute__((vector_size(16)));
    return (Words)__builtin_ia32_pmuludq128((Halves)a, (Halves)b);
#else
    constexpr Words low = {0xffffffff, 0xffffffff};
    return (a & low) * (b & low);
#endif
  }
  [[gnu::always_inline]] static Words high(const Words& a) { return a >> 32; }
  [[gnu::always_inline]] static Words differ(const Words& a, const Words& b) { return a ^ b; }
  [[gnu::always_inline]] static Words from(uint64_t first) { return Words{first, first + 1}; }
  // The high halves of a, and behind each that of b.
  [[gnu::always_inline]] static Words high_halves(const Words& a, const Words& b) {
    constexpr Words low = {0xffffffff, 0xffffffff};
    return (a >> 32) | (b & ~low);
  }
};

#if defined(__x86_64__)

struct Avx2Words {
  typedef long long Words __attribute__((vector_size(32)));
  typedef int Halves __attribute__((vector_size(32)));
  static constexpr int lanes = 4;
  [[gnu::always_inline]] static Words all(uint64_t value) {
    typedef long long Pair __attribute__((vector_size(16)));
    return __builtin_ia32_pbroadcastq256(Pair{static_cast<long long>(value), 0});
  }
  [[gnu::always_inline]] static Words product(const Words& a, const Words& b) {
    return (Words)__builtin_ia32_pmuludq256((Halves)a, (Halves)b);
  }
  [[gnu::always_inline]] static Words high(const Words& a) { return __builtin_ia32_psrlqi256(a, 32); }
  [[gnu::always_inline]] static Words differ(const Words& a, const Words& b) {
    typedef double Reals __attribute__((vector_size(32)));
    return (Words)__builtin_ia32_xorpd256((Reals)a, (Reals)b);
  }
  [[gnu::always_inline]] static Words from(uint64_t first) {
    return __builtin_ia32_paddq256(all(first), Words{0, 1, 2, 3});
  }
  [[gnu::always_inline]] static Words high_halves(const Words& a, const Words& b) {
    constexpr int odd = 0xaa;
    return (Words)__builtin_ia32_pblendd256((Halves)high(a), (Halves)b, odd);
  }
};

struct Avx512Words {
  typedef long long Words __attribute__((vector_size(64)));
  typedef int Halves __attribute__((vector_size(64)));
  static constexpr int lanes = 8;
  static constexpr uint8_t every = 0xff;
  [[gnu::always_inline]] static Words all(uint64_t value) {
    return __builtin_ia32_pbroadcastq512_gpr_mask(static_cast<long long>(value), Words{}, every);
  }
  [[gnu::always_inline]] static Words product(const Words& a, const Words& b) {
    return __builtin_ia32_pmuludq512_mask((Halves)a, (Halves)b, a, every);
  }
  [[gnu::always_inline]] static Words high(const Words& a) { return __builtin_ia32_psrlqi512_mask(a, 32, a, every); }
  [[gnu::always_inline]] static Words differ(const Words& a, const Words& b) {
    return __builtin_ia32_pxorq512_mask(a, b, a, every);
  }
  [[gnu::always_inline]] static Words from(uint64_t first) {
    const Words numbers = all(first);
    return __builtin_ia32_paddq512_mask(numbers, Words{0, 1, 2, 3, 4, 5, 6, 7}, numbers, every);
  }
  [[gnu::always_inline]] static Words high_halves(const Words& a, const Words& b) {
    constexpr uint16_t odd = 0xaaaa;
    return (Words)__builtin_ia32_blendmd_512_mask((Halves)high(a), (Halves)b, odd);
  }
};

#endif

// Four numbers for each of W::lanes consecutive values of the first counter word: the low words of numbers[word][lane]
// belong to the counter (first + lane, second, 0, 0).
template <class W>
struct Philox {
  using Words = typename W::Words;
  Words numbers[4];

  [[gnu::always_inline]] inline Philox(uint64_t seed, uint32_t first, uint32_t second) {
    const Words multiplier_a = W::all(0xD2511F53), multiplier_b = W::all(0xCD9E8D57);
    constexpr uint32_t weyl_a = 0x9E3779B9, weyl_b = 0xBB67AE85;
    constexpr int rounds = 10;
    Words a = W::from(first), b = W::all(second), c = W::all(0), d = c;
    auto key_a = static_cast<uint32_t>(seed), key_b = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 16
    for (int round = 0; round < rounds; ++round) {
      const Words left = W::product(multiplier_a, a), right = W::product(multiplier_b, c);
      a = W::differ(W::differ(W::high(right), b), W::all(key_a));
      c = W::differ(W::differ(W::high(left), d), W::all(key_b));
      b = right;
      d = left;
      key_a += weyl_a;
      key_b += weyl_b;
    }
    numbers[0] = a;
    numbers[1] = b;
    numbers[2] = c;
    numbers[3] = d;
  }

  // Numbers below `count` < 2^32, as even as 32 bits allow: those of words 0 and 1 of each lane, then of 2 and 3.
  [[gnu::always_inline]] inline void below(uint64_t count, uint32_t* to) const {
    const Words all = W::all(count);
    for (int word = 0; word < 4; word += 2)
      store_vector(to + word * W::lanes,
                   W::high_halves(W::product(numbers[word], all), W::product(numbers[word + 1], all)));
  }
};

}  // namespace mk::attention
