// What it costs to match bars, with each other or with the diagonal.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mk::topology {

// What the distance between two bars is: of the points (birth, death) in the plane, or the greater difference.
enum class Ground { euclidean, maximum };

// The distance of a bar from the diagonal, in units of its length.
template <Ground ground>
inline constexpr double kToDiagonal = ground == Ground::euclidean ? std::numbers::sqrt2 / 2 : 0.5;

constexpr double to_diagonal(Ground ground) {
  return ground == Ground::euclidean ? kToDiagonal<Ground::euclidean> : kToDiagonal<Ground::maximum>;
}

template <Ground ground>
inline double bar_distance(double birth_gap, double death_gap) {
  if constexpr (ground == Ground::euclidean) return std::sqrt(birth_gap * birth_gap + death_gap * death_gap);
  return std::max(std::abs(birth_gap), std::abs(death_gap));
}

inline double bar_distance(Ground ground, double birth_gap, double death_gap) {
  return ground == Ground::euclidean ? bar_distance<Ground::euclidean>(birth_gap, death_gap)
                                     : bar_distance<Ground::maximum>(birth_gap, death_gap);
}

// In what unit lengths are raised to a power, and the most that a power counts.
struct LengthUnit {
  double length, most;
};

}  // namespace mk::topology
