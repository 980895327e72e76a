// Specular highlights of a picture: small bright stable regions, and small patches that are bright and pale.
// "Specular Region Detection and Covariant Feature Extraction", ICPR 2024 (LNCS 15312).
#pragma once

#include <cstdint>
#include <span>

#include "regions/grid.h"

namespace mk::regions {

struct SpecularOptions {
  int delta;
  int64_t min_area, max_area;  // of stable regions
  int64_t max_patch;           // elements of a pale patch
};

// rgb: three values an element of the grid. Writes 1 for highlights, else 0.
void specular_mask(std::span<const uint8_t> rgb, const Grid& grid, const SpecularOptions& options,
                   std::span<uint8_t> mask);

}  // namespace mk::regions
