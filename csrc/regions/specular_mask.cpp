#include "regions/specular_mask.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "common/parallel.h"
#include "regions/area_open.h"
#include "regions/mmser.h"
#include "regions/saturation_mask.h"

namespace mk::regions {

void specular_mask(std::span<const uint8_t> rgb, const Grid& grid, const SpecularOptions& options,
                   std::span<uint8_t> mask) {
  const size_t size = mask.size();
  const std::unique_ptr<uint8_t[]> intensity(new uint8_t[size]), pale(new uint8_t[size]), patches(new uint8_t[size]);
  parallel_blocks(static_cast<int64_t>(size), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)  // the mean, rounded
      intensity[i] = static_cast<uint8_t>((rgb[3 * i] + rgb[3 * i + 1] + rgb[3 * i + 2] + 1) / 3);
  });
  const auto find_patches = [&] {
    saturation_mask(rgb, {pale.get(), size});
    area_open({pale.get(), size}, grid, 1, options.max_patch, {patches.get(), size});
  };
  const auto find_regions = [&] {
    const Nodes nodes({intensity.get(), size}, grid, false);
    const int brightest = size == 0 ? 0 : *std::max_element(intensity.get(), intensity.get() + size);
    const BrightRegions bright =
        find_bright(nodes, {options.delta, options.min_area, options.max_area, (brightest + 1) / 2});
    paint_nodes(nodes, bright.nodes, mask);
  };
  parallel_for(2, [&](int64_t i) { i == 0 ? find_regions() : find_patches(); });
  for (size_t i = 0; i < size; ++i) mask[i] |= patches[i];
}

}  // namespace mk::regions
