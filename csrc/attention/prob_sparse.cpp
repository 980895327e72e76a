#include "attention/prob_sparse.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "attention/rows.h"
#include "attention/sampled_scores.h"
#include "attention/tiles.h"
#include "common/parallel.h"

namespace mk::attention {

namespace {

// Runs of keys, each of them one item of work; their sums are added up in their order. No shorter than there are active
// queries, so that the sums take no more memory than the arrays.
struct Runs {
  static constexpr int64_t least = 1024;
  int64_t size, count;

  template <class T>
  explicit Runs(const ProbSparse<T>& input)
      : size((std::max(least, input.active) + kTile - 1) / kTile * kTile), count((input.length + size - 1) / size) {}
};

// Adds rows of `dims` elements to a sum.
template <class T>
void add_rows(const T* rows, int64_t count, int64_t stride, int64_t dims, double* sum) {
  simd::with_widest([=]() __attribute__((always_inline)) {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t d = 0; d < dims; ++d) sum[d] += rows[i * stride + d];
  });
}

// Copies the first of `count` rows to all others, in pieces that grow: one row is too short to be copied fast.
template <class T>
void repeat_row(T* rows, int64_t count, int64_t dims) {
  constexpr int64_t most = 32;
  for (int64_t there = 1; there < count;) {
    const int64_t more = std::min({there, most, count - there});
    std::copy_n(rows, more * dims, rows + there * dims);
    there += more;
  }
}

// The active queries of one head, at the places of their columns in a tile, as the products want them.
template <class T>
struct ActiveRows {
  int64_t count, width;
  std::vector<T> by_row, by_column;  // [width, padded dims], [dims, width]

