// Scores of all pairs are made tile by tile and never stored: each query keeps the few best. Scores of numbers are
// rounded, so the two nearest are then found among those few from distances in double precision, and where rounding
// may have kept a nearer target out of the few, among all targets.
#include "features/match.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "common/parallel.h"
#include "features/score_tiles.h"

namespace mk::features {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Queries that go over the targets together: their panels stay in the second-level cache. With few queries the targets
// are shared out too, in parts of this many.
constexpr int64_t kQueriesOfTask = 120, kTargetsOfTask = 8192, kFewTasks = 32;

// Sums of eight lanes, whatever the compiler makes of them: the order of additions is always the same.
template <class T>
double squared_distance(std::span<const T> a, std::span<const T> b) {
  constexpr size_t lanes = 8;
  double sums[lanes] = {};
  const size_t whole = a.size() / lanes * lanes;
  for (size_t k = 0; k < whole; k += lanes) {
    for (size_t i = 0; i < lanes; ++i) {
      const double gap = static_cast<double>(a[k + i]) - static_cast<double>(b[k + i]);
      sums[i] += gap * gap;
    }
  }
  for (size_t k = whole; k < a.size(); ++k) {
    const double gap = static_cast<double>(a[k]) - static_cast<double>(b[k]);
    sums[k - whole] += gap * gap;
  }
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// Targets by distance, then index.
void add_target(TwoNearest& found, int32_t index, double squared) {
  const auto before = [&](int32_t other, double other_squared) {
    return other < 0 || squared < other_squared || (squared == other_squared && index < other);
  };
  if (before(found.first, found.first_squared)) {
    found.second = found.first;
    found.second_squared = found.first_squared;
    found.first = index;
    found.first_squared = squared;
  } else if (before(found.second, found.second_squared)) {
    found.second = index;
    found.second_squared = squared;
  }
}

constexpr TwoNearest kNothing{-1, -1, kInfinity, kInfinity};

// Rows in panels: element k of row r of a panel lies at (k / group * rows + r) * group + k % group. Rows and elements
// that are missing are zero.
template <class Element>
struct Panels {
  int64_t rows, group, groups;
  std::vector<Element> elements;

  template <class T, class Convert>
  Panels(const Rows<T>& from, int64_t panel_rows, int64_t group_size, const Convert& convert)
      : rows(panel_rows),
        group(group_size),
        groups((from.length + group - 1) / group),
        elements(count_of(from.count) * panel_size()) {
    parallel_for(count_of(from.count), [&](int64_t p) {
      Element* panel = elements.data() + p * panel_size();
      for (int64_t r = 0; r < std::min(rows, from.count - p * rows); ++r) {
        const T* row = from.values.data() + (p * rows + r) * from.length;
        for (int64_t k = 0; k < from.length; ++k) panel[(k / group * rows + r) * group + k % group] = convert(row[k]);
      }
    });
  }

  int64_t count_of(int64_t all_rows) const { return (all_rows + rows - 1) / rows; }
  int64_t panel_size() const { return rows * group * groups; }
  const Element* panel(int64_t p) const { return elements.data() + p * panel_size(); }
};

// The best of each query. `biases` has an entry for each row of the panels of targets.
template <class Kernel>
std::vector<Best<typename Kernel::Score>> best_of_all(const Kernel& kernel,
                                                      const Panels<typename Kernel::QueryElement>& queries,
                                                      const Panels<typename Kernel::TargetElement>& targets,
                                                      const std::vector<typename Kernel::Score>& biases,
                                                      int64_t query_count) {
  using Score = typename Kernel::Score;
  const int64_t query_panels = queries.count_of(query_count);
  const int64_t target_panels = static_cast<int64_t>(biases.size()) / targets.rows;
  const int64_t panels_of_task = std::max<int64_t>(1, kQueriesOfTask / queries.rows);
  const int64_t tasks = (query_panels + panels_of_task - 1) / panels_of_task;
  const int64_t panels_of_part =
      tasks < kFewTasks ? std::min(target_panels, kTargetsOfTask / targets.rows) : target_panels;
  const int64_t parts = (target_panels + panels_of_part - 1) / panels_of_part;
  const int64_t padded = query_panels * queries.rows;

  std::vector<Best<Score>> best(padded * parts);
  parallel_for(tasks * parts, [&](int64_t item) {
    const int64_t task = item % tasks, part = item / tasks;
    const int64_t last_query = std::min(query_panels, (task + 1) * panels_of_task);
    const int64_t last_target = std::min(target_panels, (part + 1) * panels_of_part);
    for (int64_t t = part * panels_of_part; t < last_target; ++t) {
      const int64_t first = t * targets.rows;
      for (int64_t q = task * panels_of_task; q < last_query; ++q)
        kernel.tile(queries.panel(q), targets.panel(t), biases.data() + first, queries.groups,
                    static_cast<int32_t>(first), best.data() + part * padded + q * queries.rows);
      check_interrupt();
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t q = 0; q < query_count; ++q) {
      const Best<Score>& later = best[part * padded + q];
      for (int i = 0; i < kKept && later.scores[i] > best[q].scores[kKept - 1]; ++i)
        best[q].insert(later.scores[i], later.indices[i]);
    }
  }
  best.resize(query_count);
  return best;
}

template <class Kernel>
std::vector<TwoNearest> nearest_of_bytes(const Kernel& kernel, const Rows<uint8_t>& queries,
                                         const Rows<uint8_t>& targets) {
  using Query = typename Kernel::QueryElement;
  using Target = typename Kernel::TargetElement;
  constexpr int shift = sizeof(Target) == 1 ? 128 : 0;
  const Panels<Query> query_panels(queries, kernel.queries, kernel.group,
                                   [](uint8_t value) { return static_cast<Query>(value); });
  const Panels<Target> target_panels(targets, kernel.targets, kernel.group,
                                     [](uint8_t value) { return static_cast<Target>(value - shift); });
  std::vector<int32_t> biases(target_panels.count_of(targets.count) * kernel.targets, Best<int32_t>::none);
  parallel_blocks(targets.count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int32_t sum = 0;
      for (const uint8_t value : targets.row(i)) sum += value * value;
      biases[i] = -sum;
    }
  });
  const auto best = best_of_all(kernel, query_panels, target_panels, biases, queries.count);
  std::vector<TwoNearest> found(queries.count, kNothing);
  parallel_blocks(queries.count, [&](int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q) {
      for (int i = 0; i < 2 && best[q].indices[i] >= 0; ++i) {
        const int32_t t = best[q].indices[i];
        add_target(found[q], t, squared_distance(queries.row(q), targets.row(t)));
      }
    }
  });
  return found;
}

