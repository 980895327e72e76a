// Maximally stable extremal regions: components of upper level sets whose area changes least with the level.
// O(N) for the components, and for each that is large enough the components within `delta` levels above and below it.
// J. Matas et al., "Robust wide-baseline stereo from maximally stable extremal regions" (2004).
#pragma once

#include <cstdint>
#include <vector>

#include "regions/nodes.h"

namespace mk::regions {

struct MserOptions {
  int delta;
  int64_t min_area, max_area;
  double max_variation, min_diversity;
};

struct StableRegions {
  std::vector<int32_t> nodes;
  std::vector<double> variations;
};

StableRegions find_stable(const Nodes& nodes, const MserOptions& options);

}  // namespace mk::regions
