#include "attention/set_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "attention/tiles.h"
#include "attention/turned.h"
#include "common/parallel.h"

namespace mk::attention {

namespace {

constexpr int64_t kQueries = 64;      // of a block: its scores with a tile of keys stay in the first-level cache
constexpr int64_t kSingleSum = 4096;  // rows that are added up in T; sums of more are joined in double
constexpr int64_t kItems = 128;       // of work, so that many threads find some

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t whole_blocks(int64_t rows) { return ceil_divide(rows, kRowBlock) * kRowBlock; }

// How queries and keys are shared out; depends on shapes alone.
struct Shares {
  int64_t blocks;  // of queries, in an item
  int64_t groups;  // of blocks, in a head
  int64_t part;    // keys of an item
  int64_t parts;   // of the keys of a head

  template <class T>
  explicit Shares(const SetAttention<T>& input) {
    const int64_t heads = std::max<int64_t>(input.queries.total, 1), keys = input.keys.count;
    const int64_t in_head = ceil_divide(input.queries.count, kQueries), all = std::max<int64_t>(heads * in_head, 1);
    blocks = std::clamp<int64_t>(all / kItems, 1, std::max<int64_t>(kSingleSum / keys, 1));
    groups = ceil_divide(in_head, blocks);
    const int64_t wanted = std::min(ceil_divide(kItems, all), ceil_divide(keys, kSingleSum));
    part = ceil_divide(ceil_divide(keys, wanted), kTile) * kTile;
    parts = ceil_divide(keys, part);
  }
};

// A block of queries as columns, and what some of the keys add to it.
template <class T>
struct Block {
  int64_t count, width;
  std::vector<T> queries;                       // [dims, width], times the scale
  std::vector<T> top, total, factor, weighted;  // [width], weighted [whole blocks of value dims, width]

  Block(int64_t dims, int64_t value_dims)
      : queries(static_cast<size_t>(dims * kQueries)),
        top(static_cast<size_t>(kQueries)),
        total(top.size()),
        factor(top.size()),
        weighted(static_cast<size_t>(whole_blocks(value_dims) * kQueries)) {}

  void read(const SetAttention<T>& input, int64_t head, int64_t first) {
    const HeadRows<const T>& rows = input.queries;
    count = std::min(kQueries, rows.count - first);
    width = padded<T>(count);
    to_columns(rows.row(head, first), rows.row_step, count, rows.dims, static_cast<T>(input.scale), queries.data(),
               width);
  }
};

// The same in double, over any number of keys.
struct Sums {
  std::vector<double> top, total, weighted;  // [count], weighted [value dims, count]

  Sums(int64_t count, int64_t value_dims)
      : top(static_cast<size_t>(count), std::numeric_limits<double>::lowest()),
        total(top.size()),
        weighted(static_cast<size_t>(value_dims * count)) {}

  // Adds sums over other keys. Their `weighted` has rows of `width` elements.
  template <class T>
  void join(const T* other_top, const T* other_total, const T* other_weighted, int64_t width) {
    const auto count = static_cast<int64_t>(top.size()), value_dims = std::ssize(weighted) / count;
    for (int64_t i = 0; i < count; ++i) {
      const double before = top[i], own = other_top[i];
      top[i] = std::max(before, own);
      const double kept = std::exp(before - top[i]), factor = std::exp(own - top[i]);
      total[i] = kept * total[i] + factor * other_total[i];
      for (int64_t e = 0; e < value_dims; ++e)
        weighted[e * count + i] = kept * weighted[e * count + i] + factor * other_weighted[e * width + i];
    }
  }
};

// The greatest sizes of what goes in.
template <class T>
struct Sizes {
  GreatestSize<T> queries, keys, values;

  Sizes(const SetAttention<T>& input, int64_t pieces)
      : queries(input.queries, pieces), keys(input.keys, pieces), values(input.values, pieces) {}

