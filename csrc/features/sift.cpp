#include "features/sift.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <utility>

namespace mk::features {

namespace {

// The samples reach the corners of a square of 5 x 5 places in any direction: a descriptor's 4 x 4 and the half places
// around them, which count in part.
constexpr int kPlaces = 4, kDirections = 8;
constexpr double kPlace = 3;  // side of a place
constexpr PatchShape kPatch{45, 0.5};
constexpr int kInner = kPatch.side - 2;  // samples with neighbours
constexpr double kWindow = kPlaces / 2.0 * kPlace;
constexpr float kMostOfOne = 0.2f;  // that one entry may have of the length

constexpr int kOrientationBins = 36, kSmoothings = 6;
constexpr size_t kMostOrientations = 4;
constexpr double kOrientationWindow = 1.5, kOrientationReach = 4.5, kPeak = 0.8;

constexpr double coordinate(int i) { return (i - kInner / 2) * kPatch.step; }

std::vector<float> window(double sigma, double reach) {
  std::vector<float> weights(kInner * kInner);
  for (int i = 0; i < kInner * kInner; ++i) {
    const double v = coordinate(i / kInner), u = coordinate(i % kInner), squared = u * u + v * v;
    weights[i] = squared <= reach * reach ? static_cast<float>(std::exp(-squared / (2 * sigma * sigma))) : 0.0f;
  }
  return weights;
}

}  // namespace

PatchGradients::PatchGradients(const Ellipse& ellipse, PatchSampler& sampler)
    : lengths_(kInner * kInner), turns_(kInner * kInner) {
  constexpr int side = kPatch.side;
  const float* patch = sampler.sample(ellipse, kPatch);
  for (int i = 0; i < kInner; ++i) {
    const float* row = patch + (i + 1) * side + 1;
    pixel_rows().gradients(row - side, row, row + side, kInner, lengths_.data() + i * kInner,
                           turns_.data() + i * kInner);
  }
}

std::vector<std::array<double, 2>> PatchGradients::orientations() const {
  static const std::vector<float> weights = window(kOrientationWindow, kOrientationReach);
  std::array<double, kOrientationBins> bins{};
  for (int i = 0; i < kInner * kInner; ++i) {
    if (weights[i] == 0) continue;
    // A bin's middle is half a bin past its begin.
    const double place = turns_[i] * kOrientationBins - 0.5, part = place - std::floor(place);
    const int low = (static_cast<int>(std::floor(place)) + kOrientationBins) % kOrientationBins;
    const double weight = weights[i] * lengths_[i];
    bins[low] += (1 - part) * weight;
    bins[(low + 1) % kOrientationBins] += part * weight;
  }
  const auto neighbour = [](int bin, int by) { return (bin + by + kOrientationBins) % kOrientationBins; };
  for (int round = 0; round < kSmoothings; ++round) {
    const auto rough = bins;
    for (int b = 0; b < kOrientationBins; ++b)
      bins[b] = (rough[neighbour(b, -1)] + rough[b] + rough[neighbour(b, 1)]) / 3;
  }
  const double least = kPeak * *std::ranges::max_element(bins);
  std::vector<std::array<double, 2>> peaks;  // height, turn
  for (int b = 0; b < kOrientationBins; ++b) {
    const double before = bins[neighbour(b, -1)], after = bins[neighbour(b, 1)];
    if (!(bins[b] > least && bins[b] > before && bins[b] > after)) continue;
    const double off = (before - after) / (2 * (before + after - 2 * bins[b]));
    peaks.push_back({bins[b], (b + 0.5 + off) / kOrientationBins});
  }
  if (peaks.empty()) return {{1.0, 0.0}};  // a flat patch, or one that looks alike from all sides
  std::ranges::stable_sort(peaks, std::greater{}, [](const auto& peak) { return peak[0]; });
  peaks.resize(std::min(peaks.size(), kMostOrientations));
  std::vector<std::array<double, 2>> found;
  for (const auto& [height, turn] : peaks) {
    const double angle = 2 * std::numbers::pi * turn;  // towards -y
    found.push_back({std::cos(angle), -std::sin(angle)});
  }
  return found;
}

void PatchGradients::describe(double cos, double sin, std::span<float> descriptor) const {
  static const std::vector<float> weights = window(kWindow, 2 * kWindow);
  // One more place all around takes the parts that fall outside.
  constexpr int wide = kPlaces + 2;
  std::array<float, wide * wide * kDirections> sums{};
  const float turned = static_cast<float>(-std::atan2(sin, cos) / (2 * std::numbers::pi));
  const float along_u = static_cast<float>(cos / kPlace), along_v = static_cast<float>(sin / kPlace);
  constexpr float first = kPlaces / 2.0f + 0.5f;  // place of the centre, counted with the outer ones
  for (int i = 0; i < kInner; ++i) {
    const float v = static_cast<float>(coordinate(i));
    for (int j = 0; j < kInner; ++j) {
      const float u = static_cast<float>(coordinate(j));
      const float x = along_u * u + along_v * v + first, y = along_u * v - along_v * u + first;
      if (!(x > 0 && y > 0 && x < wide - 1 && y < wide - 1)) continue;
      const int at = i * kInner + j;
      float direction = (turns_[at] - turned) * kDirections;
      direction += direction < 0 ? kDirections : 0;
      const int column = static_cast<int>(x), row = static_cast<int>(y), bin = static_cast<int>(direction);
      const float fx = x - static_cast<float>(column), fy = y - static_cast<float>(row),
                  fd = direction - static_cast<float>(bin);
      const float weight = weights[at] * lengths_[at];
      const int low = bin % kDirections, high = (bin + 1) % kDirections;
      float* place = sums.data() + (row * wide + column) * kDirections;
      const float right = weight * fx, left = weight - right;
      for (const auto& [corner, share] :
           {std::pair{place, left * (1 - fy)}, std::pair{place + kDirections, right * (1 - fy)},
            std::pair{place + wide * kDirections, left * fy},
            std::pair{place + (wide + 1) * kDirections, right * fy}}) {
        corner[low] += share * (1 - fd);
        corner[high] += share * fd;
      }
    }
  }
  for (int row = 0; row < kPlaces; ++row) {
    const float* from = sums.data() + ((row + 1) * wide + 1) * kDirections;
    std::copy_n(from, kPlaces * kDirections, descriptor.begin() + row * kPlaces * kDirections);
  }
  const auto length = [&] {
    return std::sqrt(std::inner_product(descriptor.begin(), descriptor.end(), descriptor.begin(), 0.0f));
  };
  const float most = kMostOfOne * length();
  if (!(most > 0)) return;
  for (float& entry : descriptor) entry = std::min(entry, most);
  const float capped = length();
  for (float& entry : descriptor) entry /= capped;
}

}  // namespace mk::features
