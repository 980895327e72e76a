#include "segmentation/upsample_dice_ce.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "common/check.h"
#include "common/parallel.h"
#include "common/widest.h"
#include "segmentation/node_rows.h"
#include "segmentation/pool.h"
#include "segmentation/walk.h"

namespace mk::segmentation {

namespace {

constexpr double kSmoothing = 1e-5;
constexpr double kLargeProduct = 1e150;  // times a sum of exponentials it is still a double

// Sums of a part of an item.
struct Sums {
  std::vector<double> products, squares, counts;
  double entropy = 0;

  explicit Sums(int64_t classes) : products(static_cast<size_t>(classes)), squares(products), counts(products) {}
};

// Of some rows of inputs, numbered over all planes.
template <class T>
Sums sum_rows(Walk<T>& walk, const Item<T>& item, int64_t begin, int64_t end) {
  const int64_t classes = item.volume.classes;
  Sums sums(classes);
  std::vector<T> squares(static_cast<size_t>(classes * kChunk<T>));
  double product = 1;  // of sums of exponentials, whose logarithm is to be taken
  const auto each_block = [&](const Block<T>& block, int64_t, std::span<const Output<T>> outputs) {
    for (const Output<T>& output : outputs) {
      const int32_t label = walk.labels[output.at];
      if (label < 0) continue;
      sums.products[label] += walk.probability(output, label);
      sums.counts[label] += 1;
      sums.entropy += walk.top[output.slot] - walk.logit(output, label);
      product *= walk.total[output.slot];
      if (product > kLargeProduct) {
        sums.entropy += std::log(product);
        product = 1;
      }
    }
    slot_kernels<T>().add_squares(block, walk.values.data(), walk.inverse.data(), walk.shares.data(), squares.data());
  };
  const auto nothing = [](int64_t) {};
  for (int64_t place = begin; place < end; ++place) {
    std::fill(squares.begin(), squares.end(), T(0));
    walk.pass(item, place / item.volume.height, place % item.volume.height, each_block, nothing, nothing);
    for (int64_t c = 0; c < classes; ++c)
      for (int64_t k = 0; k < kChunk<T>; ++k) sums.squares[c] += squares[c * kChunk<T> + k];
  }
  sums.entropy += std::log(product);
  return sums;
}

double dice_numerator(double product) { return 2 * product + kSmoothing; }
double dice_denominator(double squares, double count) { return squares + count + kSmoothing; }

// The slopes of the losses of one item, as the backward pass takes them: of p y and of p^2 for each class.
template <class T>
struct Slopes {
  T entropy;
  std::vector<T> products, squares;

  Slopes(const UpsampleDiceCe<T>& input, const T* grad, const double* sums) : entropy(grad[0]) {
    const int64_t classes = input.classes, first = input.include_background ? 0 : 1;
    const double share = grad[1] / static_cast<double>(classes - first);
    for (int64_t c = 0; c < classes; ++c) {
      const double inverse = c < first ? 0.0 : 1 / dice_denominator(sums[classes + c], sums[2 * classes + c]);
      products.push_back(static_cast<T>(-2 * share * inverse));
      squares.push_back(static_cast<T>(2 * share * dice_numerator(sums[c]) * inverse * inverse));
    }
  }
};

// Of whole chunks.
template <class T>
[[gnu::always_inline]] inline void add_to_both(const T* __restrict from, T low, T high, int64_t width,
                                               T* __restrict first, T* __restrict second) {
  for (int64_t chunk = 0; chunk < width; chunk += kChunk<T>)
    for (int64_t i = chunk; i < chunk + kChunk<T>; ++i) {
      first[i] += low * from[i];
      second[i] += high * from[i];
    }
}

// Carries slopes to the inputs; memory for one thread's work.
template <class T>
class Differentiator {
 public:
  Differentiator(int64_t classes, const Resampling<T>& resampling)
      : resampling_(resampling),
        size_(classes * resampling.x.stride),
        walk_(classes, resampling),
        offsets_(kBlock<T>),
        nodes_(static_cast<size_t>(size_)),
        sides_(static_cast<size_t>(2 * size_)),
        corners_(static_cast<size_t>(4 * size_)) {}

