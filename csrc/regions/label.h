// Connected components of a mask.
#pragma once

#include <cstdint>
#include <span>

#include "regions/runs.h"

namespace mk::regions {

// Writes 0 or the number of the component, 1, 2, ... in the order of first elements.
void paint_labels(const RunForest& forest, std::span<int32_t> labels);

}  // namespace mk::regions
