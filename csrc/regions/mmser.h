// Modified maximally stable extremal regions: small bright components whose area changes least as the level falls.
// "Specular Region Detection and Covariant Feature Extraction", ICPR 2024 (LNCS 15312).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "regions/nodes.h"

namespace mk::regions {

struct MmserOptions {
  int delta;
  int64_t min_area, max_area;  // min_area <= area < max_area
  int min_level;
};

struct BrightRegions {
  std::vector<int32_t> nodes;
  std::vector<int64_t> growths;  // elements gained delta levels lower
};

BrightRegions find_bright(const Nodes& nodes, const MmserOptions& options);

// Writes 1 for the elements of the regions, 0 elsewhere.
void paint_nodes(const Nodes& nodes, std::span<const int32_t> chosen, std::span<uint8_t> mask);

}  // namespace mk::regions
