#include "topology/wasserstein.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "common/parallel.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kRounding = 1e-9;    // far above the rounding of a power, far below what would cost time
constexpr double kNegligible = 1e-6;  // costs above this many times those of the longest bar are exact to ten digits

// x^order in a unit in which it neither overflows nor vanishes.
struct First {
  double operator()(double x) const { return x; }
};
struct Second {
  double unit;
  double operator()(double x) const { return (x / unit) * (x / unit); }
};
struct AnyOrder {
  double unit, order;
  double operator()(double x) const { return std::pow(x / unit, order); }
};

// Half the width of the window around birth + death of a bar that holds all bars it can be matched with: those nearer
// to it than both are to the diagonal taken together.
template <Ground ground>
double reach(double length, double longest) {
  if constexpr (ground == Ground::euclidean) return 2 * std::sqrt(length) * std::sqrt(longest);
  return 2 * std::min(length, longest);
}

template <Ground ground>
bool may_match(double middle_gap, double length, double other_length) {
  if constexpr (ground == Ground::euclidean) return middle_gap * middle_gap < 4 * length * other_length;
  return std::abs(middle_gap) < 2 * std::min(length, other_length);
}

void check_memory(const Choices& choices, int64_t limit) {
  const auto bytes = static_cast<int64_t>(choices.cost.capacity() * (sizeof(double) + sizeof(int32_t)));
  if (bytes > limit) {
    throw std::invalid_argument("the diagrams are too large: more than " + std::to_string(choices.cost.size()) +
                                " pairs of bars can match, and these need more memory than is free");
  }
}

// Bars of `a` choose among bars of `b`. Leaving two bars apart costs leave(a) + leave(b); the part of b is taken from
// the cost of choosing it, so that bars of b which nobody chooses cost nothing.
template <Ground ground, class Power>
void fill_choices(const Bars& a, const Bars& b, const Power& power, int64_t memory, Choices& choices) {
  choices.clear(b.finite());
  for (int32_t i = 0; i < a.finite(); ++i) {
    const double leave = power(to_diagonal(ground) * a.length[i]);
    for (const Band& band : b.bands) {
      const double width = reach<ground>(a.length[i], band.longest);
      const auto end = b.middle.begin() + band.end;
      auto at = std::lower_bound(b.middle.begin() + band.begin, end, a.middle[i] - width);
      for (; at != end && *at <= a.middle[i] + width; ++at) {
        const int64_t j = at - b.middle.begin();
        if (!may_match<ground>(*at - a.middle[i], a.length[i], b.length[j])) continue;
        const double cost = power(bar_distance<ground>(b.birth[j] - a.birth[i], b.death[j] - a.death[i])) -
                            power(to_diagonal(ground) * b.length[j]);
        if (cost >= leave) continue;
        choices.column.push_back(static_cast<int32_t>(j));
        choices.cost.push_back(cost);
      }
    }
    choices.start.push_back(static_cast<int64_t>(choices.column.size()));
    choices.leave.push_back(leave);
    check_memory(choices, memory);
  }
}

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
  costs_.clear();
  owner_.assign(b.finite(), -1);
  for (int32_t i = 0; i < a.finite(); ++i) {
    const int32_t j = partner_[i];
    if (j >= 0) owner_[j] = i;
    costs_.push_back(j < 0 ? to_diagonal(options.ground) * a.length[i]
                           : bar_distance(options.ground, a.birth[i] - b.birth[j], a.death[i] - b.death[j]));
  }
  for (int32_t j = 0; j < b.finite(); ++j)
    if (owner_[j] < 0) costs_.push_back(to_diagonal(options.ground) * b.length[j]);
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
  if (options.order == kInfinity) {
    bottleneck_.solve(a, b, options.ground, partner_);
  } else if (a.one_birth && b.one_birth && a.first_birth == b.first_birth) {
    if (options.order == 1)
      aligner_.align_linear(a.length, b.length, to_diagonal(options.ground), partner_);
    else
      aligner_.align_power(a.length, b.length, to_diagonal(options.ground), options.order, partner_);
  } else if (a.finite() <= b.finite()) {
    list_choices(a, b, options);
    std::ranges::copy(solver_.solve(choices_), partner_.begin());
    if (options.order != 1) improve_pairs(a, b, options);
  } else {
    list_choices(b, a, options);
    const std::span<const int32_t> chosen = solver_.solve(choices_);
    for (int32_t j = 0; j < b.finite(); ++j)
      if (chosen[j] >= 0) partner_[chosen[j]] = j;
    if (options.order != 1) improve_pairs(a, b, options);
  }
}

void PairSolver::list_choices(const Bars& a, const Bars& b, const WassersteinOptions& options) {
  const double unit = std::max(a.longest, b.longest);
  const auto fill = [&](const auto& power) {
    if (options.ground == Ground::euclidean)
      fill_choices<Ground::euclidean>(a, b, power, options.memory, choices_);
    else
      fill_choices<Ground::maximum>(a, b, power, options.memory, choices_);
  };
  if (options.order == 1)
    fill(First{});
  else if (options.order == 2)
    fill(Second{unit});
  else
    fill(AnyOrder{unit, options.order});
}

// Powers of distances that are tiny beside the lengths of the bars drown in the rounding of the savings that decided
// who is matched. Then those who are get matched again among themselves, on the powers alone.
void PairSolver::improve_pairs(const Bars& a, const Bars& b, const WassersteinOptions& options) {
  const auto distance = [&](int32_t i, int32_t j) {
    return bar_distance(options.ground, a.birth[i] - b.birth[j], a.death[i] - b.death[j]);
  };
  const double unit = std::max(a.longest, b.longest);
  std::vector<int32_t> matched_b;
  double farthest = 0, total = 0;
  for (int32_t i = 0; i < a.finite(); ++i) {
    if (partner_[i] < 0) continue;
    matched_b.push_back(partner_[i]);
    farthest = std::max(farthest, distance(i, partner_[i]));
    total += std::pow(distance(i, partner_[i]) / unit, options.order);
  }
  if (farthest == 0 || total > kNegligible * static_cast<double>(matched_b.size())) return;
  const auto power = [&](double x) { return std::pow(x / farthest, options.order); };
  // A pair that alone costs more than all together now is in no better matching.
  const double most = static_cast<double>(matched_b.size()) * (1 + kRounding);
  const double width = 2 * farthest * std::pow(most, 1 / options.order) * (1 + kRounding);
  std::ranges::sort(matched_b, {}, [&](int32_t j) { return b.middle[j]; });
  pairs_.clear(static_cast<int32_t>(matched_b.size()));
  for (int32_t i = 0; i < a.finite(); ++i) {
    if (partner_[i] < 0) continue;
    const auto from =
        std::ranges::lower_bound(matched_b, a.middle[i] - width, {}, [&](int32_t j) { return b.middle[j]; });
    for (auto at = from; at != matched_b.end() && b.middle[*at] <= a.middle[i] + width; ++at) {
      const double cost = power(distance(i, *at));
      if (cost > most) continue;
      pairs_.column.push_back(static_cast<int32_t>(at - matched_b.begin()));
      pairs_.cost.push_back(cost);
    }
    pairs_.start.push_back(static_cast<int64_t>(pairs_.column.size()));
    pairs_.leave.push_back(kInfinity);
    check_memory(pairs_, options.memory);
  }
  const std::span<const int32_t> chosen = solver_.solve(pairs_);
  size_t next = 0;
  for (int32_t i = 0; i < a.finite(); ++i)
    if (partner_[i] >= 0) partner_[i] = matched_b[chosen[next++]];
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
