#include "attention/knn_memory.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "attention/rows.h"
#include "attention/tiles.h"
#include "common/parallel.h"

namespace mk::attention {

namespace {

constexpr int64_t kQueries = 64;  // of a block: a tile has a bit for each

// The best k entries of each query of a block, as they come by in ascending order. Candidates are collected and thinned
// out from time to time, which costs less than to keep them in order.
template <class T>
class Best {
 public:
  Best(int64_t k, int64_t count, int64_t width)
      : k_(k),
        room_(std::max<int64_t>(3 * k, 64)),
        scores_(static_cast<size_t>(count * room_)),
        entries_(scores_.size()),
        counts_(static_cast<size_t>(count)),
        limits_(static_cast<size_t>(width), std::numeric_limits<T>::max()) {
    std::fill_n(limits_.begin(), count, std::numeric_limits<T>::lowest());
  }

  // At or below its limit a score cannot be among the best.
  const T* limits() const { return limits_.data(); }

  [[gnu::always_inline]] inline void offer(int64_t query, T score, int32_t entry) {
    // Written in any case, so that nothing has to be guessed about the score.
    const int64_t count = counts_[query], at = query * room_ + count;
    scores_[at] = score;
    entries_[at] = entry;
    counts_[query] = count + (score > limits_[query]);
    if (counts_[query] == room_) [[unlikely]]
      thin_out(query);
  }

  // Leaves the best k of a query, by entry, and returns their scores.
  std::span<const T> finish(int64_t query, int32_t* entries) {
    if (counts_[query] > k_) choose(query);
    const std::span<T> scores(scores_.data() + query * room_, static_cast<size_t>(k_));
    std::copy_n(entries_.begin() + query * room_, k_, entries);
    return scores;
  }

 private:
  // Keeps the scores from some value on that leaves k or little more; no later one below it can be among the best.
  void thin_out(int64_t query) {
    const T* const scores = scores_.data() + query * room_;
    T low = *std::min_element(scores, scores + room_), high = *std::max_element(scores, scores + room_);
    for (int step = 0; step < kSteps; ++step) {
      const T middle = low + (high - low) / 2;
      int32_t above = 0;
      for (int64_t i = 0; i < room_; ++i) above += scores[i] >= middle;
      if (above < k_) {
        high = middle;
      } else if (above > k_ + k_ / 4) {
        low = middle;
      } else {
        keep(query, middle);
        return;
      }
    }
    choose(query);
  }

  // Those from `least` on, still in ascending order.
  void keep(int64_t query, T least) {
    T* const scores = scores_.data() + query * room_;
    int32_t* const entries = entries_.data() + query * room_;
    int64_t kept = 0;
    for (int64_t i = 0; i < counts_[query]; ++i) {
      const T score = scores[i];
      entries[kept] = entries[i];
      scores[kept] = score;
      kept += score >= least;
    }
    counts_[query] = kept;
    limits_[query] = least;
  }

  // Exactly the best k.
  void choose(int64_t query) {
    T* const scores = scores_.data() + query * room_;
    int32_t* const entries = entries_.data() + query * room_;
    std::vector<T> order(scores, scores + counts_[query]);
    std::nth_element(order.begin(), order.begin() + (k_ - 1), order.end(), std::greater<>());
    const T least = order[k_ - 1];
    int64_t equal = k_ - std::count_if(scores, scores + counts_[query], [&](T score) { return score > least; });
    int64_t kept = 0;
    for (int64_t i = 0; i < counts_[query]; ++i) {
      if (scores[i] < least || (scores[i] == least && equal-- <= 0)) continue;
      scores[kept] = scores[i];
      entries[kept++] = entries[i];
    }
    counts_[query] = kept;
    limits_[query] = least;
  }