  ActiveRows(const T* rows, int64_t dims, std::span<const int32_t> active, T factor)
      : count(std::ssize(active)), width(padded<T>(count)) {
    const int64_t stride = padded<T>(dims);
    by_row.assign(static_cast<size_t>(width * stride), T(0));
    by_column.assign(static_cast<size_t>(dims * width), T(0));
    for (int64_t i = 0; i < count; ++i)
      for (int64_t d = 0; d < dims; ++d)
        by_row[i * stride + d] = by_column[d * width + i] = factor * rows[active[i] * dims + d];
  }
};

// A number that at least `count` proxies reach: in place `count` of the greatest proxies of groups.
template <class T>
T limit_of_greatest(const T* proxies, int64_t length, int64_t count) {
  constexpr int64_t groups_each = 4;
  const int64_t groups = groups_each * count;
  if (groups >= length) return std::numeric_limits<T>::lowest();
  std::vector<T> tops(proxies, proxies + groups);
  simd::with_widest([&tops, proxies, length, groups]() __attribute__((always_inline)) {
    T* const top = tops.data();
    for (int64_t first = groups; first < length; first += groups)
      for (int64_t i = 0; i < std::min(groups, length - first); ++i)
        top[i] = proxies[first + i] > top[i] ? proxies[first + i] : top[i];
  });
  const auto last = tops.begin() + count - 1;
  std::nth_element(tops.begin(), last, tops.end(), std::greater<>());
  return *last;
}

// Indices of the `active` greatest of the proxies, ascending.
template <class T>
void select(const T* proxies, int64_t length, std::span<int32_t> active) {
  if (active.empty()) return;
  const T limit = limit_of_greatest(proxies, length, std::ssize(active));
  std::vector<int32_t> order;
  for (int64_t i = 0; i < length; ++i)
    if (proxies[i] >= limit) order.push_back(static_cast<int32_t>(i));
  const auto stands_out = [&](int32_t a, int32_t b) {
    return proxies[a] > proxies[b] || (proxies[a] == proxies[b] && a < b);
  };
  const auto end = order.begin() + std::ssize(active);
  if (end != order.end()) std::nth_element(order.begin(), end, order.end(), stands_out);
  std::copy(order.begin(), end, active.begin());
  std::sort(active.begin(), active.end());
}

template <class T>
void select_all(const ProbSparse<T>& input, std::span<int32_t> active) {
  if (input.active == input.length || input.samples == 0) {  // all queries, or the first of equals
    for (int64_t i = 0; i < std::ssize(active); ++i) active[i] = static_cast<int32_t>(i % input.active);
    return;
  }
  constexpr int64_t block = 256;
  const int64_t blocks = (input.length + block - 1) / block;
  const PaddedRows<T> queries(input.queries, input.dims), keys(input.keys, input.dims);
  std::vector<T> proxies(static_cast<size_t>(input.heads * input.length));
  const auto divisor = static_cast<T>(input.sample_mean ? input.samples : input.length);
  const SampledScores<T> score = sampled_scores<T>();
  parallel_for(input.heads * blocks, [&](int64_t item) {
    const int64_t first = item / blocks * input.length, begin = item % blocks * block;
    const Sampling<T> sampling{queries.row(first), keys.row(first), keys.stride(), input.length,
                               input.samples,      input.seed,      divisor};
    score(sampling, begin, std::min(input.length, begin + block), proxies.data() + first);
  });
  parallel_for(input.heads, [&](int64_t head) {
    select(proxies.data() + head * input.length, input.length, active.subspan(head * input.active, input.active));
  });
}

// What one run of keys adds to a head: softmax-weighted sums of the active rows, and the sum of the values.
template <class T>
struct RunSums {
  std::vector<T> top, total, weighted;               // [width], [width], [width, padded value_dims]
  std::vector<double> values;                        // [value_dims]
  typename simd::Format<T>::Int greatest_value = 0;  // in bits, see greatest_bits
};

template <class T>
RunSums<T> attend(const ProbSparse<T>& input, const ActiveRows<T>& queries, int64_t head, int64_t begin, int64_t end) {
  const TileKernels<T>& kernels = tile_kernels<T>();
  const int64_t width = queries.width, first = head * input.length;
  TileReader<T> keys(input.keys.data() + first * input.dims, input.dims, padded<T>(input.dims));
  TileReader<T> values(input.values.data() + first * input.value_dims, input.value_dims, padded<T>(input.value_dims));
  RunSums<T> sums;
  sums.top.assign(static_cast<size_t>(width), std::numeric_limits<T>::lowest());
  sums.total.assign(static_cast<size_t>(width), T(0));
  sums.weighted.assign(static_cast<size_t>(width * values.stride()), T(0));
  sums.values.assign(static_cast<size_t>(input.value_dims), 0.0);
  std::vector<T> factor(static_cast<size_t>(width)), scores(static_cast<size_t>(kTile * width));
  for (int64_t key = begin; key < end; key += kTile) {
    const int64_t count = std::min(kTile, end - key);
    const T* const value_tile = values.read(key, count);
    keys.fetch(key + kTile, end);
    values.fetch(key + kTile, end);
    sums.greatest_value = std::max(sums.greatest_value, greatest_bits(value_tile, count * values.stride()));
    add_rows(value_tile, count, values.stride(), input.value_dims, sums.values.data());
    if (width == 0) continue;
    kernels.multiply({kTile, width, input.dims, keys.read(key, count), keys.stride(), 1, queries.by_column.data(),
                      width, scores.data(), width});
    if (kernels.soften(scores.data(), count, {width, sums.top.data(), sums.total.data(), factor.data()}))
      for (int64_t i = 0; i < width; ++i)
        for (int64_t e = 0; e < values.stride(); ++e) sums.weighted[i * values.stride() + e] *= factor[i];
    kernels.multiply_add({width, values.stride(), count, scores.data(), 1, width, value_tile, values.stride(),
                          sums.weighted.data(), values.stride()});
  }
  return sums;
}

// Throws if values are not finite, or so large that their sums could overflow.
template <class T>
void check_run_values(const ProbSparse<T>& input, std::span<const RunSums<T>> sums) {
  typename simd::Format<T>::Int greatest = 0;
  for (const RunSums<T>& part : sums) greatest = std::max(greatest, part.greatest_value);
  const auto size = static_cast<double>(std::bit_cast<T>(greatest));
  if (!std::isfinite(size)) check_finite(input.values, "v");
  check_summand_size<T>(size, "v");
}

// Joins the runs of one head, in their order, in its rows from `begin` to `end`.
template <class T>
void join(const ProbSparse<T>& input, std::span<const RunSums<T>> parts, int64_t head, int64_t begin, int64_t end,
          const ProbSparseResult<T>& result) {
  const int64_t stride = padded<T>(input.value_dims), dims = input.value_dims;
  T* const rows = result.rows.data() + head * input.length * dims;
  std::vector<double> sum(static_cast<size_t>(dims));
  for (const RunSums<T>& part : parts)
    for (int64_t e = 0; e < dims; ++e) sum[e] += part.values[e] / static_cast<double>(input.length);
  std::copy(sum.begin(), sum.end(), rows + begin * dims);
  repeat_row(rows + begin * dims, end - begin, dims);
  const auto own = result.active.subspan(head * input.active, input.active);
  for (int64_t i = std::lower_bound(own.begin(), own.end(), begin) - own.begin(); i < input.active && own[i] < end;
       ++i) {
    double top = std::numeric_limits<double>::lowest(), total = 0;
    for (const RunSums<T>& part : parts) top = std::max(top, static_cast<double>(part.top[i]));
    std::fill(sum.begin(), sum.end(), 0.0);
    for (const RunSums<T>& part : parts) {
      const double factor = std::exp(part.top[i] - top);
      total += factor * part.total[i];
      for (int64_t e = 0; e < dims; ++e) sum[e] += factor * part.weighted[i * stride + e];
    }
    T* const row = rows + own[i] * dims;
    for (int64_t e = 0; e < dims; ++e) row[e] = static_cast<T>(sum[e] / total);
    result.levels[head * input.active + i] = static_cast<T>(top + std::log(total));
  }
}

// The mean over the length of the gradients of rows that are not active, one a head.
template <class T>
std::vector<double> inactive_means(const ProbSparse<T>& input, std::span<const T> grad_rows,
                                   std::span<const int32_t> active) {
  const Runs runs(input);
  const int64_t parts = runs.count, dims = input.value_dims;
  std::vector<double> sums(static_cast<size_t>(input.heads * parts * dims)),
      means(static_cast<size_t>(input.heads * dims));
  parallel_for(input.heads * parts, [&](int64_t item) {
    const int64_t head = item / parts, begin = item % parts * runs.size,
                  end = std::min(input.length, begin + runs.size);
    const auto own = active.subspan(head * input.active, input.active);
    const auto add = [&](int64_t from, int64_t to) {
      add_rows(grad_rows.data() + (head * input.length + from) * dims, to - from, dims, dims,
               sums.data() + item * dims);
    };
    int64_t from = begin;
    for (auto next = std::lower_bound(own.begin(), own.end(), begin); next != own.end() && *next < end; ++next) {
      add(from, *next);
      from = *next + 1;
    }
    add(from, end);
  });
  for (int64_t item = 0; item < input.heads * parts; ++item)
    for (int64_t e = 0; e < dims; ++e)
      means[item / parts * dims + e] += sums[item * dims + e] / static_cast<double>(input.length);
  return means;
}

// The active rows of one head in the backward pass.
template <class T>
struct ActiveGradients {
  ActiveRows<T> queries, gradients;
  std::vector<T> levels, means;  // means: of the products with the values, which are rowsum(G_T X_T)

