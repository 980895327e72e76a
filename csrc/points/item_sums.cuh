// Sums over the rows [count, 3] of items in float64, in an order that depends on their sizes only, and the greatest
// size of a number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/launch.cuh"

namespace mk::cuda {

template <class V>
struct ItemRows {
  const V* values;
  int64_t count;
};

struct RowSums {
  double x, y, z, greatest;
};

constexpr int kSumThreads = 128;
constexpr int64_t kSumRows = 2048, kMostPieces = 64;

// Into how many pieces, which are summed side by side, each item is cut.
inline int pieces_of(int64_t longest) {
  return static_cast<int>(std::clamp<int64_t>((longest + kSumRows - 1) / kSumRows, 1, kMostPieces));
}

__device__ inline void join(RowSums& a, const RowSums& b) {
  a = {a.x + b.x, a.y + b.y, a.z + b.z, max(a.greatest, b.greatest)};
}

__device__ inline RowSums from_lane(const RowSums& sums, int lanes) {
  return {__shfl_xor_sync(kAllLanes, sums.x, lanes), __shfl_xor_sync(kAllLanes, sums.y, lanes),
          __shfl_xor_sync(kAllLanes, sums.z, lanes), __shfl_xor_sync(kAllLanes, sums.greatest, lanes)};
}

// A block a piece of an item. partial: [items, pieces].
template <class V>
__global__ void __launch_bounds__(kSumThreads)
    add_pieces(const ItemRows<V>* rows, int64_t items, int pieces, RowSums* partial) {
  __shared__ RowSums of_warps[kSumThreads / kWarp];
  for (int64_t at = blockIdx.x; at < items * pieces; at += gridDim.x) {
    const ItemRows<V> own = rows[at / pieces];
    const int64_t piece = at % pieces, begin = own.count * piece / pieces, end = own.count * (piece + 1) / pieces;
    RowSums sums{};
    for (int64_t i = begin + threadIdx.x; i < end; i += kSumThreads) {
      const auto x = static_cast<double>(own.values[i * 3]), y = static_cast<double>(own.values[i * 3 + 1]);
      const auto z = static_cast<double>(own.values[i * 3 + 2]);
      join(sums, {x, y, z, max(max(fabs(x), fabs(y)), fabs(z))});
    }
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) join(sums, from_lane(sums, lanes));
    if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = sums;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int warp = 1; warp < kSumThreads / kWarp; ++warp) join(sums, of_warps[warp]);
      partial[at] = sums;
    }
    __syncthreads();  // the next piece writes to the same memory
  }
}

static __global__ void add_up_pieces(const RowSums* partial, int64_t items, int pieces, RowSums* sums) {
  for (int64_t item = thread_index(); item < items; item += thread_count()) {
    RowSums all{};
    for (int piece = 0; piece < pieces; ++piece) join(all, partial[item * pieces + piece]);
    sums[item] = all;
  }
}

// Memory for the sums of items.
struct SumSpace {
  int64_t items;
  int pieces;
  RowSums *partial, *sums;

  SumSpace(Arena& arena, int64_t item_count, int64_t longest)
      : items(item_count),
        pieces(pieces_of(longest)),
        partial(arena.take<RowSums>(items * pieces)),
        sums(arena.take<RowSums>(items)) {}
};

// rows: in device memory, one for each item of the space.
template <class V>
void add_rows(const ItemRows<V>* rows, const SumSpace& space, cudaStream_t stream) {
  if (space.items == 0) return;
  const auto blocks = static_cast<int>(std::min<int64_t>(space.items * space.pieces, kMostBlocks));
  add_pieces<<<blocks, kSumThreads, 0, stream>>>(rows, space.items, space.pieces, space.partial);
  launched("summing rows");
  add_up_pieces<<<blocks_for(space.items), kThreads, 0, stream>>>(space.partial, space.items, space.pieces, space.sums);
  launched("adding up sums of rows");
}

}  // namespace mk::cuda
