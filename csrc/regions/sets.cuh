// Disjoint sets of numbers that all threads join and search at once. parent[x] is another number of the set of x; the
// root of a set is its own parent. Only roots are joined, by compare and swap, and other ways only become shorter, so
// that every value that a thread may find leads to the root.
#pragma once

#include <cstdint>

namespace mk::cuda {

// Numbers that other blocks write meanwhile: not to be kept in a register or in the cache of a multiprocessor.
__device__ inline int32_t peek(const int32_t* from) { return *static_cast<const volatile int32_t*>(from); }
__device__ inline uint32_t peek(const uint32_t* from) { return *static_cast<const volatile uint32_t*>(from); }
__device__ inline void put(int32_t* to, int32_t value) { *static_cast<volatile int32_t*>(to) = value; }

// The root of x; halves the way to it.
__device__ inline int32_t find_root(int32_t* parent, int32_t x) {
  for (;;) {
    const int32_t up = peek(parent + x);
    if (up == x) return x;
    const int32_t above = peek(parent + up);
    if (above == up) return up;
    put(parent + x, above);
    x = above;
  }
}

// The root of x, which becomes its parent. For when nothing is joined any more and one thread alone writes parent[x];
// while all threads do so at once, the ways ahead shorten too.
__device__ inline int32_t settle_root(int32_t* parent, int32_t x) {
  int32_t up = peek(parent + x);
  for (;;) {
    const int32_t above = peek(parent + up);
    if (above == up) return up;
    up = above;
    put(parent + x, up);
  }
}

// Joins the sets of a and b; the lesser root stays one.
__device__ inline void join_sets(int32_t* parent, int32_t a, int32_t b) {
  for (;;) {
    a = find_root(parent, a);
    b = find_root(parent, b);
    if (a == b) return;
    const int32_t low = a < b ? a : b, high = a < b ? b : a;
    if (atomicCAS(parent + high, high, low) == high) return;
  }
}

}  // namespace mk::cuda
