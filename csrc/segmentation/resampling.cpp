#include "segmentation/resampling.h"

#include <algorithm>

namespace mk::segmentation {

template <class T>
Axis<T>::Axis(int64_t from_size, int64_t to_size) : from(from_size), to(to_size) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  low.reserve(static_cast<size_t>(to));
  high.reserve(static_cast<size_t>(to));
  first.assign(static_cast<size_t>(from + 1), to);
  int64_t begun = 0;  // gaps whose first output is known
  for (int64_t i = 0; i < to; ++i) {
    const double place = std::max(0.0, scale * (static_cast<double>(i) + 0.5) - 0.5);
    const int64_t k = std::min(static_cast<int64_t>(place), from - 1);
    const double weight = k + 1 < from ? place - static_cast<double>(k) : 0.0;
    low.push_back(static_cast<T>(1.0 - weight));
    high.push_back(static_cast<T>(weight));
    while (begun <= k) first[begun++] = i;
  }
}

template <class T>
Slots<T>::Slots(const Axis<T>& axis) : inputs(axis.from), outputs(axis.to) {
  width = (inputs + kChunk<T> - 1) / kChunk<T> * kChunk<T>;
  stride = width + kChunk<T>;
  std::vector<int64_t> filled(static_cast<size_t>(inputs)), lanes(static_cast<size_t>(outputs)), phase_of(lanes.size());
  const int64_t last = inputs - 1;
  int64_t before_first = 0;
  while (last > 0 && before_first < axis.first[1] && axis.high[before_first] == T(0)) ++before_first;
  phases = 1;
  for (int64_t k = 0; k < inputs; ++k)
    for (int64_t i = std::max(axis.first[k], before_first); i < axis.first[k + 1]; ++i) {
      lanes[i] = k;
      phase_of[i] = k == last ? 0 : filled[k];
      filled[k] = phase_of[i] + 1;
      phases = std::max(phases, filled[k]);
    }
  const bool in_first = filled[0] < phases;
  const int64_t lane_before = in_first ? 0 : last, phase_before = filled[lane_before];
  if (before_first > 0) phases = std::max(phases, phase_before + 1);
  for (int64_t i = 0; i < before_first; ++i) {
    lanes[i] = lane_before;
    phase_of[i] = phase_before;
  }

  const auto size = static_cast<size_t>(phases * width);
  low.assign(size, T(0));
  high.assign(size, T(0));
  shares.assign(size, T(0));
  for (int64_t i = 0; i < outputs; ++i) {
    const bool wrapped = i < before_first && !in_first;
    places.push_back(phase_of[i] * width + lanes[i]);
    low[places[i]] = wrapped ? T(0) : axis.low[i];
    high[places[i]] = wrapped ? T(1) : axis.high[i];
    shares[places[i]] += 1;
  }

  std::vector<std::vector<Output<T>>> lists(static_cast<size_t>((phases + kPhases - 1) / kPhases * chunks()));
  for (int64_t i = 0; i < outputs; ++i) {
    const int64_t block = lanes[i] / kChunk<T> * ((phases + kPhases - 1) / kPhases) + phase_of[i] / kPhases;
    const int64_t slot = phase_of[i] % kPhases * kChunk<T> + lanes[i] % kChunk<T>;
    lists[block].push_back({i, lanes[i], slot, low[places[i]], high[places[i]]});
  }
  block_starts.push_back(0);
  for (const auto& list : lists) {
    by_block.insert(by_block.end(), list.begin(), list.end());
    block_starts.push_back(std::ssize(by_block));
  }
}

template struct Axis<float>;
template struct Axis<double>;
template struct Slots<float>;
template struct Slots<double>;

}  // namespace mk::segmentation
