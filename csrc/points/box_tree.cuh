// A tree of boxes over the points of clouds with up to 3 coordinates, for searches by a warp a query.
//
// Points are sorted along Hilbert's curve; each 32 of them are a leaf, and each 32 boxes of a level have one box above,
// so that the lanes of a warp look at all that is in a box at once. I. Kamel and C. Faloutsos (1993), "On packing
// R-trees". O(N) to build beside the sorting of 64-bit keys; about 40 bytes a point, 55 of doubles.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cuda.h"
#include "points/clouds.cuh"

namespace mk::cuda::clouds {

constexpr int kMostLevels = 7;  // 32^7 points are more than are counted

struct TreeShape {
  int64_t first_point;         // of the cloud, among those of all clouds
  int64_t nodes[kMostLevels];  // the first node of each level; level 0 are the leaves
  int32_t counts[kMostLevels];
  int32_t top;  // the lowest level of at most 32 nodes
};

template <class T>
struct BoxTree {
  const TreeShape* shapes;  // of each cloud
  const T* values;          // [leaves, kAxes, kWarp]
  const int32_t* order;     // [leaves, kWarp]: numbers of the points; -1 in padding
  const T* boxes;           // [2, kAxes, nodes]: low and high ends
  int64_t nodes;

  // The square of the gap between a query and a box. Rounded as distances are, so that none in the box is less.
  __device__ double gap(int64_t node, const double (&query)[kAxes]) const {
    double sum = 0;
#pragma unroll
    for (int axis = 0; axis < kAxes; ++axis) {
      const double below = static_cast<double>(boxes[axis * nodes + node]) - query[axis];
      const double above = query[axis] - static_cast<double>(boxes[(kAxes + axis) * nodes + node]);
      const double outside = max(max(below, above), 0.0);
      sum += outside * outside;
    }
    return sum;
  }

  // Of the lane's point of a leaf.
  __device__ double squared(int64_t leaf, const double (&query)[kAxes]) const {
    const T* const own = values + leaf * kAxes * kWarp + threadIdx.x % kWarp;
    double sum = 0;
#pragma unroll
    for (int axis = 0; axis < kAxes; ++axis) {
      const double apart = static_cast<double>(own[axis * kWarp]) - query[axis];
      sum += apart * apart;
    }
    return sum;
  }
};

// A warp calls scan(leaf) for the leaves of a cloud whose boxes are within limit(), squared, of a query; in each box
// the nearest first, about. The limit may fall.
template <class T, class Limit, class Scan>
__device__ void search(const BoxTree<T>& tree, const TreeShape& shape, const double (&query)[kAxes], const Limit& limit,
                       const Scan& scan) {
  const int lane = threadIdx.x % kWarp;
  double gaps[kMostLevels];
  unsigned left[kMostLevels];   // boxes of each level on the way that were not yet gone into
  int32_t groups[kMostLevels];  // which 32 of the level they are
  const auto look = [&](int level, int32_t group) {
    const int32_t node = group * kWarp + lane;
    const bool here = node < shape.counts[level];
    gaps[level] = here ? tree.gap(shape.nodes[level] + node, query) : 0;
    left[level] = __ballot_sync(kAllLanes, here);
    groups[level] = group;
  };
  int level = shape.top;
  look(level, 0);
  for (;;) {
    left[level] &= __ballot_sync(kAllLanes, gaps[level] <= limit());
    if (left[level] == 0) {
      if (level == shape.top) return;
      ++level;
      continue;
    }
    // The order need not be exact: the upper halves of the numbers will do.
    const bool open = (left[level] >> lane & 1) != 0;
    const uint32_t rank = open ? static_cast<uint32_t>(__double_as_longlong(gaps[level]) >> 32) : ~uint32_t{0};
    const uint32_t least = __reduce_min_sync(kAllLanes, rank);
    const int next = __ffs(static_cast<int>(__ballot_sync(kAllLanes, open && rank == least))) - 1;
    left[level] &= ~(1u << next);
    const int32_t node = groups[level] * kWarp + next;
    if (level == 0)
      scan(shape.nodes[0] + node);
    else
      look(--level, node);
  }
}

// The trees of a call, on the host's side: first laid out in memory, then built.
template <class T>
class BoxTrees {
 public:
  // Of clouds that have at least one point each, and fewer than 2^31 together.
  explicit BoxTrees(std::vector<Rows<T>> clouds);

  void lay_out(Arena& arena);
  void build(cudaStream_t stream);

  const BoxTree<T>& tree() const { return tree_; }
  // Numbers of the points, counted over all clouds, in the order of the leaves.
  const uint32_t* sorted() const { return numbers_[0]; }

 private:
  std::vector<Rows<T>> clouds_;
  std::vector<TreeShape> shapes_;
  int64_t points_ = 0, nodes_ = 0, leaves_ = 0, largest_ = 0;
  int levels_ = 0;
  BoxTree<T> tree_{};
  Rows<T>* rows_ = nullptr;
  TreeShape* shapes_there_ = nullptr;
  unsigned long long *ends_ = nullptr, *keys_[2] = {};
  uint32_t* numbers_[2] = {};
  T *values_ = nullptr, *boxes_ = nullptr;
  int32_t* order_ = nullptr;
  char* space_ = nullptr;  // to sort in
  size_t space_bytes_ = 0;
};

}  // namespace mk::cuda::clouds
