#include "attention/channel.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
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

// The products of channels, left^T right, of each head: [total, d, d]. `look(item, head, first, count)` is called for
// each run of rows while it is at hand.
template <class T, class Look>
std::vector<double> products(const HeadRows<const T>& left, const HeadRows<const T>& right, const Look& look) {
  constexpr int64_t single_sum = 256;  // rows that are added up in T
  const Runs runs(left);
  const int64_t dims = left.dims, rows = whole_blocks(dims), width = padded<T>(dims), size = rows * width;
  std::vector<double> parts(static_cast<size_t>(left.total * runs.count * size));
  parallel_for(left.total * runs.count, [&](int64_t item) {
    const int64_t head = item / runs.count, run = item % runs.count;
    HeadTiles<T> left_tiles(left, head), right_tiles(right, head);
    std::vector<T> sums(static_cast<size_t>(size));
    double* const part = parts.data() + item * size;
    for (int64_t i = runs.begin(run); i < runs.end(run); i += kTile) {
      const int64_t count = std::min(kTile, runs.end(run) - i);
      left.fetch(head, i + kTile, kTile);
      right.fetch(head, i + kTile, kTile);
      look(item, head, i, count);
      const T* const left_tile = left_tiles.read(i, count);
      const T* const right_tile = right_tiles.read(i, count);
      const Product<T> product{
          rows, width, count, left_tile, 1, left_tiles.step(), right_tile, right_tiles.step(), sums.data(), width};
      const bool first = (i - runs.begin(run)) % single_sum == 0;
      (first ? tile_kernels<T>().multiply : tile_kernels<T>().multiply_add)(product);
      if ((i + kTile - runs.begin(run)) % single_sum == 0 || i + kTile >= runs.end(run))
        for (int64_t j = 0; j < size; ++j) part[j] += sums[j];
    }
  });
  std::vector<double> sums(static_cast<size_t>(left.total * dims * dims));
  parallel_for(left.total * dims, [&](int64_t row) {
    double* const sum = sums.data() + row * dims;
    for (int64_t run = 0; run < runs.count; ++run) {
      const double* const part = parts.data() + (row / dims * runs.count + run) * size + row % dims * width;
      for (int64_t j = 0; j < dims; ++j) sum[j] += part[j];
    }
  });
  return sums;
}

// A matrix [d, d] with rows as products want them on their right.
template <class T>
class SquareMatrix {
 public:
  explicit SquareMatrix(int64_t dims)
      : dims_(dims), width_(padded<T>(dims)), values_(static_cast<size_t>(dims * width_)) {}
  T& at(int64_t i, int64_t j) { return values_[i * width_ + j]; }

  // to = tile times this, for a tile of rows of a head.
  void multiply(const T* tile, int64_t step, int64_t count, T* to) const {
    tile_kernels<T>().multiply({whole_blocks(count), width_, dims_, tile, step, 1, values_.data(), width_, to, width_});
  }
  int64_t width() const { return width_; }

 private:
  int64_t dims_, width_;
  std::vector<T> values_;
};

// Rows of `from` times a matrix for each head.
template <class T, class Look>
void multiply_rows(const HeadRows<const T>& from, const std::vector<SquareMatrix<T>>& matrices, const HeadRows<T>& to,
                   const Look& look) {
  const Runs runs(from);
  parallel_for(from.total * runs.count, [&](int64_t item) {
    const int64_t head = item / runs.count, run = item % runs.count;
    const SquareMatrix<T>& matrix = matrices[head];
    HeadTiles<T> tiles(from, head);
    std::vector<T> products(static_cast<size_t>(kTile * matrix.width()));
    for (int64_t i = runs.begin(run); i < runs.end(run); i += kTile) {
      const int64_t count = std::min(kTile, runs.end(run) - i);
      from.fetch(head, i + kTile, kTile);
      look(item, head, i, count);
      const T* const tile = tiles.read(i, count);
      matrix.multiply(tile, tiles.step(), count, products.data());
      for (int64_t j = 0; j < count; ++j)
        std::copy_n(products.data() + j * matrix.width(), from.dims, to.row(head, i + j));
    }
  });
}

}  // namespace