  ActiveGradients(const ProbSparse<T>& input, std::span<const T> grad_rows, std::span<const T> rows,
                  std::span<const int32_t> active, std::span<const T> own_levels, int64_t head)
      : queries(input.queries.data() + head * input.length * input.dims, input.dims, active, T(input.scale)),
        gradients(grad_rows.data() + head * input.length * input.value_dims, input.value_dims, active, T(1)),
        levels(static_cast<size_t>(queries.width)),
        means(static_cast<size_t>(queries.width)) {
    std::copy(own_levels.begin(), own_levels.end(), levels.begin());
    for (int64_t i = 0; i < std::ssize(active); ++i) {
      const int64_t at = (head * input.length + active[i]) * input.value_dims;
      double mean = 0;
      for (int64_t e = 0; e < input.value_dims; ++e) mean += double(grad_rows[at + e]) * rows[at + e];
      means[i] = static_cast<T>(mean);
    }
  }
};

// Copies rows of `stride` elements without what they are padded with.
template <class T>
void copy_tile(const T* tile, int64_t stride, int64_t count, int64_t dims, T* to) {
  for (int64_t i = 0; i < count; ++i) std::copy_n(tile + i * stride, dims, to + i * dims);
}

// Writes the gradients of keys and values of one run; `by_query` [width, padded dims] gets its part of dS K.
template <class T>
void differentiate_run(const ProbSparse<T>& input, const ActiveGradients<T>& rows, const double* inactive_mean,
                       int64_t head, int64_t begin, int64_t end, T* by_query, const ProbSparseGradient<T>& gradient) {
  const TileKernels<T>& kernels = tile_kernels<T>();
  const int64_t width = rows.queries.width, first = head * input.length;
  TileReader<T> keys(input.keys.data() + first * input.dims, input.dims, padded<T>(input.dims));
  TileReader<T> values(input.values.data() + first * input.value_dims, input.value_dims, padded<T>(input.value_dims));
  const int64_t key_stride = keys.stride(), value_stride = values.stride();
  std::vector<T> scores(static_cast<size_t>(kTile * width)), products(scores.size());
  std::vector<T> key_buffer(static_cast<size_t>(kTile * key_stride)),
      value_buffer(static_cast<size_t>(kTile * value_stride));
  for (int64_t key = begin; key < end; key += kTile) {
    const int64_t count = std::min(kTile, end - key);
    const T* const own_keys = keys.read(key, count);
    keys.fetch(key + kTile, end);
    values.fetch(key + kTile, end);
    T* const to_keys = gradient.keys.data() + (first + key) * input.dims;
    T* const to_values = gradient.values.data() + (first + key) * input.value_dims;
    // Products are made where they belong if their rows are as long there.
    T* const key_tile = count == kTile && key_stride == input.dims ? to_keys : key_buffer.data();
    T* const value_tile = count == kTile && value_stride == input.value_dims ? to_values : value_buffer.data();
    std::copy_n(inactive_mean, input.value_dims, value_tile);
    repeat_row(value_tile, kTile, value_stride);
    kernels.multiply({kTile, width, input.dims, own_keys, key_stride, 1, rows.queries.by_column.data(), width,
                      scores.data(), width});
    kernels.multiply({kTile, width, input.value_dims, values.read(key, count), value_stride, 1,
                      rows.gradients.by_column.data(), width, products.data(), width});
    kernels.slopes(scores.data(), products.data(), kTile, width, rows.levels.data(), rows.means.data());
    kernels.multiply_add({kTile, value_stride, input.active, scores.data(), width, 1, rows.gradients.by_row.data(),
                          value_stride, value_tile, value_stride});
    kernels.multiply({kTile, key_stride, input.active, products.data(), width, 1, rows.queries.by_row.data(),
                      key_stride, key_tile, key_stride});
    kernels.multiply_add(
        {width, key_stride, count, products.data(), 1, width, own_keys, key_stride, by_query, key_stride});
    if (key_tile != to_keys) copy_tile(key_tile, key_stride, count, input.dims, to_keys);
    if (value_tile != to_values) copy_tile(value_tile, value_stride, count, input.value_dims, to_values);
  }
}

}  // namespace