template <class T>
double greatest_size(const Rows<T>& rows) {
  constexpr int64_t block = 1 << 15;
  const int64_t size = static_cast<int64_t>(rows.values.size()), blocks = (size + block - 1) / block;
  std::vector<T> tops(blocks);
  parallel_for(blocks, [&](int64_t b) {
    T top = 0;
    for (int64_t i = b * block; i < std::min(size, (b + 1) * block); ++i)
      top = std::max<T>(top,
                        std::abs(static_cast<std::conditional_t<std::is_same_v<T, uint8_t>, int, T>>(rows.values[i])));
    tops[b] = top;
  });
  return tops.empty() ? 0.0 : static_cast<double>(*std::max_element(tops.begin(), tops.end()));
}

template <class T>
std::vector<double> squared_norms(const Rows<T>& rows, double scale) {
  std::vector<double> norms(rows.count);
  parallel_blocks(rows.count, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double sum = 0;
      for (const T value : rows.row(i)) sum += (value * scale) * (value * scale);
      norms[i] = sum;
    }
  });
  return norms;
}

// How far a score can be off, as a share of |a||b| + |b|^2 / 2, and in itself through underflow: the usual bound of a
// chain of n roundings (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1), where rows, bias
// and the chain itself are rounded. Infinite for rows so long that there is no bound.
struct ScoreError {
  double share, absolute;
  explicit ScoreError(int64_t length) {
    const double roundings = static_cast<double>(length + 8) * 0x1p-24;
    share = roundings < 0.5 ? roundings / (1 - roundings) : kInfinity;
    absolute = static_cast<double>(length + 8) * 0x1p-126;
  }
};