  void check(const SetAttention<T>& input) const {
    const double queries_size = queries.result("q");
    check_score_sizes<T>(queries_size, keys.result("k"), "k", input.queries.dims, input.scale);
    check_summand_size<T>(values.result("v"), "v");
  }
};

// One item of work.
template <class T>
class Attending {
 public:
  Attending(const SetAttention<T>& input, Sizes<T>& sizes, int64_t item, int64_t head)
      : input_(input),
        sizes_(sizes),
        item_(item),
        head_(head),
        keys_(input.keys, head),
        values_(input.values, head),
        scores_(static_cast<size_t>(kTile * kQueries)),
        block_(input.queries.dims, input.values.dims) {}

  Block<T>& block() { return block_; }
  void read(int64_t first) {
    input_.queries.fetch(head_, first + kQueries, kQueries);
    block_.read(input_, head_, first);
    sizes_.queries.look(item_, head_, first, block_.count);
    first_ = first;
  }

  // Leaves in the block what these keys, at most kSingleSum, add. The first block of queries looks at their sizes.
  void attend(int64_t begin, int64_t end) {
    const TileKernels<T>& kernels = tile_kernels<T>();
    const int64_t width = block_.width, value_rows = whole_blocks(input_.values.dims);
    std::fill_n(block_.top.begin(), width, std::numeric_limits<T>::lowest());
    std::fill_n(block_.total.begin(), width, T(0));
    for (int64_t key = begin; key < end; key += kTile) {
      const int64_t count = std::min(kTile, end - key);
      if (first_ == 0) {
        input_.keys.fetch(head_, key + kTile, kTile);
        input_.values.fetch(head_, key + kTile, kTile);
        sizes_.keys.look(item_, head_, key, count);
        sizes_.values.look(item_, head_, key, count);
      }
      const T* const key_tile = keys_.read(key, count);
      kernels.multiply({whole_blocks(count), width, input_.keys.dims, key_tile, keys_.step(), 1, block_.queries.data(),
                        width, scores_.data(), width});
      const bool raised =
          kernels.soften(scores_.data(), count, {width, block_.top.data(), block_.total.data(), block_.factor.data()});
      const T* const value_tile = values_.read(key, count);
      const Product<T> weighted{
          value_rows, width, count, value_tile, 1, values_.step(), scores_.data(), width, block_.weighted.data(),
          width};
      if (key == begin) {
        kernels.multiply(weighted);
        continue;
      }
      if (raised)
        for (int64_t e = 0; e < value_rows; ++e)
          for (int64_t i = 0; i < width; ++i) block_.weighted[e * width + i] *= block_.factor[i];
      kernels.multiply_add(weighted);
    }
  }

  void join(Sums& sums, int64_t begin, int64_t end) {
    for (int64_t key = begin; key < end; key += kSingleSum) {
      attend(key, std::min(end, key + kSingleSum));
      sums.join(block_.top.data(), block_.total.data(), block_.weighted.data(), block_.width);
    }
  }

  // The rows of the block after a single call of `attend`.
  void finish(const HeadRows<T>& rows, T* levels) {
    constexpr int64_t lanes = 16 / sizeof(T);
    for (int64_t i = 0; i < block_.width; i += lanes) {
      using V = simd::Vector<T, lanes>;
      const auto total = V::load(block_.total.data() + i);
      V::store(block_.top.data() + i, V::load(block_.top.data() + i) + V::log(total));
      V::store(block_.factor.data() + i, 1 / total);
    }
    std::copy_n(block_.top.begin(), block_.count, levels);
    to_rows(block_.weighted.data(), block_.width, block_.factor.data(), block_.count, rows.dims,
            rows.row(head_, first_), rows.row_step);
  }

 private:
  const SetAttention<T>& input_;
  Sizes<T>& sizes_;
  int64_t item_, head_, first_ = 0;  // first query of the block
  HeadTiles<T> keys_, values_;
  std::vector<T> scores_;
  Block<T> block_;
};

// Writes the rows of a block of queries, from sums over all keys.
template <class T>
void finish(const Sums& sums, T* row, int64_t row_step, T* levels) {
  const auto count = static_cast<int64_t>(sums.top.size()), value_dims = std::ssize(sums.weighted) / count;
  for (int64_t i = 0; i < count; ++i, row += row_step) {
    levels[i] = static_cast<T>(sums.top[i] + std::log(sums.total[i]));
    for (int64_t e = 0; e < value_dims; ++e) row[e] = static_cast<T>(sums.weighted[e * count + i] / sums.total[i]);
  }
}

// The smaller set of one head in the backward pass, as columns, with what products want of it.
template <class T>
struct ColumnSide {
  int64_t count, width;
  std::vector<T> first_by_column, first_by_row;    // queries or keys, times the scale: [dims, width], [count, stride]
  std::vector<T> second_by_column, second_by_row;  // gradients of rows, or values
  std::vector<T> levels, means;                    // [width], of queries

