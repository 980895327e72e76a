#include "regions/bit_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "common/simd.h"

namespace mk::regions {

namespace {

// Bits of a row one place up, so that each meets the bit before it, word after word.
class Previous {
 public:
  [[gnu::always_inline]] uint64_t operator()(uint64_t bits) {
    const uint64_t shifted = bits << 1 | carry_;
    carry_ = bits >> 63;
    return shifted;
  }
  // Whether the last bit was set.
  [[gnu::always_inline]] bool open() const { return carry_ != 0; }

 private:
  uint64_t carry_ = 0;
};

// One bit for each of 8 bytes, set where the byte is not 0.
[[gnu::always_inline]] inline uint64_t nonzero_bits(uint64_t bytes) {
  constexpr uint64_t low7 = 0x7f7f7f7f7f7f7f7f, top = 0x8080808080808080;
  const uint64_t set = ((((bytes & low7) + low7) | bytes) & top) >> 7;
  return (set * 0x0102040810204080) >> 56;
}

[[gnu::always_inline]] inline uint64_t element_bits(const uint8_t* from) {
  uint64_t bits = 0, bytes;
  for (int i = 0; i < 8; ++i) {
    std::memcpy(&bytes, from + 8 * i, 8);
    if constexpr (std::endian::native == std::endian::big) bytes = __builtin_bswap64(bytes);
    bits |= nonzero_bits(bytes) << (8 * i);
  }
  return bits;
}

// `word` gives the bits of 64 elements.
template <class Word>
[[gnu::always_inline]] inline uint32_t pack_row(const uint8_t* row, int64_t width, bool of_zeros, uint64_t* bits,
                                                const Word& word) {
  const uint64_t flip = of_zeros ? ~uint64_t{0} : 0;
  Previous previous;
  uint32_t runs = 0;
  for (int64_t x = 0; x < width; x += 64) {
    const int64_t count = std::min<int64_t>(64, width - x);
    uint64_t found;
    if (count == 64) {
      found = word(row + x) ^ flip;
    } else {
      std::array<uint8_t, 64> padded{};
      std::memcpy(padded.data(), row + x, static_cast<size_t>(count));
      found = (word(padded.data()) ^ flip) & ((uint64_t{1} << count) - 1);
    }
    *bits++ = found;
    runs += static_cast<uint32_t>(std::popcount(found & ~previous(found)));
  }
  return runs;
}

[[gnu::always_inline]] inline uint32_t count_bits(uint64_t bits) { return static_cast<uint32_t>(std::popcount(bits)); }

// For each bit of `places` writes base + the number of bits of `counted` below it, its own place counting if
// `inclusive`. Returns the end of what was written, behind which there may be kRunSlack - 1 entries of no meaning: most
// words then need no loop whose end is a guess.
[[gnu::always_inline]] inline uint32_t* write_ranks(uint64_t places, uint64_t counted, bool inclusive, uint32_t base,
                                                    uint32_t* to) {
  uint32_t* const end = to + std::popcount(places);
  for (; to < end; to += kRunSlack)
    for (int i = 0; i < kRunSlack; ++i) {
      const uint64_t rest = places & (places - 1), upto = places ^ (places - 1);
      to[i] = base + count_bits(counted & (inclusive ? upto : upto >> 1));
      places = rest;
    }
  return end;
}

template <int reach>
[[gnu::always_inline]] inline void find_touching(const uint64_t* row, const uint64_t* other, int64_t words,
                                                 uint32_t* first, uint32_t* last) {
  Previous row_before, other_before;
  uint32_t started = 0, stopped = 0;  // runs of `other` in earlier words
  for (int64_t w = 0; w < words; ++w) {
    const uint64_t here = row[w], before = row_before(here), there = other[w], there_before = other_before(there);
    const uint64_t starts = there & ~there_before, stops = ~there & there_before;
    // A run [a, b) passes those that stop before it can touch them, at a - reach or before, and takes those that start
    // up to b - 1 + reach.
    first = write_ranks(here & ~before, stops, reach == 0, stopped, first);
    last = write_ranks(~here & before, starts, reach == 1, started, last);
    started += count_bits(starts);
    stopped += count_bits(stops);
  }
  if (row_before.open()) *last = started;
}

[[gnu::always_inline]] inline void touching_rows(const uint64_t* row, const uint64_t* other, int64_t words, int reach,
                                                 uint32_t* first, uint32_t* last) {
  if (reach == 0)
    find_touching<0>(row, other, words, first, last);
  else
    find_touching<1>(row, other, words, first, last);
}

[[gnu::always_inline]] inline int64_t find_pairs(const uint64_t* row, const uint64_t* other, const uint64_t* screen,
                                                 int64_t words, int reach, int screen_reach, uint32_t* of,
                                                 uint32_t* to) {
  const uint32_t* const begin = of;
  Previous row_before, other_before, screen_before, overlap_before;
  uint32_t row_started = 0, other_started = 0;
  for (int64_t w = 0; w < words; ++w) {
    const uint64_t here = row[w], here_before = row_before(here), there = other[w], there_before = other_before(there);
    const uint64_t between = screen[w], between_before = screen_before(between);
    const uint64_t between_after = between >> 1 | (w + 1 < words ? screen[w + 1] << 63 : 0);
    // Where elements at the same x are joined through the screen, and where both at x and x - 1 and at x - 1 and x are.
    const uint64_t straight = screen_reach == 0 ? between : between | between_before | between_after;
    const uint64_t diagonal = screen_reach == 0 ? between & between_before : between | between_before;

    // Two runs overlap in one stretch at most, or touch at one corner.
    const uint64_t overlap = here & there & ~straight;
    uint64_t meet = overlap & ~overlap_before(overlap);
    if (reach == 1) meet |= (here ^ there) & (here_before ^ there_before) & (here ^ here_before) & ~diagonal;

    const uint64_t row_starts = here & ~here_before, other_starts = there & ~there_before;
    of = write_ranks(meet, row_starts, true, row_started - 1, of);
    to = write_ranks(meet, other_starts, true, other_started - 1, to);
    row_started += count_bits(row_starts);
    other_started += count_bits(other_starts);
  }
  return of - begin;
}

struct Baseline {
  static uint32_t pack(const uint8_t* row, int64_t width, bool of_zeros, uint64_t* bits) {
    return pack_row(row, width, of_zeros, bits, element_bits);
  }
  static void touching(const uint64_t* row, const uint64_t* other, int64_t words, int reach, uint32_t* first,
                       uint32_t* last) {
    touching_rows(row, other, words, reach, first, last);
  }
  static int64_t pairs(const uint64_t* row, const uint64_t* other, const uint64_t* screen, int64_t words, int reach,
                       int screen_reach, uint32_t* of, uint32_t* to) {
    return find_pairs(row, other, screen, words, reach, screen_reach, of, to);
  }
  static void paint(const uint64_t* bits, const int32_t* values, int64_t width, int32_t* out) {
    uint64_t before = 0;
    for (int64_t x = 0; x < width; ++x) {
      const uint64_t set = bits[x / 64] >> (x % 64) & 1;
      values += set & ~before;
      before = set;
      out[x] = set ? *values : 0;
    }
  }
};

#if defined(__x86_64__)

// Byte i of entry s counts the bits of s up to bit i.
constexpr std::array<uint64_t, 256> kBitsUpTo = [] {
  std::array<uint64_t, 256> table{};
  for (uint64_t s = 0; s < 256; ++s)
    for (int i = 0; i < 8; ++i) table[s] |= static_cast<uint64_t>(std::popcount(s & ((2u << i) - 1))) << (8 * i);
  return table;
}();

// Builtins, because this is inlined into code for AVX2 but is no such code by itself.
[[gnu::always_inline]] inline uint64_t avx2_element_bits(const uint8_t* from) {
  typedef char Bytes __attribute__((vector_size(32)));
  Bytes low, high;
  std::memcpy(&low, from, sizeof low);
  std::memcpy(&high, from + sizeof low, sizeof high);
  const auto zeros_low = static_cast<uint32_t>(__builtin_ia32_pmovmskb256(__builtin_ia32_pcmpeqb256(low, Bytes{})));
  const auto zeros_high = static_cast<uint32_t>(__builtin_ia32_pmovmskb256(__builtin_ia32_pcmpeqb256(high, Bytes{})));
  return ~(zeros_low | uint64_t{zeros_high} << 32);
}

// There is no set for AVX-512: bits are counted word by word, and what else there is to do waits for memory.
struct Avx2 {
  [[gnu::target("avx2,popcnt,bmi")]] static uint32_t pack(const uint8_t* row, int64_t width, bool of_zeros,
                                                          uint64_t* bits) {
    return pack_row(row, width, of_zeros, bits, avx2_element_bits);
  }
  [[gnu::target("avx2,popcnt,bmi")]] static void touching(const uint64_t* row, const uint64_t* other, int64_t words,
                                                          int reach, uint32_t* first, uint32_t* last) {
    touching_rows(row, other, words, reach, first, last);
  }
  [[gnu::target("avx2,popcnt,bmi")]] static int64_t pairs(const uint64_t* row, const uint64_t* other,
                                                          const uint64_t* screen, int64_t words, int reach,
                                                          int screen_reach, uint32_t* of, uint32_t* to) {
    return find_pairs(row, other, screen, words, reach, screen_reach, of, to);
  }
  // Eight elements at a time: the values of at most five runs, moved to where their runs are.
  [[gnu::target("avx2,popcnt,bmi")]] static void paint(const uint64_t* bits, const int32_t* values, int64_t width,
                                                       int32_t* out) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i own = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    Previous previous;
    for (int64_t x = 0; x < width; x += 64) {
      uint64_t set = *bits++, starts = set & ~previous(set);
      const int64_t stop = std::min(width, x + 64);
      for (int64_t at = x; at < stop; at += 8, set >>= 8, starts >>= 8) {
        const uint64_t passed = kBitsUpTo[starts & 255];
        const __m256i run = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(passed)));
        const __m256i near = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
        const __m256i those = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(set & 255)), own);
        const __m256i found = _mm256_and_si256(_mm256_permutevar8x32_epi32(near, run), _mm256_cmpeq_epi32(those, own));
        values += passed >> 56;
        if (stop - at >= 8) {
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at), found);
        } else {
          const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(stop - at)), lane);
          _mm256_maskstore_epi32(out + at, inside, found);
        }
      }
    }
  }
};

#endif

template <class Set>
BitRows rows_of() {
  return {Set::pack, Set::touching, Set::pairs, Set::paint};
}

}  // namespace

const BitRows& bit_rows() {
  static const BitRows chosen = [] {
#if defined(__x86_64__)
    if (simd::level() != simd::Level::baseline && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi"))
      return rows_of<Avx2>();
#endif
    return rows_of<Baseline>();
  }();
  return chosen;
}

}  // namespace mk::regions