template <class T>
void prob_sparse(const ProbSparse<T>& input, const ProbSparseResult<T>& result) {
  check_scores(input.queries, input.keys, "k", input.dims, input.scale);
  if (input.heads == 0 || input.length == 0) return;
  select_all(input, result.active);
  std::vector<ActiveRows<T>> queries;
  for (int64_t head = 0; head < input.heads; ++head)
    queries.emplace_back(input.queries.data() + head * input.length * input.dims, input.dims,
                         result.active.subspan(head * input.active, input.active), static_cast<T>(input.scale));
  const Runs runs(input);
  const int64_t parts = runs.count;
  std::vector<RunSums<T>> sums(static_cast<size_t>(input.heads * parts));
  parallel_for(input.heads * parts, [&](int64_t item) {
    const int64_t begin = item % parts * runs.size;
    sums[item] = attend(input, queries[item / parts], item / parts, begin, std::min(input.length, begin + runs.size));
  });
  check_run_values(input, std::span<const RunSums<T>>(sums));
  parallel_for(input.heads * parts, [&](int64_t item) {
    const int64_t head = item / parts, begin = item % parts * runs.size;
    join(input, std::span<const RunSums<T>>(sums).subspan(head * parts, parts), head, begin,
         std::min(input.length, begin + runs.size), result);
  });
}

