// Measures of the components of a mask: area, box, centroid, exposed sides, second moments. One pass over the runs.
#pragma once

#include <cstdint>

#include "regions/pages.h"
#include "regions/runs.h"

namespace mk::regions {

// One entry (a row of 2, 3, 4, 6, ... numbers) a component, in their order. Axes are (y, x) or (z, y, x).
struct Measures {
  int64_t count = 0;
  int dims = 0;
  Pages<int64_t> area;
  Pages<int64_t> box;        // first element and one beyond the last, along each axis
  Pages<double> centroid;    // mean position
  Pages<int64_t> perimeter;  // sides (faces) shared with what is not the component
  Pages<double> moments;     // mean products of offsets from the centroid: dims x dims
};

Measures measure(const RunForest& forest);

}  // namespace mk::regions
