// Connected components of a mask, and measures of each: area, box, centroid, exposed sides, second moments.
// One pass over the elements finds runs; everything else goes from run to run.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "regions/grid.h"
#include "regions/runs.h"

namespace mk::regions {

// Writes 0 or the number of the component, 1, 2, ... in the order of first elements.
void paint_labels(const RunForest& forest, std::span<int32_t> labels);

// One entry (a row of 2, 3, 4, 6, ... numbers) a component, in their order. Axes are (y, x) or (z, y, x).
struct Measures {
  std::vector<int64_t> area;
  std::vector<int64_t> box;        // first element and one beyond the last, along each axis
  std::vector<double> centroid;    // mean position
  std::vector<int64_t> perimeter;  // sides (faces) shared with what is not the component
  std::vector<double> moments;     // mean products of offsets from the centroid: dims x dims
};

Measures measure(const RunForest& forest);

}  // namespace mk::regions