  // Adds what the outputs between two rows of inputs add to the gradient of these rows, in both planes.
  void add(const Item<T>& item, const Slopes<T>& slopes, int64_t plane, int64_t row, T* gradient) {
    const Axis<T>&z = resampling_.z, &y = resampling_.y;
    if (z.first[plane] == z.first[plane + 1] || y.first[row] == y.first[row + 1]) return;
    std::fill(corners_.begin(), corners_.end(), T(0));
    walk_.pass(
        item, plane, row,
        [&](const Block<T>& block, int64_t lane, std::span<const Output<T>> outputs) {
          add_block(block, lane, outputs, slopes);
        },
        [&](int64_t j) { leave_row(y.low[j], y.high[j]); }, [&](int64_t k) { leave_plane(z.low[k], z.high[k]); });
    const T* from = corners_.data();
    for (const int64_t of_plane : {plane, z.next(plane)})
      for (const int64_t of_row : {row, y.next(row)})
        for (int64_t c = 0; c < item.volume.classes; ++c, from += resampling_.x.stride) {
          T* const to = gradient + item.volume.row_offset(c, of_plane, of_row);
          for (int64_t i = 0; i < item.volume.width; ++i) to[i] += from[i];
        }
  }

 private:
  void add_block(const Block<T>& block, int64_t lane, std::span<const Output<T>> outputs, const Slopes<T>& slopes) {
    const SlotKernels<T>& kernels = slot_kernels<T>();
    const T *const values = walk_.values.data(), *const inverse = walk_.inverse.data();
    kernels.weigh_squares(block, values, inverse, slopes.squares.data(), offsets_.data());
    for (int64_t s = 0; s < block.phases * kChunk<T>; ++s)
      offsets_[s] = walk_.shares[s] * (slopes.entropy - offsets_[s]);
    for (const Output<T>& output : outputs) {
      const int32_t label = walk_.labels[output.at];
      if (label < 0) continue;
      const T own = slopes.products[label] * walk_.probability(output, label);
      offsets_[output.slot] -= own;
      T* const at = nodes_.data() + label * resampling_.x.stride + output.lane;
      at[0] += output.low * (own - slopes.entropy);
      at[1] += output.high * (own - slopes.entropy);
    }
    kernels.add_slopes(block, values, inverse, walk_.shares.data(), slopes.squares.data(), offsets_.data(),
                       nodes_.data() + lane);
  }

  void leave_row(T low, T high) {
    const Slots<T>& x = resampling_.x;
    simd::with_widest([&] {
      for (int64_t at = 0; at < size_; at += x.stride) {
        nodes_[at] += nodes_[at + x.inputs];
        add_to_both(nodes_.data() + at, low, high, x.width, sides_.data() + at, sides_.data() + size_ + at);
      }
    });
    std::fill(nodes_.begin(), nodes_.end(), T(0));
  }

  void leave_plane(T low, T high) {
    const Slots<T>& x = resampling_.x;
    simd::with_widest([&] {
      for (int64_t at = 0; at < 2 * size_; at += x.stride)
        add_to_both(sides_.data() + at, low, high, x.width, corners_.data() + at, corners_.data() + 2 * size_ + at);
    });
    std::fill(sides_.begin(), sides_.end(), T(0));
  }

  const Resampling<T>& resampling_;
  int64_t size_;
  Walk<T> walk_;
  std::vector<T> offsets_;
  // Of one row of outputs; of two rows of inputs in one plane; of these rows in both planes. The first two are zero
  // between calls.
  std::vector<T> nodes_, sides_, corners_;
};

// The items of a call, with what they share.
template <class T>
struct Items {
  const UpsampleDiceCe<T>& input;
  int64_t size;  // of an item's logits
  Resampling<T> resampling;

