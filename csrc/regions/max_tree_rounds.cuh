// Peaks of images, and how they grow together. Elements have ranks: their places in the order by value and, within one
// value, by number. A region is named by a node. At first each peak (an element without a higher neighbour) has the
// elements from which the way up, always to the highest neighbour, leads to it. In each round every region finds its
// pass, the highest element over which a way leads out of it, and joins the region on the other side: the next node.
#pragma once

#include <cstdint>

#include "common/launch.cuh"
#include "regions/sets.cuh"

namespace mk::cuda {

// A batch of images, fewer than 2^31 elements in all. Elements are counted through the batch.
struct Images {
  int32_t items, depth, height, width;
  int32_t axes;  // along which neighbours may differ at once

  __host__ __device__ int32_t size() const { return depth * height * width; }
  __host__ __device__ int32_t count() const { return items * size(); }

  // The element with a rank; `order` counts elements within items, and items come one after another.
  __device__ int32_t element(const int32_t* order, int32_t rank) const { return rank / size() * size() + order[rank]; }

  // Calls visit(element) for the neighbours of an element.
  template <class Visit>
  __device__ void for_each_neighbour(int32_t element, const Visit& visit) const {
    const int32_t row = element / width, x = element - row * width;
    const int32_t slice = row / height, y = row - slice * height;
    const int32_t z = slice % depth;
    for (int dz = z > 0 ? -1 : 0; dz <= (z + 1 < depth ? 1 : 0); ++dz)
      for (int dy = y > 0 ? -1 : 0; dy <= (y + 1 < height ? 1 : 0); ++dy)
        for (int dx = x > 0 ? -1 : 0; dx <= (x + 1 < width ? 1 : 0); ++dx) {
          const int changes = (dz != 0) + (dy != 0) + (dx != 0);
          if (changes > 0 && changes <= axes) visit(element + (dz * height + dy) * width + dx);
        }
  }
};

// The place of a thread's element in a list that all threads append to. All lanes of a warp call it together.
__device__ inline uint32_t take_place(uint32_t* length, bool wanted) {
  const int lane = threadIdx.x % kWarp;
  const unsigned takers = __ballot_sync(kAllLanes, wanted);
  uint32_t first = 0;
  if (lane == 0 && takers != 0) first = atomicAdd(length, static_cast<uint32_t>(__popc(takers)));
  return __shfl_sync(kAllLanes, first, 0) + __popc(takers & ((1u << lane) - 1));
}

// Calls visit(i, is_one) for i below `count`, and with false for some beyond it: all lanes of a warp together.
template <class Visit>
__device__ void for_each_of_warps(int64_t count, const Visit& visit) {
  const int lane = threadIdx.x % kWarp;
  for (int64_t i = thread_index(); i - lane < count; i += thread_count()) visit(i, i < count);
}

// up: the highest neighbour, or the element itself where none is higher.
__global__ void look_up(Images images, const int32_t* rank, int32_t* up) {
  for (int64_t i = thread_index(); i < images.count(); i += thread_count()) {
    const auto x = static_cast<int32_t>(i);
    int32_t highest = x, height = rank[x];
    images.for_each_neighbour(x, [&](int32_t other) {
      if (rank[other] > height) {
        highest = other;
        height = rank[other];
      }
    });
    up[x] = highest;
  }
}

// Leads all elements to their peaks, and numbers these.
__global__ void find_peaks(int64_t count, int32_t* up, uint32_t* found, int32_t* number) {
  for_each_of_warps(count, [&](int64_t i, bool is_one) {
    const bool peak = is_one && settle_root(up, static_cast<int32_t>(i)) == i;
    const uint32_t place = take_place(found, peak);
    if (peak) number[i] = static_cast<int32_t>(place);
  });
}

// From the element that is the peak to the node of its region.
__global__ void name_regions(int64_t count, const int32_t* number, int32_t* region) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) region[i] = number[region[i]];
}

