#include "features/sift.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <utility>

namespace mk::features {

namespace {

// The samples reach the corners of a square of 5 x 5 cells in any direction: a descriptor's 4 x 4 and the half cells
// around them, which count in part.
constexpr double kStep = 0.5, kCell = 3;  // between samples; side of a cell
constexpr double kWindow = kCells / 2.0 * kCell;
constexpr float kMostOfOne = 0.2f;  // that one entry may have of the length

constexpr int kOrientationBins = 36, kSmoothings = 6;
constexpr size_t kMostOrientations = 4;
constexpr double kOrientationWindow = 1.5, kOrientationReach = 4.5, kPeak = 0.8;

// Weights laid out as the gradients, 0 past their rows.
std::vector<float> window(double sigma, double reach) {
  std::vector<float> weights(kGradientSide * kPatchRow);
  const auto coordinate = [](int i) { return (i - kGradientSide / 2) * kStep; };
  for (int i = 0; i < kGradientSide; ++i) {
    for (int j = 0; j < kGradientSide; ++j) {
      const double squared = coordinate(i) * coordinate(i) + coordinate(j) * coordinate(j);
      if (squared <= reach * reach)
        weights[i * kPatchRow + j] = static_cast<float>(std::exp(-squared / (2 * sigma * sigma)));
    }
  }
  return weights;
}

}  // namespace

PatchGradients::PatchGradients(const Ellipse& ellipse, PatchSampler& sampler) {
  patch_loops().gradients(sampler.sample(ellipse, kDescribedSide, kStep), lengths_.data(), turns_.data());
}

std::vector<std::array<double, 2>> PatchGradients::orientations() const {
  static const std::vector<float> weights = window(kOrientationWindow, kOrientationReach);
  std::array<double, kOrientationBins> bins{};
  for (size_t i = 0; i < weights.size(); ++i) {
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
  const CellGrid cells{static_cast<float>(cos * kStep / kCell), static_cast<float>(sin * kStep / kCell),
                       static_cast<float>(-std::atan2(sin, cos) / (2 * std::numbers::pi))};
  std::array<float, kDescriptorLength> sums{};
  patch_loops().histogram(lengths_.data(), turns_.data(), weights.data(), cells, sums.data());
  constexpr int count = kCells * kCells;
  for (int i = 0; i < kDescriptorLength; ++i) descriptor[i] = sums[i % kDirections * count + i / kDirections];
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
