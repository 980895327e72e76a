#include "topology/wasserstein_matrix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "common/parallel.h"

namespace mk::topology {

namespace {

// Pairs that a thread takes at once: those of small diagrams take microseconds, those of large ones seconds.
int64_t pairs_at_once(const Diagrams& diagrams) {
  constexpr int64_t bars = 4096;
  const int64_t mean = static_cast<int64_t>(diagrams.rows.size()) / 2 / std::max<int64_t>(1, diagrams.count());
  return std::clamp<int64_t>(bars / (mean + 1), 1, 16);
}

std::vector<Bars> prepare_all(const Diagrams& diagrams, double scale, bool drop_endless, const std::string& name) {
  std::vector<Bars> prepared(diagrams.count());
  parallel_for(diagrams.count(), [&](int64_t k) {
    prepared[k] = prepare_bars(diagrams.diagram(k), scale, drop_endless, name + "[" + std::to_string(k) + "]");
  });
  return prepared;
}

double scale_of(std::span<const Diagrams> sets) {
  std::vector<std::span<const double>> all;
  for (const Diagrams& set : sets)
    for (int64_t k = 0; k < set.count(); ++k) all.push_back(set.diagram(k));
  return common_scale(all);
}

WassersteinOptions for_one_thread(WassersteinOptions options) {
  options.memory /= num_threads();
  return options;
}

template <class Body>
void for_each_pair(int64_t pairs, int64_t at_once, const Body& body) {
  parallel_for((pairs + at_once - 1) / at_once, [&](int64_t block) {
    PairSolver solver;
    for (int64_t p = block * at_once; p < std::min(pairs, (block + 1) * at_once); ++p) body(p, solver);
  });
}

// Pair p of the pairs (0, 1), (0, 2), (1, 2), (0, 3), ...
std::pair<int64_t, int64_t> pair_at(int64_t p) {
  auto j = static_cast<int64_t>((1 + std::sqrt(1 + 8 * static_cast<double>(p))) / 2);
  while (j * (j - 1) / 2 > p) --j;
  while (j * (j + 1) / 2 <= p) ++j;
  return {p - j * (j - 1) / 2, j};
}

}  // namespace

void wasserstein_matrix(const Diagrams& diagrams, const Diagrams& others, const WassersteinOptions& options,
                        bool drop_endless, std::span<double> distances) {
  const double scale = scale_of(std::array{diagrams, others});
  const std::vector<Bars> a = prepare_all(diagrams, scale, drop_endless, "diagrams");
  const std::vector<Bars> b = prepare_all(others, scale, drop_endless, "others");
  const WassersteinOptions own = for_one_thread(options);
  for_each_pair(diagrams.count() * others.count(), pairs_at_once(diagrams), [&](int64_t p, PairSolver& solver) {
    distances[p] = solver.distance(a[p / others.count()], b[p % others.count()], own) / scale;
  });
}

void wasserstein_matrix(const Diagrams& diagrams, const WassersteinOptions& options, bool drop_endless,
                        std::span<double> distances) {
  const double scale = scale_of({&diagrams, 1});
  const std::vector<Bars> bars = prepare_all(diagrams, scale, drop_endless, "diagrams");
  const WassersteinOptions own = for_one_thread(options);
  const int64_t count = diagrams.count();
  for (int64_t k = 0; k < count; ++k) distances[k * count + k] = 0;
  for_each_pair(count * (count - 1) / 2, pairs_at_once(diagrams), [&](int64_t p, PairSolver& solver) {
    const auto [i, j] = pair_at(p);
    const double distance = solver.distance(bars[i], bars[j], own) / scale;
    distances[i * count + j] = distances[j * count + i] = distance;
  });
}

double pack_bars(std::span<const Diagrams> sets, bool drop_endless, std::span<PackedBars> packed) {
  constexpr const char* names[] = {"diagrams", "others"};
  const double scale = scale_of(sets);
  for (size_t s = 0; s < sets.size(); ++s) {
    PackedBars& to = packed[s];
    to.first.assign(1, 0);
    to.endless_first.assign(1, 0);
    for (const Bars& bars : prepare_all(sets[s], scale, drop_endless, names[s])) {
      to.birth.insert(to.birth.end(), bars.birth.begin(), bars.birth.end());
      to.death.insert(to.death.end(), bars.death.begin(), bars.death.end());
      to.first.push_back(static_cast<int64_t>(to.birth.size()));
      to.one_birth.push_back(bars.one_birth);
      for (const EndlessBars& kind : bars.endless) {
        to.endless.insert(to.endless.end(), kind.at.begin(), kind.at.end());
        to.endless_first.push_back(static_cast<int64_t>(to.endless.size()));
      }
    }
  }
  return scale;
}

}  // namespace mk::topology