  static constexpr int kSteps =
      12;  // halvings; where scores are so uneven or equal that they do not do, all are ordered
  int64_t k_, room_;
  std::vector<T> scores_;
  std::vector<int32_t> entries_;
  std::vector<int64_t> counts_;
  std::vector<T> limits_;
};

// Turns the scores of one query's entries into their softmax, and adds up their values.
template <class T>
void attend(std::span<const T> scores, const int32_t* entries, const T* values, int64_t dims, T scale, T* weights,
            T* row) {
  const T top = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (size_t j = 0; j < scores.size(); ++j) {
    weights[j] = std::exp(scale * (scores[j] - top));
    total += weights[j];
  }
  std::fill_n(row, dims, T(0));
  for (size_t j = 0; j < scores.size(); ++j) {
    const T weight = weights[j] = static_cast<T>(weights[j] / total);
    const T* const value = values + entries[j] * dims;
    for (int64_t e = 0; e < dims; ++e) row[e] += weight * value[e];
  }
}

// One block of queries of one head.
template <class T>
void search(const KnnMemory<T>& input, int64_t head, int64_t begin, int64_t count, const KnnMemoryResult<T>& result) {
  const TileKernels<T>& kernels = tile_kernels<T>();
  const int64_t width = padded<T>(count), first = head * input.count + begin;
  std::vector<T> queries(static_cast<size_t>(input.dims * width)), scores(static_cast<size_t>(kTile * width));
  for (int64_t i = 0; i < count; ++i)
    for (int64_t d = 0; d < input.dims; ++d) queries[d * width + i] = input.queries[(first + i) * input.dims + d];
  Best<T> best(input.k, count, width);
  TileReader<T> keys(input.keys.data() + head * input.entries * input.dims, input.dims, input.dims);
  uint64_t hits[kTile];
  for (int64_t entry = 0; entry < input.entries; entry += kTile) {
    const int64_t there = std::min(kTile, input.entries - entry);
    kernels.multiply({kTile, width, input.dims, keys.read(entry, there), keys.stride(), 1, queries.data(), width,
                      scores.data(), width});
    kernels.above(scores.data(), there, width, best.limits(), hits);
    for (int64_t i = 0; i < there; ++i)
      for (uint64_t bits = hits[i]; bits != 0; bits &= bits - 1) {
        const int64_t query = std::countr_zero(bits);
        best.offer(query, scores[i * width + query], static_cast<int32_t>(entry + i));
      }
  }
  const T* const values = input.values.data() + head * input.entries * input.value_dims;
  for (int64_t i = 0; i < count; ++i) {
    int32_t* const entries = result.entries.data() + (first + i) * input.k;
    attend(best.finish(i, entries), entries, values, input.value_dims, static_cast<T>(input.scale),
           result.weights.data() + (first + i) * input.k, result.rows.data() + (first + i) * input.value_dims);
  }
}

}  // namespace

template <class T>
void knn_memory(const KnnMemory<T>& input, const KnnMemoryResult<T>& result) {
  check_scores(input.queries, input.keys, "keys", input.dims, input.scale);
  check_summands(input.values, "values");
  if (input.heads == 0 || input.count == 0) return;
  const int64_t blocks = (input.count + kQueries - 1) / kQueries;
  parallel_for(input.heads * blocks, [&](int64_t item) {
    const int64_t begin = item % blocks * kQueries;
    search(input, item / blocks, begin, std::min(kQueries, input.count - begin), result);
  });
}

template <class T>
void differentiate_knn_memory(const KnnMemory<T>& input, std::span<const T> grad_rows, std::span<const int32_t> entries,
                              std::span<const T> weights, std::span<T> grad_queries) {
  parallel_blocks(input.heads * input.count, [&](int64_t begin, int64_t end) {
    std::vector<T> slopes(static_cast<size_t>(input.k));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t memory = i / input.count * input.entries;
      const int32_t* const own = entries.data() + i * input.k;
      const T* const weight = weights.data() + i * input.k;
      const T* const grad = grad_rows.data() + i * input.value_dims;
      T mean = 0;
      for (int64_t j = 0; j < input.k; ++j) {
        const T* const value = input.values.data() + (memory + own[j]) * input.value_dims;
        T product = 0;
        for (int64_t e = 0; e < input.value_dims; ++e) product += grad[e] * value[e];
        slopes[j] = product;
        mean += weight[j] * product;
      }
      T* const to = grad_queries.data() + i * input.dims;
      std::fill_n(to, input.dims, T(0));
      for (int64_t j = 0; j < input.k; ++j) {
        const T slope = static_cast<T>(input.scale) * weight[j] * (slopes[j] - mean);
        const T* const key = input.keys.data() + (memory + own[j]) * input.dims;
        for (int64_t d = 0; d < input.dims; ++d) to[d] += slope * key[d];
      }
    }
  });
}

template void knn_memory(const KnnMemory<float>&, const KnnMemoryResult<float>&);
template void knn_memory(const KnnMemory<double>&, const KnnMemoryResult<double>&);
template void differentiate_knn_memory(const KnnMemory<float>&, std::span<const float>, std::span<const int32_t>,
                                       std::span<const float>, std::span<float>);
template void differentiate_knn_memory(const KnnMemory<double>&, std::span<const double>, std::span<const int32_t>,
                                       std::span<const double>, std::span<double>);

}  // namespace mk::attention
