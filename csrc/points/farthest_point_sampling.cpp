#include "points/farthest_point_sampling.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>
#include <vector>

#include "common/parallel.h"
#include "points/leaf_passes.h"

namespace mk::points {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A pick that goes over all points takes about as long as one and a half levels of the tree.
constexpr size_t kPicksPerLevel = 4;

struct Farthest {
  double squared = -1;
  int32_t point = -1;
};

// The point of each box of a level that is farthest from all picks.
struct Level {
  std::vector<double> squared;  // [boxes]; -1 in padding
  std::vector<int32_t> points;  // [boxes]
};

struct Survey {
  PointTree<double> tree;
  std::vector<double> nearest;  // [leaves, kLeaf]: squared distance of each point to the nearest pick; -1 in padding
  std::vector<Level> levels;    // those of the tree
};

template <class T>
Survey make_survey(const Cloud<T>& cloud, bool split) {
  Survey survey{build_point_tree<double>(cloud, split), {}, {}};
  const PointTree<double>& tree = survey.tree;
  survey.nearest.assign(tree.leaves * kLeaf, -1);
  std::fill_n(survey.nearest.begin(), tree.size, kInfinity);
  for (const auto& boxes : tree.levels) {
    const int64_t padded = (boxes.count + kFan - 1) / kFan * kFan;
    Level level{std::vector<double>(padded, -1), std::vector<int32_t>(padded, -1)};
    std::fill_n(level.squared.begin(), boxes.count, kInfinity);
    survey.levels.push_back(std::move(level));
  }
  return survey;
}

// Brings kFan boxes of a level up to date with a pick, and tells the farthest point of them.
Farthest visit(Survey& survey, const LeafPasses& passes, size_t at, int64_t group, const double* pick) {
  const PointTree<double>& tree = survey.tree;
  Level& level = survey.levels[at];
  double* squared = level.squared.data() + group * kFan;
  int32_t* points = level.points.data() + group * kFan;
  uint32_t nearer = passes.touch(tree.low(at, group), tree.high(at, group), tree.dimensions, pick, squared);
  for (; nearer; nearer &= nearer - 1) {
    const int i = std::countr_zero(nearer);
    const int64_t box = group * kFan + i;
    if (at > 0) {
      const Farthest found = visit(survey, passes, at - 1, box, pick);
      squared[i] = found.squared;
      points[i] = found.point;
    } else {
      double* nearest = survey.nearest.data() + box * kLeaf;
      const int place = passes.approach(tree.leaf_values(box), tree.dimensions, pick, nearest);
      squared[i] = nearest[place];
      points[i] = tree.leaf_order(box)[place];
    }
  }
  Farthest best{squared[0], points[0]};
  for (int64_t i = 1; i < kFan; ++i) {
    const bool farther = squared[i] > best.squared || (squared[i] == best.squared && points[i] < best.point);
    best = farther ? Farthest{squared[i], points[i]} : best;
  }
  return best;
}

}  // namespace

template <class T>
void farthest_point_sampling(const Cloud<T>& cloud, int64_t start, std::span<int64_t> picks) {
  const int64_t leaves = (cloud.size + kLeaf - 1) / kLeaf;
  const bool split = picks.size() > kPicksPerLevel * static_cast<size_t>(std::bit_width(static_cast<uint64_t>(leaves)));
  Survey survey = make_survey(cloud, split);
  const LeafPasses& passes = leaf_passes();
  double pick[kMostDimensions];
  picks[0] = start;
  for (size_t i = 1; i < picks.size(); ++i) {
    if (i % 64 == 0) check_interrupt();
    std::copy_n(cloud.row(picks[i - 1]), cloud.dimensions, pick);
    picks[i] = visit(survey, passes, survey.levels.size() - 1, 0, pick).point;
  }
}

template void farthest_point_sampling(const Cloud<float>&, int64_t, std::span<int64_t>);
template void farthest_point_sampling(const Cloud<double>&, int64_t, std::span<int64_t>);

}  // namespace mk::points
