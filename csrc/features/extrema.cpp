#include "features/extrema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>
#include <optional>
#include <tuple>
#include <utility>

#include "common/parallel.h"

namespace mk::features {

namespace {

constexpr int kSteps = 5;           // of Newton's method
constexpr double kNextPixel = 0.6;  // an extremum further off than this belongs to the next pixel
constexpr double kFurthest = 1.5;   // one that stays further off than this is none
constexpr double kPromising = 0.8;  // share of the threshold that a pixel must reach before refinement

// Differences of neighbouring levels of one octave. They are not stored: most pixels are looked at once.
struct Differences {
  int64_t width, height, count;
  std::vector<const float*> levels;

  explicit Differences(const Octave& octave)
      : width(octave.width), height(octave.height), count(std::ssize(octave.levels) - 1) {
    for (const auto& level : octave.levels) levels.push_back(level.get());
  }

  float at(int64_t s, int64_t y, int64_t x) const {
    const int64_t i = y * width + x;
    return levels[s + 1][i] - levels[s][i];
  }

  // Greater, or less, than all 26 neighbours.
  bool is_extremum(int64_t s, int64_t y, int64_t x) const {
    const float value = at(s, y, x), sign = value > 0 ? 1.0f : -1.0f;
    for (int64_t ds = -1; ds <= 1; ++ds) {
      for (int64_t dy = -1; dy <= 1; ++dy) {
        for (int64_t dx = -1; dx <= 1; ++dx) {
          if ((ds != 0 || dy != 0 || dx != 0) && !(sign * value > sign * at(s + ds, y + dy, x + dx))) return false;
        }
      }
    }
    return true;
  }
};

// Solves a symmetric system [a b c; b d e; c e f] v = r by Cramer's rule; nothing where it is singular.
std::optional<std::array<double, 3>> solve(const std::array<double, 6>& m, const std::array<double, 3>& r) {
  const auto [a, b, c, d, e, f] = m;
  const double p = d * f - e * e, q = c * e - b * f, s = b * e - c * d;
  const double determinant = a * p + b * q + c * s;
  const double size = std::max({std::abs(a), std::abs(b), std::abs(c), std::abs(d), std::abs(e), std::abs(f)});
  if (!(std::abs(determinant) > 1e-10 * size * size * size)) return std::nullopt;
  const double t = a * f - c * c, u = b * c - a * e, v = a * d - b * b;
  return std::array<double, 3>{(p * r[0] + q * r[1] + s * r[2]) / determinant,
                               (q * r[0] + t * r[1] + u * r[2]) / determinant,
                               (s * r[0] + u * r[1] + v * r[2]) / determinant};
}

struct Found {
  int64_t s, y, x;  // the pixel
  double ds, dy, dx, response;

