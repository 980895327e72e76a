// From the nodes of regions to the tree. What a region has above its pass, and did not have above an earlier one, is a
// chain: the component of each of its elements holds all higher ones. Its lowest element hangs below the pass, which is
// in the chain of a later round.
#pragma once

#include <cstdint>

#include "common/launch.cuh"
#include "regions/max_tree_rounds.cuh"

namespace mk::cuda {

// The chain of each element, in the order of ranks.
__global__ void find_chains(Images images, const int32_t* order, const int32_t* region, Nodes nodes, uint32_t* chain,
                            uint32_t* element) {
  for (int64_t i = thread_index(); i < images.count(); i += thread_count()) {
    const int32_t x = images.element(order, static_cast<int32_t>(i));
    int32_t node = region[x];
    while (i < nodes.pass[node]) node = nodes.up[node];
    chain[i] = static_cast<uint32_t>(node);
    element[i] = static_cast<uint32_t>(x);
  }
}

// Elements chain after chain, each from the lowest to the highest.
struct Chains {
  const uint32_t *chain, *element;  // at each place
  uint32_t* place;                  // of each element
  uint32_t* begin;                  // of each chain, and where the last one ends; some are empty
  uint32_t* weight;                 // at each place an element and what hangs below it; in the end running sums
  const uint32_t* pass;             // of the node of each chain

  // The elements of the subtree at a place, once weights are added up. All arithmetic is modulo 2^32.
  __device__ uint32_t subtree(uint32_t at) const { return sum_to(begin[chain[at] + 1]) - sum_to(at); }
  __device__ uint32_t sum_to(uint32_t at) const { return at > 0 ? weight[at - 1] : 0; }
};

__global__ void place_elements(int64_t count, Chains chains) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    chains.place[chains.element[i]] = static_cast<uint32_t>(i);
    chains.weight[i] = 1;
  }
}

// begin[n]: the first place whose chain is n or a later one.
__global__ void find_beginnings(int64_t count, int64_t nodes, Chains chains) {
  for (int64_t n = thread_index(); n <= nodes; n += thread_count()) {
    int64_t low = 0, high = count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (chains.chain[middle] < n)
        low = middle + 1;
      else
        high = middle;
    }
    chains.begin[n] = static_cast<uint32_t>(low);
  }
}

// Adds the chains of one round, whose weights are added up, to the weights of their passes.
__global__ void hang_chains(Images images, const int32_t* order, int64_t first, int64_t count, Chains chains) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t n = first + i;
    const uint32_t begin = chains.begin[n];
    if (begin == chains.begin[n + 1] || chains.pass[n] == 0) continue;
    const int32_t pass = images.element(order, static_cast<int32_t>(chains.pass[n] - 1));
    atomicAdd(chains.weight + chains.place[pass], chains.subtree(begin));
  }
}

constexpr uint32_t kNowhere = UINT32_MAX;

// The place of the next lower element of the tree.
__device__ inline uint32_t below(const Images& images, const int32_t* order, const Chains& chains, uint32_t at) {
  const uint32_t n = chains.chain[at];
  if (at > chains.begin[n]) return at - 1;
  if (chains.pass[n] == 0) return kNowhere;
  return chains.place[images.element(order, static_cast<int32_t>(chains.pass[n] - 1))];
}

// The place of the canonical element of the component that an element at its level is in: the lowest one of its value
// on the way down. Within a chain values fall, so strides that grow find where they change.
template <class T>
__device__ uint32_t canonical(const Images& images, const T* image, const int32_t* order, const Chains& chains,
                              uint32_t at) {
  const T value = image[chains.element[at]];
  for (;;) {
    const uint32_t begin = chains.begin[chains.chain[at]];
    uint32_t stride = 1;
    while (at - begin >= stride && image[chains.element[at - stride]] == value) {
      at -= stride;
      stride *= 2;
    }
    for (; stride > 0; stride /= 2)
      if (at - begin >= stride && image[chains.element[at - stride]] == value) at -= stride;
    if (at > begin) return at;
    const uint32_t next = below(images, order, chains, at);
    if (next == kNowhere || image[chains.element[next]] != value) return at;
    at = next;
  }
}

template <class T>
__global__ void write_tree(Images images, const T* image, const int32_t* order, Chains chains, int32_t* parent,
                           int32_t* area) {
  const auto size = static_cast<uint32_t>(images.size());
  for (int64_t i = thread_index(); i < images.count(); i += thread_count()) {
    const auto at = static_cast<uint32_t>(i);
    const uint32_t x = chains.element[at];
    uint32_t up = canonical(images, image, order, chains, at);
    area[x] = up == at ? static_cast<int32_t>(chains.subtree(at)) : 1;
    if (up == at) {
      const uint32_t next = below(images, order, chains, at);
      if (next != kNowhere) up = canonical(images, image, order, chains, next);
    }
    parent[x] = static_cast<int32_t>(chains.element[up] % size);
  }
}

}  // namespace mk::cuda
