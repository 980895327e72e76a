#include "attention/channel.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "attention/tiles.h"
#include "common/parallel.h"

namespace mk::attention {

namespace {

int64_t whole_blocks(int64_t rows) { return (rows + kRowBlock - 1) / kRowBlock * kRowBlock; }

// Runs of rows, each of them one item of work. No shorter than there are channels, so that their sums take no more
// memory than the arrays.
struct Runs {
  static constexpr int64_t least = 1024;
  int64_t length, size, count;

  template <class T>
  explicit Runs(const HeadRows<T>& rows)
      : length(rows.count),
        size((std::max(least, rows.dims) + kTile - 1) / kTile * kTile),
        count((length + size - 1) / size) {}
  int64_t begin(int64_t run) const { return run * size; }
  int64_t end(int64_t run) const { return std::min(length, (run + 1) * size); }
};

// Calls first(head, run) for all runs, between(head) once all of a head are done, and then second(head, run): in one
// loop, as threads that wait for the start of another one would lose more than the runs of a small head take. Items are
// begun in their order, so what is waited for has been begun.
template <class First, class Between, class Second>
void visit_twice(int64_t heads, const Runs& runs, const First& first, const Between& between, const Second& second) {
  const int64_t items = heads * runs.count;
  std::vector<std::atomic<int64_t>> done(static_cast<size_t>(heads));
  parallel_for(2 * items, [&](int64_t i) {
    const int64_t head = i % items / runs.count, run = i % runs.count;
    if (i < items) {
      first(head, run);
      if (done[head].fetch_add(1) + 1 == runs.count) {
        between(head);
        done[head].fetch_add(1);
      }
    } else {
      while (done[head].load() <= runs.count) {
        check_interrupt();
        std::this_thread::yield();
      }
      second(head, run);
    }
  });
}

// Tiles of a head for products: see HeadTiles. A whole tile of whole registers is always read where it stands.
template <class T>
class Tiles {
 public:
  Tiles(const HeadRows<const T>& rows, int64_t head) : rows_(rows), head_(head), others_(rows, head) {}
  const T* read(int64_t first, int64_t count) {
    in_place_ = count == kTile && rows_.dims == padded<T>(rows_.dims);
    return in_place_ ? rows_.row(head_, first) : others_.read(first, count);
  }
  int64_t step() const { return in_place_ ? rows_.row_step : others_.step(); }

 private:
  const HeadRows<const T>& rows_;
  int64_t head_;
  HeadTiles<T> others_;
  bool in_place_ = false;
};

// Sums of the products of channels, left^T right, over each run of each head: [dims, width].
template <class T>
class RunProducts {
 public:
  RunProducts(const HeadRows<const T>& left, const HeadRows<const T>& right, const Runs& runs)
      : left_(left),
        right_(right),
        runs_(runs),
        rows_(whole_blocks(left.dims)),
        width_(padded<T>(left.dims)),
        parts_(std::make_unique_for_overwrite<double[]>(
            static_cast<size_t>(left.total * runs.count * left.dims * width_))) {}

  // Calls look(first, count, tile of left, step between its rows) for each tile, while it is at hand.
  template <class Look>
  void add_up(int64_t head, int64_t run, const Look& look) {
    constexpr int64_t single_sum = 256;  // rows that are added up in T
    const int64_t begin = runs_.begin(run), end = runs_.end(run), size = left_.dims * width_;
    Tiles<T> left_tiles(left_, head), right_tiles(right_, head);
    std::vector<T> sums(static_cast<size_t>(rows_ * width_));
    double* const part = parts_.get() + (head * runs_.count + run) * size;
    std::fill_n(part, size, 0.0);
    for (int64_t i = begin; i < end; i += kTile) {
      const int64_t count = std::min(kTile, end - i);
      const T* const left = left_tiles.read(i, count);
      const T* const right = right_tiles.read(i, count);
      look(i, count, left, left_tiles.step());
      const Product<T> product{rows_,       width_, count, left, 1, left_tiles.step(), right, right_tiles.step(),
                               sums.data(), width_};
      const bool first = (i - begin) % single_sum == 0;
      (first ? tile_kernels<T>().multiply : tile_kernels<T>().multiply_add)(product);
      if ((i + kTile - begin) % single_sum == 0 || i + kTile >= end)
        for (int64_t j = 0; j < size; ++j) part[j] += sums[j];
    }
  }

  // The sums of a head, in those of its first run.
  double* total(int64_t head) {
    const int64_t size = left_.dims * width_;
    double* const sums = parts_.get() + head * runs_.count * size;
    for (int64_t run = 1; run < runs_.count; ++run)
      for (int64_t j = 0; j < size; ++j) sums[j] += sums[run * size + j];
    return sums;
  }
  int64_t width() const { return width_; }

 private:
  const HeadRows<const T>&left_, &right_;
  const Runs& runs_;
  int64_t rows_, width_;
  std::unique_ptr<double[]> parts_;
};

// A matrix [d, d] of each head, with rows as products want them on their right.
template <class T>
class SquareMatrices {
 public:
  SquareMatrices(int64_t heads, int64_t dims)
      : dims_(dims), width_(padded<T>(dims)), values_(static_cast<size_t>(heads * dims * width_)) {}
  T* row(int64_t head, int64_t i) { return values_.data() + (head * dims_ + i) * width_; }