  auto place() const { return std::tuple(s, y, x); }
};

// Newton's method on the quadratic through a pixel's neighbours; nothing for flat, edge-like or runaway extrema.
std::optional<Found> refine(const Differences& d, int64_t s, int64_t y, int64_t x, const BlobOptions& options) {
  std::array<double, 3> gradient, offset;
  double xx, xy, yy;
  for (int step = 0;; ++step) {
    const auto value = [&](int64_t ds, int64_t dy, int64_t dx) -> double { return d.at(s + ds, y + dy, x + dx); };
    const double middle = value(0, 0, 0);
    gradient = {(value(0, 0, 1) - value(0, 0, -1)) / 2, (value(0, 1, 0) - value(0, -1, 0)) / 2,
                (value(1, 0, 0) - value(-1, 0, 0)) / 2};
    xx = value(0, 0, 1) + value(0, 0, -1) - 2 * middle;
    yy = value(0, 1, 0) + value(0, -1, 0) - 2 * middle;
    xy = (value(0, 1, 1) + value(0, -1, -1) - value(0, -1, 1) - value(0, 1, -1)) / 4;
    const double ss = value(1, 0, 0) + value(-1, 0, 0) - 2 * middle;
    const double xs = (value(1, 0, 1) + value(-1, 0, -1) - value(-1, 0, 1) - value(1, 0, -1)) / 4;
    const double ys = (value(1, 1, 0) + value(-1, -1, 0) - value(-1, 1, 0) - value(1, -1, 0)) / 4;
    const auto solved = solve({xx, xy, xs, yy, ys, ss}, {-gradient[0], -gradient[1], -gradient[2]});
    if (!solved) return std::nullopt;
    offset = *solved;
    if (step + 1 == kSteps) break;
    const auto move = [](double by, int64_t at, int64_t size) {
      return (by > kNextPixel && at < size - 2 ? 1 : 0) - (by < -kNextPixel && at > 1 ? 1 : 0);
    };
    const int64_t dx = move(offset[0], x, d.width), dy = move(offset[1], y, d.height);
    if (dx == 0 && dy == 0) break;
    x += dx;
    y += dy;
  }
  const double response =
      d.at(s, y, x) + (gradient[0] * offset[0] + gradient[1] * offset[1] + gradient[2] * offset[2]) / 2;
  // The ratio r of the curvatures follows from trace^2 / determinant = (r + 1)^2 / r.
  const double determinant = xx * yy - xy * xy, share = (xx + yy) * (xx + yy) / determinant;
  const double ratio = (share / 2 - 1) + std::sqrt(std::max(share / 4 - 1, 0.0) * share);
  const bool near = std::ranges::all_of(offset, [](double o) { return std::abs(o) < kFurthest; });
  if (!near || !(std::abs(response) >= options.peak_threshold) || !(determinant > 0) ||
      !(ratio < options.edge_threshold))
    return std::nullopt;
  return Found{s, y, x, offset[2], offset[1], offset[0], response};
}

std::vector<Found> find_in_octave(const Octave& octave, const BlobOptions& options) {
  const Differences differences(octave);
  const int64_t rows = std::max<int64_t>(0, differences.height - 2), planes = differences.count - 2;
  std::vector<std::vector<Found>> by_row(rows * planes);
  const float least = static_cast<float>(kPromising * options.peak_threshold);
  parallel_for(rows * planes, [&](int64_t item) {
    const int64_t s = 1 + item % planes, y = 1 + item / planes;  // rows in turn: scales share what they read
    const float *low = differences.levels[s] + y * differences.width,
                *high = differences.levels[s + 1] + y * differences.width;
    const int64_t width = differences.width, end = width - 1;
    for (int64_t x = 0; (x = pixel_rows().next_peak(low, high, width, x + 1, end, least)) < end;) {
      if (!differences.is_extremum(s, y, x)) continue;
      if (const auto found = refine(differences, s, y, x, options)) by_row[item].push_back(*found);
    }
  });
  std::vector<Found> all;
  for (const auto& part : by_row) all.insert(all.end(), part.begin(), part.end());
  // Neighbours may have been led to the same pixel.
  std::ranges::stable_sort(all, {}, &Found::place);
  const auto again = std::ranges::unique(all, {}, &Found::place);
  all.erase(again.begin(), again.end());
  return all;
}

}  // namespace

std::vector<Blob> find_blobs(const ScaleSpace& space, const BlobOptions& options) {
  std::vector<Blob> blobs;
  for (size_t o = 0; o < space.octaves.size(); ++o) {
    const double step = space.octaves[o].step;
    for (const Found& f : find_in_octave(space.octaves[o], options)) {
      blobs.push_back({(static_cast<double>(f.x) + f.dx) * step, (static_cast<double>(f.y) + f.dy) * step,
                       space.sigma(o, static_cast<double>(f.s) + f.ds), f.response});
    }
  }
  std::ranges::stable_sort(blobs, std::greater{}, [](const Blob& b) { return std::abs(b.response); });
  return blobs;
}

}  // namespace mk::features
