// A mask with its holes filled: components of the background that do not reach the border.
#pragma once

#include <cstdint>
#include <span>

#include "regions/grid.h"

namespace mk::regions {

// Writes 1 for elements of the mask and of holes, 0 elsewhere. The connectivity of the grid is that of the background.
void fill_holes(std::span<const uint8_t> mask, const Grid& grid, std::span<uint8_t> filled);

}  // namespace mk::regions
