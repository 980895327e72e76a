// Components of a mask whose area lies within limits.
#pragma once

#include <cstdint>
#include <span>

#include "regions/grid.h"

namespace mk::regions {

// Writes 1 for elements of components with least <= area <= most, 0 elsewhere.
void area_open(std::span<const uint8_t> mask, const Grid& grid, int64_t least, int64_t most, std::span<uint8_t> kept);

}  // namespace mk::regions