  ColumnSide(const HeadRows<const T>& first, const HeadRows<const T>& second, int64_t head, double scale)
      : count(first.count), width(padded<T>(count)) {
    set(first, head, static_cast<T>(scale), first_by_column, first_by_row);
    set(second, head, T(1), second_by_column, second_by_row);
  }

 private:
  void set(const HeadRows<const T>& rows, int64_t head, T factor, std::vector<T>& by_column, std::vector<T>& by_row) {
    const int64_t stride = padded<T>(rows.dims);
    by_column.resize(static_cast<size_t>(rows.dims * width));
    to_columns(rows.head(head), rows.row_step, count, rows.dims, factor, by_column.data(), width);
    by_row.resize(static_cast<size_t>(count * stride));
    for (int64_t i = 0; i < count; ++i)
      for (int64_t d = 0; d < rows.dims; ++d) by_row[i * stride + d] = factor * rows.row(head, i)[d];
  }
};

// What all items of the backward pass work on. The larger set gives tiles of rows.
template <class T>
struct Backward {
  const SetAttention<T>& input;
  const HeadRows<const T>&grad_rows, &rows;
  std::span<const T> levels;
  const SetAttentionGradient<T>& gradient;
  bool keys_are_rows = input.keys.count >= input.queries.count;
  HeadRows<const T> first_rows = keys_are_rows ? input.keys : input.queries;
  HeadRows<const T> second_rows = keys_are_rows ? input.values : grad_rows;
  HeadRows<const T> first_columns = keys_are_rows ? input.queries : input.keys;
  HeadRows<const T> second_columns = keys_are_rows ? grad_rows : input.values;
  // Sums for the columns: of the first gradient, and where keys are columns of that of the values.
  int64_t first_sums = whole_blocks(first_columns.dims);
  int64_t second_sums = keys_are_rows ? 0 : whole_blocks(second_columns.dims);
  int64_t width = padded<T>(first_columns.count);

  // Rows of an item. At least a quarter as many as there are columns, so that sums for the columns take no more than
  // four times the memory of the rows.
  int64_t run = [this] {
    constexpr int64_t least = 1024;
    const int64_t wanted = ceil_divide(kItems, std::max<int64_t>(first_rows.total, 1));
    const int64_t size = std::max({least, first_columns.count / 4, ceil_divide(first_rows.count, wanted)});
    return ceil_divide(size, kTile) * kTile;
  }();
  int64_t runs = ceil_divide(first_rows.count, run);

