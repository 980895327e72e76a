#include "topology/wasserstein.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Sums of powers above this part of what leaving the longest bar costs, for each bar, are exact to ten digits.
constexpr double kExactPart = 1e-6;
constexpr double kSteepOrder = 16;  // powers of lower orders hold twenty magnitudes of lengths

// (sum of costs^order)^(1/order), without leaving the range of double on the way.
double norm(std::span<const double> costs, double order) {
  if (order == 1) return std::accumulate(costs.begin(), costs.end(), 0.0);
  const double largest = costs.empty() ? 0 : *std::max_element(costs.begin(), costs.end());
  if (order == kInfinity || largest == 0) return largest;
  double total = 0;
  for (const double cost : costs) total += std::pow(cost / largest, order);
  return largest * std::pow(total, 1 / order);
}

struct Bar {
  double birth, death;
  bool is_finite() const { return std::isfinite(birth) && std::isfinite(death); }
};

Bar bar_of(std::span<const double> diagram, int64_t row) { return {diagram[2 * row], diagram[2 * row + 1]}; }

double sign(double x) { return static_cast<double>((x > 0) - (x < 0)); }

// Derivative of the distance of two bars with respect to the ends of the first.
Bar pair_slope(const Bar& x, const Bar& y, Ground ground) {
  const double birth_gap = std::isfinite(x.birth) ? x.birth - y.birth : 0;
  const double death_gap = std::isfinite(x.death) ? x.death - y.death : 0;
  if (ground == Ground::euclidean) {
    const double distance = std::hypot(birth_gap, death_gap);
    return distance > 0 ? Bar{birth_gap / distance, death_gap / distance} : Bar{0, 0};
  }
  const bool by_birth = std::abs(birth_gap) >= std::abs(death_gap);
  return by_birth ? Bar{sign(birth_gap), 0} : Bar{0, sign(death_gap)};
}

double pair_distance(const Bar& x, const Bar& y, Ground ground) {
  const double birth_gap = std::isfinite(x.birth) ? std::abs(x.birth - y.birth) : 0;
  const double death_gap = std::isfinite(x.death) ? std::abs(x.death - y.death) : 0;
  return ground == Ground::euclidean ? std::hypot(birth_gap, death_gap) : std::max(birth_gap, death_gap);
}

}  // namespace

double PairSolver::distance(const Bars& a, const Bars& b, const WassersteinOptions& options) {
  match(a, b, options);
  list_costs(a, b, options.ground);
  for (size_t kind = 0; kind < a.endless.size(); ++kind) {
    const std::vector<double>&at_a = a.endless[kind].at, &at_b = b.endless[kind].at;
    if (at_a.size() != at_b.size()) return kInfinity;
    for (size_t k = 0; k < at_a.size(); ++k) costs_.push_back(std::abs(at_a[k] - at_b[k]));
  }
  return norm(costs_, options.order);
}

void PairSolver::partners(const Bars& a, const Bars& b, std::span<int64_t> rows) const {
  std::fill(rows.begin(), rows.end(), -1);
  for (int32_t i = 0; i < a.finite(); ++i)
    if (partner_[i] >= 0) rows[a.index[i]] = b.index[partner_[i]];
  for (size_t kind = 0; kind < a.endless.size(); ++kind) {
    const std::vector<int32_t>&of_a = a.endless[kind].index, &of_b = b.endless[kind].index;
    for (size_t k = 0; k < std::min(of_a.size(), of_b.size()); ++k) rows[of_a[k]] = of_b[k];
  }
}

void PairSolver::match(const Bars& a, const Bars& b, const WassersteinOptions& options) {
  partner_.assign(a.finite(), -1);
  if (a.finite() == 0 || b.finite() == 0) return;
  const double longest = std::max(a.longest, b.longest);
  if (options.order == kInfinity) {
    bottleneck_.solve(a, b, options.ground, partner_);
  } else if (options.order == 1) {
    match_finite(a, b, options, {longest, kInfinity});
  } else {
    match_powers(a, b, options, longest);
  }
}

// Powers of distances that are tiny beside the lengths of bars drown in the powers of these lengths, or vanish. So a
// solution that turns out tiny is only a bound, and a better unit: in units of a bound the least sum is at most 1, so
// that what costs more than that, such as to leave out a long bar, may cost kMostCost without changing the solution.
void PairSolver::match_powers(const Bars& a, const Bars& b, const WassersteinOptions& options, double longest) {
  constexpr double kMostCost = 2;
  const double bars = static_cast<double>(a.finite()) + b.finite();
  LengthUnit unit{longest, kInfinity};
  if (options.order > kSteepOrder) {
    const double bottleneck = bottleneck_.solve(a, b, options.ground, partner_);
    if (bottleneck == 0) return;
    unit = {bottleneck * std::pow(bars, 1 / options.order), kMostCost};
  }
  double bound = kInfinity;
  for (;;) {
    kept_ = partner_;
    match_finite(a, b, options, unit);
    list_costs(a, b, options.ground);
    const double found = norm(costs_, options.order);
    if (!(found < bound)) {
      partner_ = kept_;
      return;
    }
    if (found == 0 || std::pow(found / unit.length, options.order) > kExactPart * bars) return;
    bound = found;
    unit = {bound, kMostCost};
  }
}