template <class T>
void channel(const Channel<T>& input, const HeadRows<T>& rows, std::span<T> weights) {
  const int64_t heads = input.queries.total, dims = input.queries.dims;
  const int64_t pieces = heads * Runs(input.queries).count;
  GreatestSize<T> queries(input.queries, pieces), keys(input.keys, pieces), values(input.values, pieces);
  const std::vector<double> scores =
      products(input.queries, input.keys, [&](int64_t item, int64_t head, int64_t first, int64_t count) {
        queries.look(item, head, first, count);
        keys.look(item, head, first, count);
      });
  const double queries_size = queries.result("q");
  check_score_sizes<T>(queries_size, keys.result("k"), "k", std::max<int64_t>(input.queries.count, 1), input.scale);
  std::vector<SquareMatrix<T>> transposed(static_cast<size_t>(heads), SquareMatrix<T>(dims));
  parallel_for(heads, [&](int64_t head) {
    std::vector<double> row(static_cast<size_t>(dims));
    for (int64_t i = 0; i < dims; ++i) {
      const double* const own = scores.data() + (head * dims + i) * dims;
      const double top = *std::max_element(own, own + dims);
      double total = 0;
      for (int64_t j = 0; j < dims; ++j) total += row[j] = std::exp(input.scale * (own[j] - top));
      for (int64_t j = 0; j < dims; ++j)
        transposed[head].at(j, i) = weights[(head * dims + i) * dims + j] = static_cast<T>(row[j] / total);
    }
  });
  multiply_rows(input.values, transposed, rows, [&](int64_t item, int64_t head, int64_t first, int64_t count) {
    values.look(item, head, first, count);
  });
  check_summand_size<T>(values.result("v"), "v");
}

template <class T>
void differentiate_channel(const Channel<T>& input, const HeadRows<const T>& grad_rows, std::span<const T> weights,
                           const ChannelGradient<T>& gradient) {
  const int64_t heads = input.queries.total, dims = input.queries.dims;
  const auto checked = [](int64_t, int64_t, int64_t, int64_t) {};
  const std::vector<double> grad_weights = products(grad_rows, input.values, checked);
  std::vector<SquareMatrix<T>> own(static_cast<size_t>(heads), SquareMatrix<T>(dims)), slopes = own,
                                                                                       slopes_transposed = own;
  parallel_for(heads, [&](int64_t head) {
    for (int64_t i = 0; i < dims; ++i) {
      const T* const weight = weights.data() + (head * dims + i) * dims;
      const double* const grad = grad_weights.data() + (head * dims + i) * dims;
      double mean = 0;
      for (int64_t j = 0; j < dims; ++j) mean += weight[j] * grad[j];
      for (int64_t j = 0; j < dims; ++j) {
        own[head].at(i, j) = weight[j];
        slopes[head].at(i, j) = slopes_transposed[head].at(j, i) =
            static_cast<T>(input.scale * weight[j] * (grad[j] - mean));
      }
    }
  });
  multiply_rows(grad_rows, own, gradient.values, checked);
  multiply_rows(input.keys, slopes_transposed, gradient.queries, checked);
  multiply_rows(input.queries, slopes, gradient.keys, checked);
}

template void channel(const Channel<float>&, const HeadRows<float>&, std::span<float>);
template void channel(const Channel<double>&, const HeadRows<double>&, std::span<double>);
template void differentiate_channel(const Channel<float>&, const HeadRows<const float>&, std::span<const float>,
                                    const ChannelGradient<float>&);
template void differentiate_channel(const Channel<double>&, const HeadRows<const double>&, std::span<const double>,
                                    const ChannelGradient<double>&);

}  // namespace mk::attention
