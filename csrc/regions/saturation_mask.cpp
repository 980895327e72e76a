#include "regions/saturation_mask.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "common/parallel.h"

namespace mk::regions {

namespace {

constexpr int64_t kBlock = 1 << 14;

// Three times the intensity and twice the saturation: integers.
struct Tone {
  int intensity, saturation;
};

Tone tone(const uint8_t* rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  return {r + g + b, b + r >= 2 * g ? 2 * r - g - b : r + g - 2 * b};
}

}  // namespace

void saturation_mask(std::span<const uint8_t> rgb, std::span<uint8_t> mask) {
  const auto size = static_cast<int64_t>(mask.size()), blocks = (size + kBlock - 1) / kBlock;
  const auto for_each = [&](int64_t block, const auto& visit) {
    for (int64_t i = block * kBlock; i < std::min(size, (block + 1) * kBlock); ++i) visit(i, tone(rgb.data() + 3 * i));
  };
  std::vector<Tone> largest(blocks, Tone{0, std::numeric_limits<int>::min()});
  parallel_for(blocks, [&](int64_t block) {
    Tone most = largest[block];
    for_each(block, [&](int64_t, Tone t) {
      most = {std::max(most.intensity, t.intensity), std::max(most.saturation, t.saturation)};
    });
    largest[block] = most;
  });
  Tone most{0, std::numeric_limits<int>::min()};
  for (const Tone& t : largest) most = {std::max(most.intensity, t.intensity), std::max(most.saturation, t.saturation)};
  parallel_for(blocks, [&](int64_t block) {
    for_each(block, [&](int64_t i, Tone t) {
      mask[i] = (2 * t.intensity >= most.intensity) & (3 * t.saturation <= most.saturation);
    });
  });
}

}  // namespace mk::regions
