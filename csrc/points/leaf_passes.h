// What is done with the lanes of a leaf, for the instruction set that this processor runs. Squared distances are sums
// over the coordinates in their order, each product rounded before it is added, so they are the same everywhere.
#pragma once

#include <cstdint>

#include "points/point_tree.h"

namespace mk::points {

struct LeafPasses {
  // nearest[i] = min(nearest[i], squared distance of point i to `query`); returns the first place of the greatest.
  int (*approach)(const double* values, int64_t dimensions, const double* query, double* nearest);
  // Of kFan boxes, low[d * kFan + i] to high[d * kFan + i]: bit i tells whether box i comes nearer to `query` than
  // limits[i], squared.
  uint32_t (*touch)(const double* low, const double* high, int64_t dimensions, const double* query,
                    const double* limits);
  // Puts an entry into a list sorted by keys, before equal keys; the last entry drops out. A register of -1 stands
  // before the keys. Returns whether equal keys were there.
  bool (*insert)(double* keys, double* others, int64_t length, double key, double other);
};
const LeafPasses& leaf_passes();

}  // namespace mk::points
