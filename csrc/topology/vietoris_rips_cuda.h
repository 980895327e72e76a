// Vietoris-Rips filtrations on a CUDA device: all of persistent homology but the last reduction of few columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace mk::cuda {

// What the values of a cloud are: coordinates and the distance they are meant for, or distances.
enum class CloudKind { euclidean, manhattan, chebyshev, distances };

// Points [size, dim] or distances [size, size] in device memory, C-contiguous.
struct DeviceCloud {
  const void* values;
  int64_t size, dim;
};

struct RipsRequest {
  std::span<const DeviceCloud> clouds;
  CloudKind kind;
  int max_dim;
  double threshold, largest;  // largest: greatest size of a coordinate
  int device;
  void* stream;
  int64_t memory;                         // bytes that can be allocated
  std::function<void*(size_t)> allocate;  // device memory for the time of the call, aligned for any type
};

// More points make more pairs than 32-bit ranks tell apart.
constexpr int64_t kMostPoints = 65536;

// The parts of `done` clouds, the first ones of a request, as many as fit in the memory of the device; cloud c has
// the edges first[c] .. first[c + 1]. For max_dim 1 these are all edges by rank, and `open` are the ranks of those
// that are the longest edge of no triangle. Otherwise they are a core: `edges` holds the ends of each edge and of the
// one that it enters with, `ranks` its rank and the rank at which it enters; lengths are those of entry. See
// topology/vietoris_rips.h for both. If the cloud `bad` is not -1, it holds a value that it must not; nothing is done.
template <class T>
struct RipsParts {
  int64_t done = 0, bad = -1;
  std::vector<int64_t> first, open_first;
  std::vector<int32_t> edges;
  std::vector<uint32_t> ranks, open;
  std::vector<T> lengths;
};

template <class T>
RipsParts<T> vietoris_rips(const RipsRequest& request);

// Bytes of device memory that one cloud takes at most.
template <class T>
int64_t rips_memory(int64_t size);

}  // namespace mk::cuda
