// Rows turned into columns and back, 16 bytes by 16 bytes at a time, which every processor can do.
#pragma once

#include <algorithm>
#include <cstdint>

#include "attention/lanes.h"

namespace mk::attention {

template <class T>
using Quad = typename BaselineLanes<T>::Quad;

// The square matrix of these rows, transposed.
[[gnu::always_inline]] inline void transpose(FloatQuad (&rows)[4]) {
  const FloatQuad ab = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
  const FloatQuad cd = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
  const FloatQuad upper_ab = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
  const FloatQuad upper_cd = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
  rows[0] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
  rows[1] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
  rows[2] = __builtin_shufflevector(upper_ab, upper_cd, 0, 1, 4, 5);
  rows[3] = __builtin_shufflevector(upper_ab, upper_cd, 2, 3, 6, 7);
}
[[gnu::always_inline]] inline void transpose(DoublePair (&rows)[2]) {
  const DoublePair first = __builtin_shufflevector(rows[0], rows[1], 0, 2);
  rows[1] = __builtin_shufflevector(rows[0], rows[1], 1, 3);
  rows[0] = first;
}

// to[d * width + i] = factor * from[i * step + d]; columns from `count` to `width` are zero.
template <class T>
void to_columns(const T* from, int64_t step, int64_t count, int64_t dims, T factor, T* to, int64_t width) {
  constexpr int size = 16 / sizeof(T);
  const int64_t whole_rows = count / size * size, whole_dims = dims / size * size;
  for (int64_t i = 0; i < whole_rows; i += size)
    for (int64_t d = 0; d < whole_dims; d += size) {
      Quad<T> rows[size];
      for (int j = 0; j < size; ++j) rows[j] = factor * load_vector<Quad<T>>(from + (i + j) * step + d);
      transpose(rows);
      for (int j = 0; j < size; ++j) store_vector(to + (d + j) * width + i, rows[j]);
    }
  for (int64_t d = 0; d < dims; ++d) {
    for (int64_t i = d < whole_dims ? whole_rows : 0; i < count; ++i) to[d * width + i] = factor * from[i * step + d];
    std::fill(to + d * width + count, to + (d + 1) * width, T(0));
  }
}

// to[i * step + d] = factors[i] * from[d * width + i].
template <class T>
void to_rows(const T* from, int64_t width, const T* factors, int64_t count, int64_t dims, T* to, int64_t step) {
  constexpr int size = 16 / sizeof(T);
  const int64_t whole_rows = count / size * size, whole_dims = dims / size * size;
  for (int64_t i = 0; i < whole_rows; i += size) {
    const auto factor = load_vector<Quad<T>>(factors + i);
    for (int64_t d = 0; d < whole_dims; d += size) {
      Quad<T> rows[size];
      for (int j = 0; j < size; ++j) rows[j] = factor * load_vector<Quad<T>>(from + (d + j) * width + i);
      transpose(rows);
      for (int j = 0; j < size; ++j) store_vector(to + (i + j) * step + d, rows[j]);
    }
  }
  for (int64_t i = 0; i < count; ++i)
    for (int64_t d = i < whole_rows ? whole_dims : 0; d < dims; ++d)
      to[i * step + d] = factors[i] * from[d * width + i];
}

}  // namespace mk::attention
