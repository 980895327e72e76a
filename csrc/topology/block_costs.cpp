#include "topology/block_costs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct First {
  double operator()(double x) const { return x; }
};
struct Second {
  LengthUnit unit;
  double operator()(double x) const { return std::min((x / unit.length) * (x / unit.length), unit.most); }
};
struct AnyOrder {
  LengthUnit unit;
  double order;
  double operator()(double x) const { return std::min(std::pow(x / unit.length, order), unit.most); }
};

// Half the width of the window around birth + death of a bar that holds all bars it can be matched with: those nearer
// to it than both are to the diagonal taken together.
double reach(Ground ground, double length, double longest) {
  return ground == Ground::euclidean ? 2 * std::sqrt(length) * std::sqrt(longest) : 2 * std::min(length, longest);
}

// Calls visit(range) for ranges of blocks of b that hold all bars to be matched with bar i of a.
template <class Visit>
void for_each_range(const Bars& a, int32_t i, const Bars& b, Ground ground, double farthest, const Visit& visit) {
  constexpr int32_t few_blocks = 64;  // of which to look at all is quicker than to search
  const auto all = static_cast<int32_t>(b.blocks.size());
  if (all <= few_blocks) return visit(BlockRange{0, all});
  int32_t seen = 0;  // two bands may share a block
  for (const Band& band : b.bands) {
    const double width = std::min(reach(ground, a.length[i], band.longest), 2 * farthest);
    const auto begin = b.middle.begin() + band.begin, end = b.middle.begin() + band.end;
    const auto from = std::lower_bound(begin, end, a.middle[i] - width);
    const auto to = std::upper_bound(from, end, a.middle[i] + width);
    if (from == to) continue;
    const auto first = static_cast<int32_t>(from - b.middle.begin()),
               last = static_cast<int32_t>(to - b.middle.begin());
    const BlockRange range{std::max(seen, first / kBarBlock), (last + kBarBlock - 1) / kBarBlock};
    if (range.begin < range.end) visit(range);
    seen = range.end;
  }
}

// Makes room for `more` blocks after the first `used`.
void make_room(int64_t used, int64_t more, int64_t memory, BlockCosts& costs) {
  constexpr int64_t block_bytes = kBarBlock * sizeof(double) + sizeof(int32_t);
  const auto room = static_cast<int64_t>(costs.block.size());
  if (used + more <= room) return;
  const int64_t most = memory / block_bytes;
  if (used + more > most) {
    throw std::invalid_argument("the diagrams are too large: about " + std::to_string(kBarBlock * used) +
                                " pairs of bars can match so far, and more need more memory than is free");
  }
  const int64_t wanted = std::clamp(2 * room, used + more, most);
  costs.block.resize(wanted);
  costs.cost.resize(wanted * kBarBlock);
}

// Replaces the costs of order 1 in a block by those of another order; whether it holds a bar to choose. Those farther
// than `farthest` never are.
template <class Power>
bool raise_costs(const Chooser& bar, double leave, const BarBlock& to, Ground ground, const Power& power,
                 double farthest, double* cost) {
  bool chosen = false;
  for (int lane = 0; lane < kBarBlock; ++lane) {
    const double distance = bar_distance(ground, to.birth[lane] - bar.birth, to.death[lane] - bar.death);
    const bool near = cost[lane] < to_diagonal(ground) * (bar.death - bar.birth) && distance <= farthest;
    cost[lane] = near ? power(distance) - power(to_diagonal(ground) * to.length[lane]) : kInfinity;
    chosen |= cost[lane] < leave;
  }
  return chosen;
}

template <class Power>
void fill_rows(const Bars& a, const Bars& b, const CostOptions& options, const Power& power, BlockCosts& costs) {
  const auto& [ground, order, unit, memory] = options;
  const auto fill = ground == Ground::euclidean ? block_rows().euclidean : block_rows().maximum;
  // Of two bars that go together neither is cheaper on the diagonal.
  const double farthest = unit.length * std::pow(2 * unit.most, 1 / order);
  for (int32_t i = 0; i < a.finite(); ++i) {
    const Chooser bar{a.birth[i], a.death[i]};
    const double leave = power(to_diagonal(ground) * a.length[i]);
    int64_t used = costs.start.back();
    for_each_range(a, i, b, ground, farthest, [&](BlockRange range) {
      make_room(used, range.end - range.begin, memory, costs);
      int32_t* const block = costs.block.data() + used;
      double* const cost = costs.cost.data() + used * kBarBlock;
      const int64_t count = fill(bar, b.blocks.data(), range, block, cost);
      if constexpr (std::is_same_v<Power, First>) {
        used += count;
      } else {
        int64_t kept = 0;
        for (int64_t k = 0; k < count; ++k) {
          double* const from = cost + k * kBarBlock;
          if (!raise_costs(bar, leave, b.blocks[block[k]], ground, power, farthest, from)) continue;
          block[kept] = block[k];
          std::copy_n(from, kBarBlock, cost + kept * kBarBlock);
          ++kept;
        }
        used += kept;
      }
    });
    costs.start.push_back(used);
    costs.leave.push_back(leave);
  }
}

}  // namespace

void fill_costs(const Bars& a, const Bars& b, const CostOptions& options, BlockCosts& costs) {
  costs.start.assign(1, 0);
  costs.leave.clear();
  costs.columns = b.finite();
  if (options.order == 1)
    fill_rows(a, b, options, First{}, costs);
  else if (options.order == 2)
    fill_rows(a, b, options, Second{options.unit}, costs);
  else
    fill_rows(a, b, options, AnyOrder{options.unit, options.order}, costs);
}

}  // namespace mk::topology