template <class T>
void differentiate_prob_sparse(const ProbSparse<T>& input, std::span<const T> grad_rows, std::span<const T> rows,
                               std::span<const int32_t> active, std::span<const T> levels,
                               const ProbSparseGradient<T>& gradient) {
  if (input.heads == 0 || input.length == 0) return;
  const std::vector<double> inactive = inactive_means(input, grad_rows, active);
  std::vector<ActiveGradients<T>> own;
  for (int64_t head = 0; head < input.heads; ++head)
    own.emplace_back(input, grad_rows, rows, active.subspan(head * input.active, input.active),
                     levels.subspan(head * input.active, input.active), head);
  const Runs runs(input);
  const int64_t parts = runs.count, stride = padded<T>(input.dims), size = own[0].queries.width * stride;
  std::vector<T> by_query(static_cast<size_t>(input.heads * parts * size));
  parallel_for(input.heads * parts, [&](int64_t item) {
    const int64_t head = item / parts, begin = item % parts * runs.size,
                  end = std::min(input.length, begin + runs.size);
    differentiate_run(input, own[head], inactive.data() + head * input.value_dims, head, begin, end,
                      by_query.data() + item * size, gradient);
    std::fill_n(gradient.queries.data() + (head * input.length + begin) * input.dims, (end - begin) * input.dims, T(0));
  });
  parallel_for(input.heads, [&](int64_t head) {
    for (int64_t i = 0; i < input.active; ++i) {
      T* const to = gradient.queries.data() + (head * input.length + active[head * input.active + i]) * input.dims;
      for (int64_t d = 0; d < input.dims; ++d) {
        double sum = 0;
        for (int64_t part = 0; part < parts; ++part) sum += by_query[(head * parts + part) * size + i * stride + d];
        to[d] = static_cast<T>(input.scale * sum);
      }
    }
  });
}

template void prob_sparse(const ProbSparse<float>&, const ProbSparseResult<float>&);
template void prob_sparse(const ProbSparse<double>&, const ProbSparseResult<double>&);
template void differentiate_prob_sparse(const ProbSparse<float>&, std::span<const float>, std::span<const float>,
                                        std::span<const int32_t>, std::span<const float>,
                                        const ProbSparseGradient<float>&);
template void differentiate_prob_sparse(const ProbSparse<double>&, std::span<const double>, std::span<const double>,
                                        std::span<const int32_t>, std::span<const double>,
                                        const ProbSparseGradient<double>&);

}  // namespace mk::attention