void PairSolver::match_finite(const Bars& a, const Bars& b, const WassersteinOptions& options, const LengthUnit& unit) {
  if (a.one_birth && b.one_birth && a.first_birth == b.first_birth) {
    if (options.order == 1)
      aligner_.align_linear(a.length, b.length, to_diagonal(options.ground), partner_);
    else
      aligner_.align_power(a.length, b.length, to_diagonal(options.ground), options.order, unit, partner_);
  } else if (a.finite() <= b.finite()) {
    std::ranges::copy(assign(a, b, options, unit), partner_.begin());
  } else {
    const std::span<const int32_t> chosen = assign(b, a, options, unit);
    std::ranges::fill(partner_, -1);
    for (int32_t j = 0; j < b.finite(); ++j)
      if (chosen[j] >= 0) partner_[chosen[j]] = j;
  }
}

std::span<const int32_t> PairSolver::assign(const Bars& a, const Bars& b, const WassersteinOptions& options,
                                            const LengthUnit& unit) {
  fill_costs(a, b, {options.ground, options.order, unit, options.memory}, choices_);
  return solver_.solve(choices_, a.longest_first);
}

// What each finite bar of both diagrams costs in the matching.
void PairSolver::list_costs(const Bars& a, const Bars& b, Ground ground) {
  costs_.clear();
  owner_.assign(b.finite(), -1);
  for (int32_t i = 0; i < a.finite(); ++i) {
    const int32_t j = partner_[i];
    if (j >= 0) owner_[j] = i;
    costs_.push_back(j < 0 ? to_diagonal(ground) * a.length[i]
                           : bar_distance(ground, a.birth[i] - b.birth[j], a.death[i] - b.death[j]));
  }
  for (int32_t j = 0; j < b.finite(); ++j)
    if (owner_[j] < 0) costs_.push_back(to_diagonal(ground) * b.length[j]);
}

void differentiate_wasserstein(const Matched& matched, double order, Ground ground, double upstream,
                               std::span<double> grad_a, std::span<double> grad_b) {
  const auto& [a, b, partner, distance] = matched;
  std::ranges::fill(grad_a, 0);
  std::ranges::fill(grad_b, 0);
  if (distance == 0 || distance == kInfinity) return;

  struct Move {
    int64_t in_a, in_b;  // -1: the diagonal
    double cost;
  };
  std::vector<Move> moves;
  std::vector<uint8_t> taken(b.size() / 2, 0);
  const auto leave = [&](const Bar& bar, int64_t in_a, int64_t in_b) {
    if (bar.is_finite()) moves.push_back({in_a, in_b, to_diagonal(ground) * (bar.death - bar.birth)});
  };
  for (int64_t i = 0; i < static_cast<int64_t>(partner.size()); ++i) {
    if (partner[i] < 0) {
      leave(bar_of(a, i), i, -1);
    } else {
      taken[partner[i]] = 1;
      moves.push_back({i, partner[i], pair_distance(bar_of(a, i), bar_of(b, partner[i]), ground)});
    }
  }
  for (int64_t j = 0; j < static_cast<int64_t>(taken.size()); ++j)
    if (!taken[j]) leave(bar_of(b, j), -1, j);

  if (order == kInfinity) {
    const Move farthest = *std::ranges::max_element(moves, {}, &Move::cost);
    moves.assign(1, farthest);
  }
  for (const auto& [in_a, in_b, cost] : moves) {
    if (cost == 0) continue;
    const bool linear = order == 1 || order == kInfinity;
    const double factor = linear ? upstream : upstream * std::pow(cost / distance, order - 1);
    if (in_a >= 0 && in_b >= 0) {
      const Bar slope = pair_slope(bar_of(a, in_a), bar_of(b, in_b), ground);
      grad_a[2 * in_a] = factor * slope.birth;
      grad_a[2 * in_a + 1] = factor * slope.death;
      grad_b[2 * in_b] = -factor * slope.birth;
      grad_b[2 * in_b + 1] = -factor * slope.death;
    } else {
      const std::span<double> grad = in_a >= 0 ? grad_a : grad_b;
      const int64_t row = std::max(in_a, in_b);
      grad[2 * row] = -factor * to_diagonal(ground);
      grad[2 * row + 1] = factor * to_diagonal(ground);
    }
  }
}

}  // namespace mk::topology
