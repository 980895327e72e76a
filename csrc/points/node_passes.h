// How a query is compared with a node of a tree and with the leaves below it, for the instruction set that this
// processor runs. What is not said to be exact only sorts out: sums of `dimensions` squares in the type of the
// coordinates, rounded as it comes.
#pragma once

#include <cstdint>

#include "points/point_tree.h"

namespace mk::points {

template <class T>
struct NodePasses {
  // Called with a leaf, by its place in the node, and those points of it that are within the bound, as bits; returns
  // what the bound is from then on.
  using Hit = T (*)(void* search, int64_t leaf, uint32_t points);

  // The squares of the gaps between a query and the kFan boxes of a node; bit i of the result tells whether that to box
  // i is at most `bound`.
  uint32_t (*gaps)(const T* low, const T* high, int64_t dimensions, const T* query, T bound, T* squared);
  // Bit i of the result tells whether the gap between one box of a node and query i of a leaf is at most bounds[i].
  uint32_t (*reach)(const T* queries, int64_t dimensions, const T* low, const T* high, const T* bounds);
  // Looks for points within `bound`, squared, in the kFan leaves of a node whose boxes are `low` to `high`, in the
  // order of the splits that part them from leaf `nearest`.
  void (*visit)(const T* low, const T* high, const T* values, int64_t dimensions, const T* query, T bound, int nearest,
                void* search, Hit hit);
  // Squared distances from a query to the candidates, points of a leaf, exactly as defined: sums over the coordinates
  // in their order, in double, each product rounded before it is added. Bit i of the result tells whether that of
  // candidate i is at most `limit`.
  uint32_t (*near)(const T* values, int64_t dimensions, const T* query, double limit, uint32_t candidates,
                   double* squared);
};
template <class T>
const NodePasses<T>& node_passes();

}  // namespace mk::points
