#include "features/affine_covariant.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "common/parallel.h"

namespace mk::features {

namespace {

// The turn of the disc within an ellipse that keeps its y-axis upright in the image.
std::array<double, 2> upright(const Ellipse& e) {
  // The y-axis (-sin, cos) of the turn is to be mapped to a multiple of (0, 1): it is the inverse image of that.
  const double x = e.sin / e.major, y = e.cos / e.minor, length = std::hypot(x, y);
  return {y / length, -x / length};
}

Frame turned(const Frame& f, double cos, double sin) {
  return {f.a * cos + f.b * sin, f.b * cos - f.a * sin, f.c * cos + f.d * sin, f.d * cos - f.c * sin, f.x, f.y};
}

struct Described {
  Frame frame;
  std::array<float, kDescriptorLength> descriptor;
};

std::vector<Described> describe_blob(const Blob& blob, PatchSampler& sampler, const FeatureOptions& options) {
  const Ellipse disc{1, 0, blob.sigma, blob.sigma, blob.x, blob.y};
  const Ellipse ellipse = options.adapt ? adapt(disc, sampler) : disc;
  const PatchGradients gradients(ellipse, sampler);
  std::vector<std::array<double, 2>> turns{upright(ellipse)};
  if (options.orient) turns = gradients.orientations();
  std::vector<Described> found(turns.size());
  for (size_t i = 0; i < turns.size(); ++i) {
    const auto [cos, sin] = turns[i];
    found[i].frame = turned(ellipse.frame(), cos, sin);
    if (!options.orient) found[i].frame.b = 0;  // exactly, not but for rounding
    gradients.describe(cos, sin, found[i].descriptor);
  }
  return found;
}

// An order in which blobs that lie close in the same level follow each other: their pixels are then in the cache.
std::vector<int64_t> neighbours_together(const std::vector<Blob>& blobs, int levels) {
  std::vector<std::pair<double, double>> places(blobs.size());
  std::ranges::transform(blobs, places.begin(), [&](const Blob& blob) {
    return std::pair(std::floor(levels * std::log2(blob.sigma)), blob.y);
  });
  std::vector<int64_t> order(blobs.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](int64_t i) { return std::pair(places[i], i); });
  return order;
}

}  // namespace

Features affine_covariant(const Pixels& image, const FeatureOptions& options) {
  const ScaleSpace space = scale_space(image, options.levels, options.doubled);
  std::vector<Blob> blobs = find_blobs(space, options.blobs);
  if (std::ssize(blobs) > options.max_features) blobs.resize(options.max_features);

  constexpr int64_t block = 16;
  const int64_t count = std::ssize(blobs);
  const std::vector<int64_t> order = neighbours_together(blobs, options.levels);
  std::vector<std::vector<Described>> found(count);
  parallel_for((count + block - 1) / block, [&](int64_t b) {
    PatchSampler sampler(space);
    for (int64_t at = b * block; at < std::min(count, (b + 1) * block); ++at) {
      const int64_t i = order[at];
      found[i] = describe_blob(blobs[i], sampler, options);
      check_interrupt();
    }
  });

  Features all;
  for (int64_t i = 0; i < count; ++i) {
    for (const Described& each : found[i]) {
      all.frames.push_back(each.frame);
      all.descriptors.insert(all.descriptors.end(), each.descriptor.begin(), each.descriptor.end());
      all.responses.push_back(blobs[i].response);
    }
  }
  return all;
}

}  // namespace mk::features