template <class T>
std::vector<TwoNearest> nearest_of_numbers(const Rows<T>& queries, const Rows<T>& targets) {
  // By a power of two, which changes no digit, all numbers come below 1: products cannot overflow. The power for the
  // smallest doubles would be infinite; they stay smaller.
  constexpr int greatest_power = 1000;
  const double greatest = std::max(greatest_size(queries), greatest_size(targets));
  int exponent = 0;
  std::frexp(greatest, &exponent);
  const double scale = std::ldexp(1.0, std::min(-exponent, greatest_power));
  const NumberKernel& kernel = number_kernel();
  const auto scaled = [scale](T value) { return static_cast<float>(value * scale); };
  const Panels<float> query_panels(queries, kernel.queries, kernel.group, scaled);
  const Panels<float> target_panels(targets, kernel.targets, kernel.group, scaled);
  const std::vector<double> query_norms = squared_norms(queries, scale), target_norms = squared_norms(targets, scale);
  std::vector<float> biases(target_panels.count_of(targets.count) * kernel.targets, Best<float>::none);
  std::transform(target_norms.begin(), target_norms.end(), biases.begin(),
                 [](double norm) { return static_cast<float>(-norm / 2); });
  const double longest = *std::max_element(target_norms.begin(), target_norms.end());

  const auto best = best_of_all(kernel, query_panels, target_panels, biases, queries.count);
  const ScoreError error(queries.length);
  std::vector<TwoNearest> found(queries.count, kNothing);
  parallel_for((queries.count + 31) / 32, [&](int64_t block) {
    for (int64_t q = block * 32; q < std::min(queries.count, (block + 1) * 32); ++q) {
      const std::span<const T> query = queries.row(q);
      const double off = error.share * (std::sqrt(query_norms[q] * longest) + longest / 2) + error.absolute;
      const double enough = best[q].scores[1] - 2 * off;  // whatever scores less is not among the two nearest
      const bool none_missed = best[q].indices[kKept - 1] < 0 || best[q].scores[kKept - 1] < enough;
      if (none_missed) {
        for (int i = 0; i < kKept && best[q].indices[i] >= 0; ++i) {
          const int32_t t = best[q].indices[i];
          if (!(best[q].scores[i] < enough)) add_target(found[q], t, squared_distance(query, targets.row(t)));
        }
      } else {
        for (int64_t t = 0; t < targets.count; ++t)
          add_target(found[q], static_cast<int32_t>(t), squared_distance(query, targets.row(t)));
        check_interrupt();
      }
    }
  });
  return found;
}

}  // namespace

template <class T>
std::vector<TwoNearest> two_nearest(const Rows<T>& queries, const Rows<T>& targets) {
  if (queries.count == 0 || targets.count == 0) return std::vector<TwoNearest>(queries.count, kNothing);
  if constexpr (std::is_same_v<T, uint8_t>) {
    if (queries.length <= kLongestBytes) {
      if (const ByteKernel* kernel = byte_kernel()) return nearest_of_bytes(*kernel, queries, targets);
      return nearest_of_bytes(word_kernel(), queries, targets);
    }
  }
  return nearest_of_numbers(queries, targets);
}

template <class T>
std::vector<Match> match(const Rows<T>& queries, const Rows<T>& targets, double ratio, bool mutual) {
  const std::vector<TwoNearest> nearest = two_nearest(queries, targets);
  std::vector<Match> matches;
  for (int64_t q = 0; q < queries.count; ++q) {
    const TwoNearest& n = nearest[q];
    const bool alike = n.first_squared == n.second_squared;
    if (n.first >= 0 && (alike ? ratio >= 1 : n.first_squared <= ratio * ratio * n.second_squared))
      matches.push_back({q, n.first, n.first_squared});
  }
  if (!mutual || matches.empty()) return matches;

  // Only the targets that were matched look back.
  std::vector<int64_t> places(targets.count, -1);
  std::vector<T> matched;
  int64_t count = 0;
  for (const Match& m : matches) {
    if (places[m.target] >= 0) continue;
    places[m.target] = count++;
    const std::span<const T> row = targets.row(m.target);
    matched.insert(matched.end(), row.begin(), row.end());
  }
  const std::vector<TwoNearest> back = two_nearest(Rows<T>{matched, count, targets.length}, queries);
  std::erase_if(matches, [&](const Match& m) { return back[places[m.target]].first != m.query; });
  return matches;
}

template std::vector<TwoNearest> two_nearest<float>(const Rows<float>&, const Rows<float>&);
template std::vector<TwoNearest> two_nearest<double>(const Rows<double>&, const Rows<double>&);
template std::vector<TwoNearest> two_nearest<uint8_t>(const Rows<uint8_t>&, const Rows<uint8_t>&);
template std::vector<Match> match<float>(const Rows<float>&, const Rows<float>&, double, bool);
template std::vector<Match> match<double>(const Rows<double>&, const Rows<double>&, double, bool);
template std::vector<Match> match<uint8_t>(const Rows<uint8_t>&, const Rows<uint8_t>&, double, bool);

}  // namespace mk::features
