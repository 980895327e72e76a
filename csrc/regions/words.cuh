// Masks as words of 32 elements of a row, one bit an element.
#pragma once

#include <cstdint>

#include "common/launch.cuh"

namespace mk::cuda {

constexpr int kWordBits = 32;

// Items of depth x height x width elements, fewer than 2^31 each and not empty, and where their words lie.
struct Words {
  int64_t items;
  int32_t depth, height, width;
  int32_t in_row;

  Words(int64_t items, int64_t depth, int64_t height, int64_t width)
      : items(items),
        depth(static_cast<int32_t>(depth)),
        height(static_cast<int32_t>(height)),
        width(static_cast<int32_t>(width)),
        in_row(static_cast<int32_t>((width + kWordBits - 1) / kWordBits)) {}

  __host__ __device__ int64_t item_rows() const { return int64_t{depth} * height; }
  __host__ __device__ int64_t item_size() const { return item_rows() * width; }
  __host__ __device__ int64_t in_item() const { return item_rows() * in_row; }
  __host__ __device__ int64_t rows() const { return items * item_rows(); }
  __host__ __device__ int64_t count() const { return items * in_item(); }
};

// Where a word is. `element` is its first element, counted within its item.
struct WordPlace {
  int64_t item;
  int32_t z, y, x, element;

  __device__ WordPlace(const Words& words, int64_t word) {
    const int64_t row_of_all = word / words.in_row;
    item = row_of_all / words.item_rows();
    const auto row = static_cast<int32_t>(row_of_all - item * words.item_rows());
    z = row / words.height;
    y = row - z * words.height;
    x = static_cast<int32_t>(word - row_of_all * words.in_row) * kWordBits;
    element = row * words.width + x;
  }
};

// A word between those beside it in its row; bits beyond the row are 0.
struct WordInRow {
  uint32_t before, own, after;

  __device__ WordInRow(const Words& words, const uint32_t* bits, int64_t word, int32_t x)
      : before(x > 0 ? bits[word - 1] : 0),
        own(bits[word]),
        after(x + int64_t{kWordBits} < words.width ? bits[word + 1] : 0) {}

  // Each element's neighbour to the left, and to the right.
  __device__ uint32_t left() const { return own << 1 | before >> (kWordBits - 1); }
  __device__ uint32_t right() const { return own >> 1 | after << (kWordBits - 1); }
};

__device__ inline uint32_t bits_below(int place) { return (uint32_t{1} << place) - 1; }
__device__ inline uint32_t run_starts(uint32_t word) { return word & ~(word << 1); }

// Where the run that holds the set bit `place` starts within its word.
__device__ inline int run_start(uint32_t word, int place) { return kWordBits - __clz(~word & bits_below(place)); }

// Calls visit(place) for the set bits of a word.
template <class Visit>
__device__ void for_each_bit(uint32_t word, const Visit& visit) {
  for (; word != 0; word &= word - 1) visit(__ffs(static_cast<int>(word)) - 1);
}

}  // namespace mk::cuda
