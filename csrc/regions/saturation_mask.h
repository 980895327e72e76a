// Bright elements of low saturation in a picture of red, green and blue.
// "Specular Region Detection and Covariant Feature Extraction", ICPR 2024 (LNCS 15312).
#pragma once

#include <cstdint>
#include <span>

namespace mk::regions {

// rgb: three values an element. With I the mean of the three, S = (2r - g - b) / 2 where b + r >= 2g and (r + g - 2b) /
// 2 elsewhere, writes 1 where I >= max I / 2 and S <= max S / 3, else 0.
void saturation_mask(std::span<const uint8_t> rgb, std::span<uint8_t> mask);

}  // namespace mk::regions
