// Rows of four numbers to columns and back, in registers of the widest kind that the processor has.
#pragma once

#include <algorithm>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/widest.h"

namespace mk::points {

constexpr int kRow = 4;

// Memory from the start of a cache line on, so that registers of any width lie in one line.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};
  LineAllocator() = default;
  template <class Other>
  LineAllocator(const LineAllocator<Other>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), line)); }
  void deallocate(T* from, size_t) { ::operator delete(from, line); }
  bool operator==(const LineAllocator&) const = default;
};
template <class T>
using Lines = std::vector<T, LineAllocator<T>>;

template <class T, int kLanes>
using Register = typename simd::VectorTypes<T, kLanes>::Real;

// Lanes of a register; where it cannot hold a row, those of as many registers as can.
template <class T, class Bytes>
constexpr int kLanesIn = std::max(kRow, Bytes::value / int{sizeof(T)});

#if defined(__x86_64__)
template <class Body>
[[gnu::target("avx2")]] void with_avx2_registers(const Body& body) {
  body(std::integral_constant<int, 32>{});
}
template <class Body>
[[gnu::target("avx512f,avx512dq,avx512vl,avx512bw,prefer-vector-width=512")]] void with_avx512_registers(
    const Body& body) {
  body(std::integral_constant<int, 64>{});
}
#endif

// As simd::with_widest, but tells the body how many bytes a register has.
template <class Body>
void with_widest_registers(const Body& body) {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return with_avx512_registers(body);
  if (simd::level() == simd::Level::avx2) return with_avx2_registers(body);
#endif
  body(std::integral_constant<int, 16>{});
}

// Which of the numbers of two rows, of which the second has the places from 4 on, stand in a third one.
struct Places {
  int of[kRow];
};

template <Places kPlaces, class R, int... kLane>
[[gnu::always_inline]] inline R pick(const R& a, const R& b, std::integer_sequence<int, kLane...>) {
  constexpr int lanes = sizeof...(kLane);
  return __builtin_shufflevector(
      a, b, (kLane / kRow * kRow + kPlaces.of[kLane % kRow] % kRow + (kPlaces.of[kLane % kRow] < kRow ? 0 : lanes))...);
}

template <class R, int... kLane>
[[gnu::always_inline]] inline auto join(const R& low, const R& high, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(low, high, kLane...);
}

// Rows i, i + 4, i + 8, ... of those that `row` points to.
template <class T, int kLanes, class RowAt>
[[gnu::always_inline]] inline Register<T, kLanes> every_fourth(const RowAt& row, int i) {
  if constexpr (kLanes == kRow) {
    return simd::Vector<T, kRow>::load(row(i));
  } else {
    const auto low = every_fourth<T, kLanes / 2>(row, i), high = every_fourth<T, kLanes / 2>(row, i + kLanes / 2);
    return join(low, high, std::make_integer_sequence<int, kLanes>{});
  }
}

// Exchanges rows and columns of all blocks of 4 x 4.
template <class T, int kLanes>
[[gnu::always_inline]] inline void transpose(Register<T, kLanes> (&r)[kRow]) {
  using R = Register<T, kLanes>;
  constexpr bool single = sizeof(T) == sizeof(float);  // instructions differ, and with them the shortest way
  constexpr Places one = single ? Places{0, 4, 1, 5} : Places{0, 4, 2, 6};
  constexpr Places other = single ? Places{2, 6, 3, 7} : Places{1, 5, 3, 7};
  constexpr Places first{0, 1, 4, 5}, second{2, 3, 6, 7};
  constexpr auto all = std::make_integer_sequence<int, kLanes>{};
  const R a = pick<one>(r[0], r[1], all), b = pick<other>(r[0], r[1], all);
  const R c = pick<one>(r[2], r[3], all), d = pick<other>(r[2], r[3], all);
  r[0] = pick<first>(a, c, all);
  r[single ? 1 : 2] = pick<second>(a, c, all);
  r[single ? 2 : 1] = pick<first>(b, d, all);
  r[3] = pick<second>(b, d, all);
}

// Columns of the rows that row(0), row(1), ... point to.
template <class T, int kLanes, class RowAt>
[[gnu::always_inline]] inline void to_columns(const RowAt& row, Register<T, kLanes> (&columns)[kRow]) {
  for (int i = 0; i < kRow; ++i) columns[i] = every_fourth<T, kLanes>(row, i);
  transpose<T, kLanes>(columns);
}

// Which of the blocks of four lanes of two registers, of which the second has the places from 4 on, stand in a third
// one.
template <Places kPlaces, class R, int... kLane>
[[gnu::always_inline]] inline R pick_blocks(const R& a, const R& b, std::integer_sequence<int, kLane...>) {
  constexpr int lanes = sizeof...(kLane);
  return __builtin_shufflevector(
      a, b, (kPlaces.of[kLane / kRow] % kRow * kRow + kLane % kRow + (kPlaces.of[kLane / kRow] < kRow ? 0 : lanes))...);
}

// Writes rows of eight numbers, one after the other, from their columns, which are spoiled.
template <class T, int kLanes>
[[gnu::always_inline]] inline void write_rows(Register<T, kLanes> (&low)[kRow], Register<T, kLanes> (&high)[kRow],
                                              T* to) {
  using R = Register<T, kLanes>;
  using V = simd::Vector<T, kLanes>;
  constexpr auto all = std::make_integer_sequence<int, kLanes>{};
  transpose<T, kLanes>(low);
  transpose<T, kLanes>(high);
  // Block b of register i now holds a half of row 4 b + i.
  for (int i = 0; i < kRow; ++i) {
    if constexpr (kLanes == kRow) {
      V::store(to + i * 2 * kRow, low[i]);
      V::store(to + i * 2 * kRow + kRow, high[i]);
    } else if constexpr (kLanes == 2 * kRow) {
      V::store(to + i * kLanes, pick_blocks<Places{0, 4}>(low[i], high[i], all));
      V::store(to + (kRow + i) * kLanes, pick_blocks<Places{1, 5}>(low[i], high[i], all));
    } else if (i % 2 == 0) {
      constexpr Places first{0, 1, 4, 5}, second{2, 3, 6, 7}, even{0, 2, 4, 6}, odd{1, 3, 5, 7};
      const R a = pick_blocks<first>(low[i], high[i], all), b = pick_blocks<second>(low[i], high[i], all);
      const R c = pick_blocks<first>(low[i + 1], high[i + 1], all),
              d = pick_blocks<second>(low[i + 1], high[i + 1], all);
      V::store(to + i * 2 * kRow, pick_blocks<even>(a, c, all));
      V::store(to + (i + kRow) * 2 * kRow, pick_blocks<odd>(a, c, all));
      V::store(to + (i + 2 * kRow) * 2 * kRow, pick_blocks<even>(b, d, all));
      V::store(to + (i + 3 * kRow) * 2 * kRow, pick_blocks<odd>(b, d, all));
    }
  }
}

}  // namespace mk::points
