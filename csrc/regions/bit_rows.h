// Rows of a mask as bits, element x of a row being bit x % 64 of word x / 64, and what is done with all runs of a row
// at once. A run is a maximal stretch of set bits; the runs of a row are numbered from 0. How many runs start or stop
// before a place is a count of bits, so that no row is walked element by element and little depends on the density.
// Compiled for several instruction sets, of which the best is taken at run time; results are the same.
// Counting bits instead of walking: F. Lemaitre, A. Hennequin, L. Lacassagne, "How to speed connected component
// labeling up with SIMD RLE algorithms" (2020).
#pragma once

#include <cstdint>

namespace mk::regions {

// Tables of numbers of runs are written in fours, up to this many entries too far.
constexpr int64_t kRunSlack = 4;

// Values to be painted are read in eights, up to this many entries too far.
constexpr int64_t kPaintSlack = 7;

struct BitRows {
  // Writes the bits of elements that are not 0, or that are 0 if `of_zeros`, and zeros behind the last element.
  // Returns the number of runs.
  uint32_t (*pack)(const uint8_t* row, int64_t width, bool of_zeros, uint64_t* bits);

  // For each run of `row` the runs of `other` that touch it, from first[i] to last[i] - 1; none if they are equal.
  // Elements touch where their x differ by at most `reach`, 0 or 1.
  void (*touching)(const uint64_t* row, const uint64_t* other, int64_t words, int reach, uint32_t* first,
                   uint32_t* last);

  // The pairs of touching runs, each once: run of[i] of `row` and run to[i] of `other`. Returns how many there are, at
  // most one for each element. Pairs may be left out that only meet where they are joined through a third row, called
  // `screen`, which touches `row` with reach 1 and `other` with reach `screen_reach`.
  int64_t (*pairs)(const uint64_t* row, const uint64_t* other, const uint64_t* screen, int64_t words, int reach,
                   int screen_reach, uint32_t* of, uint32_t* to);

  // Writes values[i + 1] to the elements of run i, and 0 to those in between.
  void (*paint)(const uint64_t* bits, const int32_t* values, int64_t width, int32_t* out);
};

const BitRows& bit_rows();

}  // namespace mk::regions
