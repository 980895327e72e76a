// Measures of the components of a batch of masks, from their runs within words. All sums are of integers and exact, so
// that they do not depend on the order in which threads add to them.
#pragma once

#include <cstdint>

#include "regions/label_cuda.h"
#include "regions/words.cuh"

namespace mk::cuda {

constexpr int kWordsOfGroup = 8;  // that one thread goes through, so that it adds to sums less often

__host__ __device__ inline int64_t groups_of_row(const Words& words) {
  return (words.in_row + kWordsOfGroup - 1) / kWordsOfGroup;
}

// Sums over the elements of each component, offsets taken from its first element. Sums of products have 128 bits:
// masks of one long row need more than 64.
struct Sums {
  using Part = unsigned long long;

  int dims;
  int32_t* origin;  // the first element, counted within its item
  Part* first;      // [n, dims]
  Part* second;     // [n, products, 2], low halves before high ones; products zz, zy, zx, yy, yx, xx or yy, yx, xx

  Sums(Arena& arena, int64_t count, int dims)
      : dims(dims),
        origin(arena.take<int32_t>(count)),
        first(arena.take<Part>(count * dims)),
        second(arena.take<Part>(count * products(dims) * 2)) {}

  __host__ __device__ static int products(int dims) { return dims * (dims + 1) / 2; }
  static int64_t bytes(int dims) { return sizeof(int32_t) + sizeof(Part) * (dims + 2 * products(dims)); }