  T mean(int64_t head, int64_t query) const {  // of the products of a gradient with the values
    const T* const grad = grad_rows.row(head, query);
    const T* const row = rows.row(head, query);
    T sum = 0;
    for (int64_t e = 0; e < rows.dims; ++e) sum += grad[e] * row[e];
    return sum;
  }
};

// Writes the gradients of the rows from `begin` to `end`, and adds to the sums for the columns, [sums, width].
template <class T>
void differentiate_run(const Backward<T>& all, int64_t head, int64_t begin, int64_t end, double* sums) {
  const TileKernels<T>& kernels = tile_kernels<T>();
  ColumnSide<T> columns(all.first_columns, all.second_columns, head, all.input.scale);
  HeadTiles<T> first_tiles(all.first_rows, head), second_tiles(all.second_rows, head);
  const int64_t dims = all.first_rows.dims, value_dims = all.second_rows.dims, width = all.width;
  const int64_t stride = padded<T>(dims), value_stride = padded<T>(value_dims);
  const T* const levels = all.levels.data() + head * all.input.queries.count;
  if (all.keys_are_rows) {
    columns.levels.assign(static_cast<size_t>(width), T(0));
    columns.means = columns.levels;
    std::copy_n(levels, columns.count, columns.levels.begin());
    for (int64_t i = 0; i < columns.count; ++i) columns.means[i] = all.mean(head, i);
  }
  const HeadRows<T>& first_gradient = all.keys_are_rows ? all.gradient.keys : all.gradient.queries;
  constexpr int64_t block = kQueries;  // columns
  std::vector<T> scores(static_cast<size_t>(kTile * block)), products(scores.size()),
      first_tile(static_cast<size_t>(kTile * stride)), second_tile(static_cast<size_t>(kTile * value_stride)),
      partial(static_cast<size_t>((all.first_sums + all.second_sums) * width)), means(static_cast<size_t>(kTile));
  for (int64_t row = begin; row < end; row += kTile) {
    const int64_t count = std::min(kTile, end - row), whole = whole_blocks(count);
    all.first_rows.fetch(head, row + kTile, kTile);
    all.second_rows.fetch(head, row + kTile, kTile);
    if (!all.keys_are_rows) all.rows.fetch(head, row + kTile, kTile);
    const T* const own_first = first_tiles.read(row, count);
    const T* const own_second = second_tiles.read(row, count);
    if (!all.keys_are_rows)
      for (int64_t i = 0; i < count; ++i) means[i] = all.mean(head, row + i);
    std::fill(first_tile.begin(), first_tile.end(), T(0));
    std::fill(second_tile.begin(), second_tile.end(), T(0));
    for (int64_t column = 0; column < columns.count; column += block) {
      const int64_t there = std::min(block, columns.count - column), own_width = padded<T>(there);
      kernels.multiply({whole, own_width, dims, own_first, first_tiles.step(), 1,
                        columns.first_by_column.data() + column, width, scores.data(), own_width});
      kernels.multiply({whole, own_width, value_dims, own_second, second_tiles.step(), 1,
                        columns.second_by_column.data() + column, width, products.data(), own_width});
      T* const first_partial = partial.data() + column;
      T* const second_partial = first_partial + all.first_sums * width;
      if (all.keys_are_rows) {
        kernels.slopes(scores.data(), products.data(), whole, own_width, columns.levels.data() + column,
                       columns.means.data() + column);
        kernels.multiply_add({whole, value_stride, there, scores.data(), own_width, 1,
                              columns.second_by_row.data() + column * value_stride, value_stride, second_tile.data(),
                              value_stride});
      } else {
        kernels.slopes_by_row(scores.data(), products.data(), count, own_width, levels + row, means.data());
        kernels.multiply_add({all.second_sums, own_width, count, own_second, 1, second_tiles.step(), scores.data(),
                              own_width, second_partial, width});
      }
      kernels.multiply_add({whole, stride, there, products.data(), own_width, 1,
                            columns.first_by_row.data() + column * stride, stride, first_tile.data(), stride});
      kernels.multiply_add({all.first_sums, own_width, count, own_first, 1, first_tiles.step(), products.data(),
                            own_width, first_partial, width});
    }
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(first_tile.data() + i * stride, dims, first_gradient.row(head, row + i));
    if (all.keys_are_rows)
      for (int64_t i = 0; i < count; ++i)
        std::copy_n(second_tile.data() + i * value_stride, value_dims, all.gradient.values.row(head, row + i));
    if ((row - begin) / kTile % (kSingleSum / kTile) == kSingleSum / kTile - 1 || row + kTile >= end) {
      for (size_t i = 0; i < partial.size(); ++i) sums[i] += partial[i];
      std::fill(partial.begin(), partial.end(), T(0));
    }
  }
}

}  // namespace

template <class T>
void set_attention(const SetAttention<T>& input, const HeadRows<T>& rows, std::span<T> levels) {
  const int64_t heads = input.queries.total, count = input.queries.count, keys = input.keys.count;
  const Shares shares(input);
  Sizes<T> sizes(input, heads * shares.groups * shares.parts);
  const int64_t size = shares.blocks * kQueries;
  // The heads of an item of the batch, which may lie side by side in memory, come one after the other.
  const auto head_of = [&](int64_t item, int64_t groups) {
    return item / (groups * input.queries.heads) * input.queries.heads + item % input.queries.heads;
  };
  const auto group_of = [&](int64_t item, int64_t groups) { return item / input.queries.heads % groups; };
  if (shares.parts == 1) {
    parallel_for(heads * shares.groups, [&](int64_t item) {
      const int64_t head = head_of(item, shares.groups), begin = group_of(item, shares.groups) * size;
      Attending<T> own(input, sizes, item, head);
      for (int64_t first = begin; first < std::min(count, begin + size); first += kQueries) {
        own.read(first);
        T* const own_levels = levels.data() + head * count + first;
        if (keys <= kSingleSum) {
          own.attend(0, keys);
          own.finish(rows, own_levels);
          continue;
        }
        Sums sums(own.block().count, rows.dims);
        own.join(sums, 0, keys);
        finish(sums, rows.row(head, first), rows.row_step, own_levels);
      }
    });
    return sizes.check(input);
  }
  const int64_t groups = shares.groups * shares.parts;
  std::vector<Sums> parts(static_cast<size_t>(heads * groups), Sums(0, 0));
  parallel_for(heads * groups, [&](int64_t item) {
    const int64_t head = head_of(item, groups), group = group_of(item, groups);
    const int64_t begin = group % shares.parts * shares.part;
    Attending<T> own(input, sizes, item, head);
    own.read(group / shares.parts * size);
    Sums sums(own.block().count, rows.dims);
    own.join(sums, begin, std::min(keys, begin + shares.part));
    parts[head * groups + group] = std::move(sums);
  });
  sizes.check(input);
  parallel_for(heads * shares.groups, [&](int64_t item) {
    const int64_t head = item / shares.groups, first = item % shares.groups * size;
    Sums& sums = parts[item * shares.parts];
    for (int64_t part = 1; part < shares.parts; ++part) {
      const Sums& other = parts[item * shares.parts + part];
      sums.join(other.top.data(), other.total.data(), other.weighted.data(), std::ssize(other.top));
    }
    finish(sums, rows.row(head, first), rows.row_step, levels.data() + head * count + first);
  });
}

template <class T>
void differentiate_set_attention(const SetAttention<T>& input, const HeadRows<const T>& grad_rows,
                                 const HeadRows<const T>& rows, std::span<const T> levels,
                                 const SetAttentionGradient<T>& gradient) {
  const Backward<T> all{input, grad_rows, rows, levels, gradient};
  const int64_t heads = input.queries.total, size = (all.first_sums + all.second_sums) * all.width;
  std::vector<double> sums(static_cast<size_t>(heads * all.runs * size));
  parallel_for(heads * all.runs, [&](int64_t item) {
    const int64_t head = item / all.runs, begin = item % all.runs * all.run;
    differentiate_run(all, head, begin, std::min(all.first_rows.count, begin + all.run), sums.data() + item * size);
  });
  const HeadRows<T>& first = all.keys_are_rows ? gradient.queries : gradient.keys;
  parallel_for(heads, [&](int64_t head) {
    const double* const own = sums.data() + head * all.runs * size;
    const auto total = [&](int64_t row, int64_t column) {
      double sum = 0;
      for (int64_t run = 0; run < all.runs; ++run) sum += own[run * size + row * all.width + column];
      return sum;
    };
    for (int64_t i = 0; i < first.count; ++i)
      for (int64_t d = 0; d < first.dims; ++d) first.row(head, i)[d] = static_cast<T>(input.scale * total(d, i));
    if (all.keys_are_rows) return;
    for (int64_t i = 0; i < first.count; ++i)
      for (int64_t e = 0; e < gradient.values.dims; ++e)
        gradient.values.row(head, i)[e] = static_cast<T>(total(all.first_sums + e, i));
  });
}

template void set_attention(const SetAttention<float>&, const HeadRows<float>&, std::span<float>);
template void set_attention(const SetAttention<double>&, const HeadRows<double>&, std::span<double>);
template void differentiate_set_attention(const SetAttention<float>&, const HeadRows<const float>&,
                                          const HeadRows<const float>&, std::span<const float>,
                                          const SetAttentionGradient<float>&);
template void differentiate_set_attention(const SetAttention<double>&, const HeadRows<const double>&,
                                          const HeadRows<const double>&, std::span<const double>,
                                          const SetAttentionGradient<double>&);

}  // namespace mk::attention
