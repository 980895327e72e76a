// The inner loops: products of small matrices, and the softmax of tiles of scores. A tile holds kTile keys as rows and
// queries as columns, so that every loop over queries is a loop over lanes and no register is ever summed up.
#pragma once

#include <cstdint>

#include "attention/lanes.h"

namespace mk::attention {

constexpr int64_t kTile = 64;     // keys
constexpr int64_t kRowBlock = 8;  // rows of a product are counted in these

// left [rows, depth] times right [depth, columns]. Element (i, k) of `left` is left[i * left_row + k * left_step].
// `rows` is a multiple of kRowBlock, `columns` one of kWidth.
template <class T>
struct Product {
  int64_t rows, columns, depth;
  const T* left;
  int64_t left_row, left_step;
  const T* right;
  int64_t right_row;
  T* result;
  int64_t result_row;
};

// Columns of a tile: `width`, a multiple of kWidth, of which each has a value in the vectors.
template <class T>
struct Columns {
  int64_t width;
  T* top;     // greatest score so far
  T* total;   // sum of exp(score - top) so far
  T* factor;  // what sums over earlier tiles have to be multiplied with
};

template <class T>
struct TileKernels {
  void (*multiply)(const Product<T>&);      // result = left right
  void (*multiply_add)(const Product<T>&);  // result += left right
  // Turns `count` rows of scores into exp(score - top). Returns whether any top has risen.
  bool (*soften)(T* scores, int64_t count, const Columns<T>& columns);
  // hits[key] gets a bit for each column, of at most 64, whose score is above its limit.
  void (*above)(const T* scores, int64_t count, int64_t width, const T* limits, uint64_t* hits);
  // Turns scores into p = exp(score - level), and products into slopes p (product - mean).
  void (*slopes)(T* scores, T* products, int64_t count, int64_t width, const T* level, const T* mean);
  // The same where the queries are rows: each of the `count` rows has a level and a mean.
  void (*slopes_by_row)(T* scores, T* products, int64_t count, int64_t width, const T* level, const T* mean);
};

// Those for this processor.
template <class T>
const TileKernels<T>& tile_kernels();

}  // namespace mk::attention