  // Where the product of offsets along the axes i <= j stands.
  __device__ static int product(int dims, int i, int j) { return i * (2 * dims - i - 1) / 2 + j; }
};

// Finds the first elements of all components and clears their sums.
__global__ void begin_sums(Words words, const uint32_t* roots, const int32_t* labels, const int64_t* item_first,
                           MeasureArrays measures, Sums sums) {
  for (int64_t word = thread_index(); word < words.count(); word += thread_count()) {
    if (roots[word] == 0) continue;
    const WordPlace place(words, word);
    const int32_t* const numbers = labels + place.item * words.item_size();
    for_each_bit(roots[word], [&](int at) {
      const int32_t element = place.element + at;
      const int64_t c = item_first[place.item] + numbers[element] - 1;
      sums.origin[c] = element;
      measures.area[c] = 0;
      measures.perimeter[c] = 0;
      for (int d = 0; d < sums.dims; ++d) {
        measures.box[c * 2 * sums.dims + d] = INT32_MAX;
        measures.box[(c * 2 + 1) * sums.dims + d] = 0;
        sums.first[c * sums.dims + d] = 0;
      }
      const int parts = 2 * Sums::products(sums.dims);
      for (int i = 0; i < parts; ++i) sums.second[c * parts + i] = 0;
    });
  }
}

// What a thread knows of the component that it is at: elements of one row.
struct RowSums {
  int64_t component = -1;
  int32_t origin_x = 0;
  int32_t low = 0, high = 0;  // first x and one beyond the last
  int64_t area = 0, perimeter = 0;
  int64_t x = 0;    // the sum of offsets
  __int128 xx = 0;  // and of their squares
};

__device__ inline void add_to(int64_t* to, int64_t value) {
  atomicAdd(reinterpret_cast<Sums::Part*>(to), static_cast<Sums::Part>(value));
}

// Adds to a number of 128 bits: the high half is touched only when it changes.
__device__ inline void add_to(Sums::Part* halves, __int128 value) {
  const auto low = static_cast<Sums::Part>(value);
  const Sums::Part before = atomicAdd(halves, low);
  const Sums::Part carried = static_cast<Sums::Part>(value >> 64) + (before + low < before ? 1 : 0);
  if (carried != 0) atomicAdd(halves + 1, carried);
}

__device__ inline void add_row(const Words& words, const WordPlace& place, const RowSums& row,
                               const MeasureArrays& measures, const Sums& sums) {
  if (row.component < 0) return;
  const int64_t c = row.component;
  const int dims = sums.dims;
  add_to(measures.area + c, row.area);
  add_to(measures.perimeter + c, row.perimeter);
  const int32_t origin_row = sums.origin[c] / words.width;
  // Offsets of the row; for pictures the first of them is always 0 and stands nowhere.
  const int64_t z = place.z - origin_row / words.height, y = place.y - origin_row % words.height;
  const int64_t lows[3] = {place.z, place.y, row.low}, highs[3] = {place.z + 1, place.y + 1, row.high};
  const int64_t firsts[3] = {z * row.area, y * row.area, row.x};
  const __int128 area = row.area, x = row.x;
  const __int128 seconds[6] = {area * z * z, area * z * y, x * z, area * y * y, x * y, row.xx};
  for (int d = 0; d < dims; ++d) {
    const int axis = d + 3 - dims;
    int64_t* const box = measures.box + c * 2 * dims + d;
    atomicMin(reinterpret_cast<long long*>(box), static_cast<long long>(lows[axis]));
    atomicMax(reinterpret_cast<long long*>(box + dims), static_cast<long long>(highs[axis]));
    if (firsts[axis] != 0) add_to(reinterpret_cast<int64_t*>(sums.first) + c * dims + d, firsts[axis]);
  }
  const int products = Sums::products(dims);
  for (int i = 0; i < products; ++i) {
    const __int128 value = seconds[i + 6 - products];
    if (value != 0) add_to(sums.second + (c * products + i) * 2, value);
  }
}

// A thread a group of words of a row.
__global__ void add_runs(Words words, const uint32_t* bits, const int32_t* labels, const int64_t* item_first,
                         MeasureArrays measures, Sums sums) {
  const int64_t groups = groups_of_row(words), units = words.rows() * groups;
  for (int64_t unit = thread_index(); unit < units; unit += thread_count()) {
    const int64_t row_of_all = unit / groups;
    const auto first = static_cast<int32_t>(unit - row_of_all * groups) * kWordsOfGroup;
    const int32_t last = min(first + kWordsOfGroup, words.in_row);
    const WordPlace place(words, row_of_all * words.in_row);
    const int32_t* const numbers = labels + row_of_all * words.width;
    RowSums row;
    for (int32_t k = first; k < last; ++k) {
      const int64_t word = row_of_all * words.in_row + k;
      if (bits[word] == 0) continue;
      const int32_t x = k * kWordBits;
      const WordInRow here(words, bits, word, x);
      const uint32_t above = place.y > 0 ? bits[word - words.in_row] : 0;
      const uint32_t behind = place.z > 0 ? bits[word - int64_t{words.in_row} * words.height] : 0;
      for (uint32_t rest = here.own; rest != 0;) {
        const int start = __ffs(static_cast<int>(rest)) - 1;
        const uint32_t gaps = ~rest & ~bits_below(start);
        const int stop = gaps != 0 ? __ffs(static_cast<int>(gaps)) - 1 : kWordBits;
        const uint32_t run = stop < kWordBits ? rest & bits_below(stop) : rest;
        rest &= ~run;
        const int64_t component = item_first[place.item] + numbers[x + start] - 1;
        if (component != row.component) {
          add_row(words, place, row, measures, sums);
          row = {.component = component, .origin_x = sums.origin[component] % words.width, .low = x + start};
        }
        row.high = x + stop;
        const int64_t length = stop - start, offset = int64_t{x} + start - row.origin_x;
        row.area += length;
        // A side between two elements of a component, in this row and one before, is counted by both.
        row.perimeter += 2 * (sums.dims - 1) * length - 2 * (__popc(run & above) + __popc(run & behind));
        if ((here.left() >> start & 1) == 0) row.perimeter += 2;
        row.x += length * offset + length * (length - 1) / 2;
        row.xx += __int128{length} * offset * offset + offset * length * (length - 1) +
                  (length - 1) * length * (2 * length - 1) / 6;
      }
    }
    add_row(words, place, row, measures, sums);
  }
}

// Means and covariances, each operation rounded by itself as on the CPU.
__global__ void finish_sums(Words words, int64_t count, MeasureArrays measures, Sums sums) {
  const int dims = sums.dims, products = Sums::products(dims);
  for (int64_t c = thread_index(); c < count; c += thread_count()) {
    const double area = static_cast<double>(measures.area[c]);
    const int32_t origin_row = sums.origin[c] / words.width;
    const int32_t origin[3] = {origin_row / words.height, origin_row % words.height, sums.origin[c] % words.width};
    const auto mean = [&](int d) {
      return __ddiv_rn(static_cast<double>(static_cast<int64_t>(sums.first[c * dims + d])), area);
    };
    for (int i = 0; i < dims; ++i) {
      measures.centroid[c * dims + i] = __dadd_rn(static_cast<double>(origin[i + 3 - dims]), mean(i));
      for (int j = 0; j < dims; ++j) {
        const Sums::Part* const halves = sums.second + (c * products + Sums::product(dims, min(i, j), max(i, j))) * 2;
        const __int128 sum = static_cast<__int128>(static_cast<unsigned __int128>(halves[1]) << 64 | halves[0]);
        const double square = __ddiv_rn(static_cast<double>(sum), area);
        measures.moments[(c * dims + i) * dims + j] = __dsub_rn(square, __dmul_rn(mean(i), mean(j)));
      }
    }
  }
}

}  // namespace mk::cuda
