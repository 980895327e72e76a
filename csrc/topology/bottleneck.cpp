#include "topology/bottleneck.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Calls visit(j, distance) for bars j of `to` within r of bar i of `from`.
template <class Visit>
void for_each_near(const Bars& from, int32_t i, const Bars& to, Ground ground, double r, const Visit& visit) {
  // Neither end moves by more than r; the factor allows for rounding of the sums.
  const double width = 2 * r * (1 + 1e-12) + 1e-15 * std::abs(from.middle[i]);
  for (const Band& band : to.bands) {
    const auto end = to.middle.begin() + band.end;
    for (auto at = std::lower_bound(to.middle.begin() + band.begin, end, from.middle[i] - width);
         at != end && *at <= from.middle[i] + width; ++at) {
      const auto j = static_cast<int32_t>(at - to.middle.begin());
      const double distance = bar_distance(ground, to.birth[j] - from.birth[i], to.death[j] - from.death[i]);
      if (distance <= r) visit(j, distance);
    }
  }
}

// Every bar moves at least to its nearest bar or the diagonal.
double lower_bound(const Bars& from, const Bars& to, Ground ground) {
  double bound = 0;
  for (int32_t i = 0; i < from.finite(); ++i) {
    double nearest = to_diagonal(ground) * from.length[i];
    if (nearest <= bound) continue;
    for_each_near(from, i, to, ground, nearest, [&](int32_t, double d) { nearest = std::min(nearest, d); });
    bound = std::max(bound, nearest);
  }
  return bound;
}

// One of the values strictly between two bounds, each with the same chance.
class Lottery {
 public:
  Lottery(double low, double high) : low_(low), high_(high) {}

  void offer(double value) {
    if (value > low_ && value < high_ && next() % ++offers_ == 0) winner_ = value;
  }
  bool has_winner() const { return offers_ > 0; }
  double winner() const { return winner_; }

 private:
  // SplitMix64 (Steele, Lea and Flood 2014), always from the same seed.
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  double low_, high_, winner_ = 0;
  uint64_t state_ = 0, offers_ = 0;
};

}  // namespace

double BottleneckSolver::solve(const Bars& a, const Bars& b, Ground ground, std::span<int32_t> partner) {
  double low = std::max(lower_bound(a, b, ground), lower_bound(b, a, ground));
  double high = low;
  if (!suffices(a, b, ground, low)) {
    high = to_diagonal(ground) * std::max(a.longest, b.longest);
    for (;;) {
      Lottery lottery(low, high);
      for (int32_t i = 0; i < a.finite(); ++i) {
        lottery.offer(to_diagonal(ground) * a.length[i]);
        for_each_near(a, i, b, ground, high, [&](int32_t, double distance) { lottery.offer(distance); });
      }
      for (int32_t j = 0; j < b.finite(); ++j) lottery.offer(to_diagonal(ground) * b.length[j]);
      if (!lottery.has_winner()) break;
      if (suffices(a, b, ground, lottery.winner()))
        high = lottery.winner();
      else
        low = lottery.winner();
    }
    suffices(a, b, ground, high);
  }

  std::fill(partner.begin(), partner.end(), -1);
  to_a_.assign(b.finite(), -1);
  std::vector<int32_t>& place_in_b = level_;  // of the bars that must be covered, in cover_b_
  place_in_b.assign(b.finite(), -1);
  for (size_t k = 0; k < cover_a_.bars.size(); ++k) {
    partner[cover_a_.bars[k]] = cover_a_.mate[k];
    to_a_[cover_a_.mate[k]] = cover_a_.bars[k];
  }
  for (size_t k = 0; k < cover_b_.bars.size(); ++k) place_in_b[cover_b_.bars[k]] = static_cast<int32_t>(k);
  // A bar of b that is left out takes its mate of the second matching; whom that mate leaves does the same.
  for (const int32_t left_out : cover_b_.bars) {
    if (to_a_[left_out] >= 0) continue;
    for (int32_t j = left_out; j >= 0 && place_in_b[j] >= 0;) {
      const int32_t i = cover_b_.mate[place_in_b[j]];
      to_a_[j] = i;
      std::swap(j, partner[i]);
      if (j >= 0) to_a_[j] = -1;
    }
  }
  return high;
}

bool BottleneckSolver::suffices(const Bars& a, const Bars& b, Ground ground, double r) {
  check_interrupt();
  return cover(a, b, ground, r, cover_a_) && cover(b, a, ground, r, cover_b_);
}

bool BottleneckSolver::cover(const Bars& from, const Bars& to, Ground ground, double r, Cover& cover) {
  cover.bars.clear();
  cover.start.assign(1, 0);
  cover.near.clear();
  cover.mate.clear();
  cover.owner.assign(to.finite(), -1);
  for (int32_t i = 0; i < from.finite(); ++i) {
    if (to_diagonal(ground) * from.length[i] <= r) continue;
    const auto row = static_cast<int32_t>(cover.bars.size());
    int32_t mate = -1;
    for_each_near(from, i, to, ground, r, [&](int32_t j, double) {
      cover.near.push_back(j);
      if (mate < 0 && cover.owner[j] < 0) mate = j;
    });
    if (mate >= 0) cover.owner[mate] = row;
    cover.bars.push_back(i);
    cover.start.push_back(static_cast<int64_t>(cover.near.size()));
    cover.mate.push_back(mate);
    if (cover.start[row] == cover.start[row + 1]) return false;
  }
  while (std::find(cover.mate.begin(), cover.mate.end(), -1) != cover.mate.end()) {
    check_interrupt();
    if (!layer(cover)) return false;
    next_.assign(cover.start.begin(), cover.start.end() - 1);
    for (size_t k = 0; k < cover.bars.size(); ++k)
      if (cover.mate[k] < 0) augment(cover, static_cast<int32_t>(k));
  }
  return true;
}

// Levels of breadth-first search from the bars without a mate; whether one of them can get one.
bool BottleneckSolver::layer(const Cover& cover) {
  level_.assign(cover.bars.size(), -1);
  queue_.clear();
  for (size_t k = 0; k < cover.bars.size(); ++k) {
    if (cover.mate[k] >= 0) continue;
    level_[k] = 0;
    queue_.push_back(static_cast<int32_t>(k));
  }
  bool found = false;
  for (size_t head = 0; head < queue_.size() && !found; ++head) {
    const int32_t row = queue_[head];
    for (int64_t e = cover.start[row]; e < cover.start[row + 1]; ++e) {
      const int32_t owner = cover.owner[cover.near[e]];
      if (owner < 0) {
        found = true;
      } else if (level_[owner] < 0) {
        level_[owner] = level_[row] + 1;
        queue_.push_back(owner);
      }
    }
  }
  return found;
}

// Depth-first search along the levels; next_ makes sure that no edge is tried twice in a phase.
bool BottleneckSolver::augment(Cover& cover, int32_t first) {
  path_.assign(1, first);
  while (!path_.empty()) {
    const int32_t row = path_.back();
    if (next_[row] == cover.start[row + 1]) {
      path_.pop_back();
      if (!path_.empty()) ++next_[path_.back()];
      continue;
    }
    const int32_t owner = cover.owner[cover.near[next_[row]]];
    if (owner < 0) {
      for (const int32_t each : path_) {
        cover.mate[each] = cover.near[next_[each]];
        cover.owner[cover.mate[each]] = each;
      }
      return true;
    }
    if (level_[owner] == level_[row] + 1)
      path_.push_back(owner);
    else
      ++next_[row];
  }
  return false;
}

}  // namespace mk::topology
