// Which edges of a Rips filtration matter: those without an apparent pair, or those that an edge collapse leaves.
#pragma once

#include "topology/rips_items.cuh"

namespace mk::cuda {

// A warp an edge: lists the edges that are the longest of no triangle. In `listed` the list of a cloud begins with its
// pairs; `found` counts. With each edge goes the rank at which it enters, its own.
__global__ void list_open_edges(const Item* items, int count, int64_t pairs, const int2* edges, const uint32_t* kept,
                                const uint32_t* matrix, uint2* listed, uint32_t* found) {
  const int lane = threadIdx.x % kWarp;
  for (int64_t k = thread_index() / kWarp; k < pairs; k += thread_count() / kWarp) {
    const int cloud = owner(items, count, &Item::pair_first, k);
    const Item item = items[cloud];
    const uint32_t rank = static_cast<uint32_t>(k - item.pair_first);
    if (rank >= kept[cloud]) continue;
    const int2 edge = edges[k];
    const uint32_t* const u = matrix + item.matrix_first + edge.x * item.size;
    const uint32_t* const v = matrix + item.matrix_first + edge.y * item.size;
    bool closed = false;
    for (int64_t from = 0; from < item.size && !closed; from += kWarp) {
      const int64_t x = from + lane;
      const bool third = x < item.size && x != edge.x && x != edge.y && u[x] < rank && v[x] < rank;
      closed = __ballot_sync(kAllLanes, third) != 0;
    }
    if (!closed && lane == 0) listed[item.pair_first + atomicAdd(found + cloud, 1u)] = make_uint2(rank, rank);
  }
}

// The vertices that dominated an edge, one after another, until it had to enter. Beyond kDominators only their number
// is known.
constexpr int kDominators = 4;
struct Settled {
  uint32_t entry;
  int count;
  int dominators[kDominators];
};

// One warp finds the first rank from `s`, its own, at which the edge (u, v) is not dominated; kAbsent if there is none.
// A vertex dominates it at s when it is adjacent by s to u, v and all their common neighbours by s. `common` and
// `candidates` hold n ranks each; a lane touches only its own ones.
__device__ inline void settle(const uint32_t* ranks, int n, int u, int v, uint32_t s, uint32_t* common,
                              uint32_t* candidates, Settled& settled) {
  const int lane = threadIdx.x % kWarp;
  const auto row = [&](int vertex) { return ranks + int64_t(vertex) * n; };
  for (int x = lane; x < n; x += kWarp) {
    const uint32_t a = row(u)[x], b = row(v)[x];
    common[x] = x == u || x == v ? kAbsent : (a > b ? a : b);
  }
  int count = 0;
  for (;;) {
    for (int x = lane; x < n; x += kWarp) candidates[x] = common[x] <= s ? common[x] : kAbsent;
    // The candidate that is nearest to both ends is tried first; a common neighbour that it does not reach rules out
    // all others that do not reach it either.
    int dominator = -1, missed = -1;
    do {
      constexpr unsigned long long none = ~0ull;
      unsigned long long nearest = none;
      for (int x = lane; x < n; x += kWarp) {
        const unsigned long long candidate = static_cast<unsigned long long>(candidates[x]) << 32 | unsigned(x);
        if (candidates[x] != kAbsent && candidate < nearest) nearest = candidate;
      }
      nearest = warp_least(nearest);
      dominator = nearest == none ? -1 : static_cast<int>(nearest & 0xffffffffu);
      if (dominator < 0) break;
      missed = -1;
      for (int from = 0; from < n && missed < 0; from += kWarp) {
        const int x = from + lane;
        const unsigned outside = __ballot_sync(kAllLanes, x < n && common[x] <= s && row(dominator)[x] > s);
        if (outside != 0) missed = from + __ffs(static_cast<int>(outside)) - 1;
      }
      if (missed < 0) break;
      for (int x = lane; x < n; x += kWarp)
        if (row(missed)[x] > s) candidates[x] = kAbsent;
    } while (true);
    if (dominator < 0) break;
    if (lane == 0 && count < kDominators) settled.dominators[count] = dominator;
    ++count;
    // It dominates until a common neighbour appears that it is not adjacent to by then.
    uint32_t next = kAbsent;
    for (int x = lane; x < n; x += kWarp)
      if (common[x] > s && row(dominator)[x] > common[x] && common[x] < next) next = common[x];
    s = warp_least(next);
    if (s == kAbsent) break;
  }
  if (lane == 0) {
    settled.entry = s;
    settled.count = count;
  }
}

constexpr int kCollapseWarps = 32;  // one lane of the first warp for each

// A block a cloud: edge collapse. Where an edge is dominated it may as well enter at the first rank at which it is not.
// That holds in any order of edges, and for several at once as long as none of them takes an edge away from a vertex
// that dominates another: each round settles a batch of edges, the last ones first, and puts off those for which that
// may be so. Lists what is left as list_open_edges does; scratch[2 n] for each warp, in shared memory if it is null.
// Glisse and Pritam 2022, "Swap, Shift and Trim to Edge Collapse a Filtration".
__global__ void __launch_bounds__(kCollapseWarps* kWarp)
    collapse_edges(const Item* items, const int2* edges, const uint32_t* kept, uint32_t* matrix, uint32_t* scratch,
                   uint2* listed, uint32_t* found) {
  extern __shared__ uint32_t shared_scratch[];
  __shared__ int batch[kCollapseWarps];  // ranks of edges, -1 behind the last
  __shared__ Settled settled[kCollapseWarps];
  const Item item = items[blockIdx.x];
  const int n = static_cast<int>(item.size), warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int2* const ends = edges + item.pair_first;
  uint32_t* const ranks = matrix + item.matrix_first;
  uint32_t* const own = scratch != nullptr ? scratch + 2 * kCollapseWarps * item.row_first : shared_scratch;
  uint32_t* const common = own + int64_t(warp) * 2 * n;

  // Kept by the first warp: the edges not yet in a batch, and how many are listed.
  int left = static_cast<int>(kept[blockIdx.x]);
  uint32_t count = 0;
  if (warp == 0) {
    batch[lane] = left - 1 - lane >= 0 ? left - 1 - lane : -1;
    left = left > kWarp ? left - kWarp : 0;
  }
  for (;;) {
    __syncthreads();
    if (batch[0] < 0) break;
    if (const int edge = batch[warp]; edge >= 0)
      settle(ranks, n, ends[edge].x, ends[edge].y, static_cast<uint32_t>(edge), common, common + n, settled[warp]);
    __syncthreads();
    if (warp != 0) continue;

    const int edge = batch[lane];
    const bool is_edge = edge >= 0;
    const int2 end = is_edge ? ends[edge] : make_int2(-1, -1);
    const uint32_t entry = is_edge ? settled[lane].entry : kAbsent;
    const int dominators = is_edge ? settled[lane].count : 0;
    bool put_off = false;
    for (int other = 0; other < kWarp - 1; ++other) {
      const int a = __shfl_sync(kAllLanes, end.x, other), b = __shfl_sync(kAllLanes, end.y, other);
      const bool moves = is_edge && !put_off && dominators > 0;
      if (__shfl_sync(kAllLanes, static_cast<int>(moves), other) == 0 || lane <= other) continue;
      bool touched = dominators > kDominators;
      for (int i = 0; i < kDominators; ++i) {
        const int w = i < dominators ? settled[lane].dominators[i] : -1;
        touched = touched || (w >= 0 && (w == a || w == b));
      }
      put_off = put_off || touched;
    }
    if (is_edge && !put_off) {
      ranks[int64_t(end.x) * n + end.y] = entry;
      ranks[int64_t(end.y) * n + end.x] = entry;
    }
    const unsigned below = (1u << lane) - 1;
    const bool stays = is_edge && !put_off && entry != kAbsent;
    const unsigned staying = __ballot_sync(kAllLanes, stays), waiting = __ballot_sync(kAllLanes, put_off);
    if (stays)
      listed[item.pair_first + count + __popc(staying & below)] = make_uint2(static_cast<uint32_t>(edge), entry);
    count += __popc(staying);
    // The next batch: those put off, then further ones.
    const int again = __popc(waiting);
    __syncwarp();  // all lanes have read theirs
    if (put_off) batch[__popc(waiting & below)] = edge;
    if (lane >= again) batch[lane] = left - 1 - (lane - again) >= 0 ? left - 1 - (lane - again) : -1;
    left = left > kWarp - again ? left - (kWarp - again) : 0;
  }
  if (threadIdx.x == 0) found[blockIdx.x] = count;
}

}  // namespace mk::cuda