  explicit Items(const UpsampleDiceCe<T>& from)
      : input(from),
        size(from.classes * from.depth * from.height * from.width),
        resampling(volume(0), from.to_depth, from.to_height, from.to_width) {}
  Volume<T> volume(int64_t b) const {
    return {input.logits.data() + b * size, input.classes, input.depth, input.height, input.width};
  }
  Item<T> operator[](int64_t b) const { return {volume(b), input.labels, b * resampling.outputs()}; }
};

}  // namespace

template <class T>
void upsample_dice_ce(const UpsampleDiceCe<T>& input, const UpsampleDiceCeResult<T>& result) {
  check_finite(input.logits, "logits");
  const Items<T> items(input);
  const Parts parts(input.depth * input.height);
  const int64_t classes = input.classes;
  std::vector<Sums> sums(static_cast<size_t>(input.items * parts.count), Sums(0));
  Pool<Walk<T>> pool([&] { return std::make_unique<Walk<T>>(classes, items.resampling); });
  parallel_for(input.items * parts.count, [&](int64_t task) {
    const int64_t part = task % parts.count;
    pool.lend([&](Walk<T>& walk) {
      sums[task] = sum_rows(walk, items[task / parts.count], parts.begin(part), parts.end(part));
    });
  });
  for (int64_t b = 0; b < input.items; ++b) {
    double* const own = result.sums.data() + b * 3 * classes;
    std::fill_n(own, 3 * classes, 0.0);
    double entropy = 0;
    for (int64_t part = 0; part < parts.count; ++part) {
      const Sums& from = sums[b * parts.count + part];
      entropy += from.entropy;
      for (int64_t c = 0; c < classes; ++c) {
        own[c] += from.products[c];
        own[classes + c] += from.squares[c];
        own[2 * classes + c] += from.counts[c];
      }
    }
    const int64_t first = input.include_background ? 0 : 1;
    double dice = 0;
    for (int64_t c = first; c < classes; ++c)
      dice += dice_numerator(own[c]) / dice_denominator(own[classes + c], own[2 * classes + c]);
    result.losses[2 * b] = static_cast<T>(entropy);
    result.losses[2 * b + 1] = static_cast<T>(1 - dice / static_cast<double>(classes - first));
    result.counts[b] = static_cast<int64_t>(std::accumulate(own + 2 * classes, own + 3 * classes, 0.0));
  }
}

template <class T>
void differentiate_upsample_dice_ce(const UpsampleDiceCe<T>& input, std::span<const T> grad_losses,
                                    std::span<const double> sums, std::span<T> grad_logits) {
  const Items<T> items(input);
  std::vector<Slopes<T>> slopes;
  for (int64_t b = 0; b < input.items; ++b)
    slopes.emplace_back(input, grad_losses.data() + 2 * b, sums.data() + b * 3 * input.classes);
  std::fill(grad_logits.begin(), grad_logits.end(), T(0));
  Pool<Differentiator<T>> pool([&] { return std::make_unique<Differentiator<T>>(input.classes, items.resampling); });
  // Every second plane and every second row at a time.
  for (const int64_t odd_plane : {0, 1})
    for (const int64_t odd_row : {0, 1}) {
      const int64_t planes = (input.depth + 1 - odd_plane) / 2, rows = (input.height + 1 - odd_row) / 2;
      parallel_for(input.items * planes * rows, [&](int64_t task) {
        const int64_t b = task / (planes * rows), place = task % (planes * rows);
        pool.lend([&](Differentiator<T>& differentiator) {
          differentiator.add(items[b], slopes[b], 2 * (place / rows) + odd_plane, 2 * (place % rows) + odd_row,
                             grad_logits.data() + b * items.size);
        });
      });
    }
}

template void upsample_dice_ce(const UpsampleDiceCe<float>&, const UpsampleDiceCeResult<float>&);
template void upsample_dice_ce(const UpsampleDiceCe<double>&, const UpsampleDiceCeResult<double>&);
template void differentiate_upsample_dice_ce(const UpsampleDiceCe<float>&, std::span<const float>,
                                             std::span<const double>, std::span<float>);
template void differentiate_upsample_dice_ce(const UpsampleDiceCe<double>&, std::span<const double>,
                                             std::span<const double>, std::span<double>);

}  // namespace mk::segmentation