  // Rows of `to` = `count` rows of a tile times the matrix of their head. `buffer` is room for padded products.
  void multiply(const T* tile, int64_t step, int64_t count, int64_t head, int64_t first, const HeadRows<T>& to,
                std::vector<T>& buffer) const {
    const T* const matrix = values_.data() + head * dims_ * width_;
    if (dims_ == width_ && count % kRowBlock == 0) {
      tile_kernels<T>().multiply(
          {count, width_, dims_, tile, step, 1, matrix, width_, to.row(head, first), to.row_step});
      return;
    }
    buffer.resize(static_cast<size_t>(kTile * width_));
    tile_kernels<T>().multiply(
        {whole_blocks(count), width_, dims_, tile, step, 1, matrix, width_, buffer.data(), width_});
    for (int64_t j = 0; j < count; ++j) std::copy_n(buffer.data() + j * width_, dims_, to.row(head, first + j));
  }

  // The same for all rows of a run of `from`; look(first, count) is called for each tile.
  template <class Look>
  void multiply_run(const HeadRows<const T>& from, int64_t head, const Runs& runs, int64_t run, const HeadRows<T>& to,
                    const Look& look) const {
    Tiles<T> tiles(from, head);
    std::vector<T> buffer;
    for (int64_t i = runs.begin(run); i < runs.end(run); i += kTile) {
      const int64_t count = std::min(kTile, runs.end(run) - i);
      const T* const tile = tiles.read(i, count);
      look(i, count);
      multiply(tile, tiles.step(), count, head, i, to, buffer);
    }
  }

 private:
  int64_t dims_, width_;
  std::vector<T> values_;
};

// weights = softmax_rows(scale scores^T), and its transpose in `transposed`. Scores [dims, width] are overwritten.
template <class T>
void weigh(double* scores, int64_t dims, int64_t width, double scale, T* weights, T* transposed) {
  std::vector<double> top(static_cast<size_t>(width), std::numeric_limits<double>::lowest()), total(top.size()),
      factor(top.size());
  for (int64_t i = 0; i < dims * width; ++i) scores[i] *= scale;
  tile_kernels<double>().soften(scores, dims, {width, top.data(), total.data(), factor.data()});
  for (int64_t j = 0; j < dims; ++j)
    for (int64_t i = 0; i < dims; ++i)
      weights[i * dims + j] = transposed[j * width + i] = static_cast<T>(scores[j * width + i] / total[i]);
}

}  // namespace

template <class T>
void channel(const Channel<T>& input, const HeadRows<T>& rows, std::span<T> weights) {
  const auto& [q, k, v, scale] = input;
  const int64_t heads = q.total, dims = q.dims;
  const Runs runs(q);
  GreatestSize<T> queries(q, heads * runs.count), keys(k, heads * runs.count), values(v, heads * runs.count);
  RunProducts<T> scores(k, q, runs);
  SquareMatrices<T> transposed(heads, dims);
  visit_twice(
      heads, runs,
      [&](int64_t head, int64_t run) {
        const int64_t item = head * runs.count + run;
        scores.add_up(head, run, [&](int64_t first, int64_t count, const T*, int64_t) {
          queries.look(item, head, first, count);
          keys.look(item, head, first, count);
        });
      },
      [&](int64_t head) {
        weigh(scores.total(head), dims, scores.width(), scale, weights.data() + head * dims * dims,
              transposed.row(head, 0));
      },
      [&](int64_t head, int64_t run) {
        transposed.multiply_run(v, head, runs, run, rows, [&](int64_t first, int64_t count) {
          values.look(head * runs.count + run, head, first, count);
        });
      });
  const double queries_size = queries.result("q");
  check_score_sizes<T>(queries_size, keys.result("k"), "k", std::max<int64_t>(q.count, 1), scale);
  check_summand_size<T>(values.result("v"), "v");
}

template <class T>
void differentiate_channel(const Channel<T>& input, const HeadRows<const T>& grad_rows, std::span<const T> weights,
                           const ChannelGradient<T>& gradient) {
  const int64_t heads = input.queries.total, dims = input.queries.dims;
  const Runs runs(input.queries);
  RunProducts<T> grad_weights(grad_rows, input.values, runs);
  SquareMatrices<T> own(heads, dims), slopes = own, slopes_transposed = own;
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t i = 0; i < dims; ++i) std::copy_n(weights.data() + (head * dims + i) * dims, dims, own.row(head, i));
  visit_twice(
      heads, runs,
      [&](int64_t head, int64_t run) {
        std::vector<T> buffer;
        grad_weights.add_up(head, run, [&](int64_t first, int64_t count, const T* tile, int64_t step) {
          own.multiply(tile, step, count, head, first, gradient.values, buffer);
        });
      },
      [&](int64_t head) {
        const double* const grads = grad_weights.total(head);
        for (int64_t i = 0; i < dims; ++i) {
          const T* const weight = own.row(head, i);
          const double* const grad = grads + i * grad_weights.width();
          double mean = 0;
          for (int64_t j = 0; j < dims; ++j) mean += weight[j] * grad[j];
          for (int64_t j = 0; j < dims; ++j)
            slopes.row(head, i)[j] = slopes_transposed.row(head, j)[i] =
                static_cast<T>(input.scale * weight[j] * (grad[j] - mean));
        }
      },
      [&](int64_t head, int64_t run) {
        const auto checked = [](int64_t, int64_t) {};
        slopes_transposed.multiply_run(input.keys, head, runs, run, gradient.queries, checked);
        slopes.multiply_run(input.queries, head, runs, run, gradient.keys, checked);
      });
}

template void channel(const Channel<float>&, const HeadRows<float>&, std::span<float>);
template void channel(const Channel<double>&, const HeadRows<double>&, std::span<double>);
template void differentiate_channel(const Channel<float>&, const HeadRows<const float>&, std::span<const float>,
                                    const ChannelGradient<float>&);
template void differentiate_channel(const Channel<double>&, const HeadRows<const double>&, std::span<const double>,
                                    const ChannelGradient<double>&);

}  // namespace mk::attention