// Nodes. Those of a round come one after another, from `first` on. pass: one more than the rank of the pass; 0 for a
// region that is all of its item. up: the node that the region is a part of in the next round.
struct Nodes {
  uint32_t* pass;
  int32_t* up;
  int32_t* current;  // the node of this round in which the region of each peak is
};

__global__ void begin_nodes(int64_t peaks, Nodes nodes) {
  for (int64_t i = thread_index(); i < peaks; i += thread_count()) {
    nodes.pass[i] = 0;
    nodes.current[i] = static_cast<int32_t>(i);
  }
}

__device__ inline void raise(uint32_t* to, uint32_t value) {
  if (peek(to) < value) atomicMax(to, value);
}

// Finds the passes of all regions. `listed` holds the elements that are looked at, all where it is null; those that
// still touch another region go to `next`.
__global__ void find_passes(Images images, const int32_t* rank, const int32_t* region, Nodes nodes,
                            const int32_t* listed, int64_t count, int32_t* next, uint32_t* next_count) {
  for_each_of_warps(count, [&](int64_t i, bool is_one) {
    int32_t x = 0;
    bool border = false;
    if (is_one) {
      x = listed != nullptr ? listed[i] : static_cast<int32_t>(i);
      const int32_t own = nodes.current[region[x]], height = rank[x];
      const uint32_t pass = static_cast<uint32_t>(height) + 1;
      images.for_each_neighbour(x, [&](int32_t other) {
        if (rank[other] < height) return;
        const int32_t node = nodes.current[region[other]];
        if (node == own) return;
        border = true;
        raise(nodes.pass + node, pass);
      });
      if (border) raise(nodes.pass + own, pass);
    }
    const uint32_t place = take_place(next_count, border);
    if (border) next[place] = x;
  });
}

// The region on the other side of each pass, as its place in the round; its own where there is no pass.
__global__ void choose_targets(Images images, const int32_t* order, const int32_t* rank, const int32_t* region,
                               Nodes nodes, int32_t first, int64_t count, int32_t* target) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int32_t own = first + static_cast<int32_t>(i);
    int32_t chosen = own;
    if (nodes.pass[own] > 0) {
      const auto height = static_cast<int32_t>(nodes.pass[own] - 1);
      const int32_t x = images.element(order, height);
      chosen = nodes.current[region[x]];
      if (chosen == own)
        images.for_each_neighbour(x, [&](int32_t other) {
          const int32_t node = nodes.current[region[other]];
          if (rank[other] > height && node != own) chosen = node;
        });
    }
    target[i] = chosen - first;
  }
}

// Chosen regions lead on to others; of two that choose each other, and there is one such pair, the first one stays.
__global__ void link_targets(int64_t count, const int32_t* target, int32_t* link) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int32_t chosen = target[i];
    link[i] = target[chosen] == i && i < chosen ? static_cast<int32_t>(i) : chosen;
  }
}

// Leads regions to those that stay, and gives these their next nodes, from `next` on.
__global__ void settle_nodes(int64_t count, int32_t* link, int32_t next, uint32_t* next_count, int32_t* node,
                             Nodes nodes) {
  for_each_of_warps(count, [&](int64_t i, bool is_one) {
    const bool stays = is_one && settle_root(link, static_cast<int32_t>(i)) == i;
    const int32_t found = next + static_cast<int32_t>(take_place(next_count, stays));
    if (!stays) return;
    node[i] = found;
    nodes.pass[found] = 0;
  });
}

__global__ void name_next_nodes(int64_t count, const int32_t* node, int32_t* up) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) up[i] = node[up[i]];
}

__global__ void go_up(int64_t peaks, Nodes nodes) {
  for (int64_t i = thread_index(); i < peaks; i += thread_count()) nodes.current[i] = nodes.up[nodes.current[i]];
}

}  // namespace mk::cuda
