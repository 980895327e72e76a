#include "segmentation/upsample_argmax.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "common/check.h"
#include "common/parallel.h"
#include "segmentation/contenders.h"
#include "segmentation/lanes.h"
#include "segmentation/node_rows.h"
#include "segmentation/pool.h"

namespace mk::segmentation {

namespace {

// An interpolated logit, three means of two products each, and the mean that it is compared with are off by less than
// this many roundings of the greatest logit.
constexpr int kRoundings = 16;

// The inputs of one chunk of one row of outputs, and the classes to choose from. Numbers of classes are kept as the
// bits of a T, as they move together with logits.
template <class T>
struct Chunk {
  const T* rows;
  int64_t stride;
  std::span<const int32_t> classes;
  const T* numbers;
  const T *low, *high;
  T* which;
  int64_t width, phases;  // from one phase to the next in low, high and which
};

template <class L, class T, int Phases>
[[gnu::always_inline]] inline void choose_phases(const Chunk<T>& chunk, int64_t lane, int64_t phase) {
  using Real = typename L::Real;
  using V = typename L::Vector;
  const int64_t place = phase * chunk.width + lane;
  Real low[Phases], high[Phases], best[Phases], which[Phases];
#pragma GCC unroll 4
  for (int p = 0; p < Phases; ++p) {
    low[p] = load_vector<Real>(chunk.low + place + p * chunk.width);
    high[p] = load_vector<Real>(chunk.high + place + p * chunk.width);
    best[p] = V::broadcast(-std::numeric_limits<T>::infinity());
    which[p] = best[p];
  }
  for (size_t i = 0; i < chunk.classes.size(); ++i) {
    const T* const row = chunk.rows + chunk.classes[i] * chunk.stride + lane;
    const Real a = load_vector<Real>(row), b = load_vector<Real>(row + 1), number = V::broadcast(chunk.numbers[i]);
#pragma GCC unroll 4
    for (int p = 0; p < Phases; ++p) L::raise(low[p] * a + high[p] * b, number, best[p], which[p]);
  }
#pragma GCC unroll 4
  for (int p = 0; p < Phases; ++p) store_vector(chunk.which + place + p * chunk.width, which[p]);
}

template <class L, class T>
[[gnu::always_inline]] inline void choose_classes(const Chunk<T>& chunk) {
  for (int64_t lane = 0; lane < kChunk<T>; lane += L::lanes) {
    int64_t phase = 0;
    for (; phase + 4 <= chunk.phases; phase += 4) choose_phases<L, T, 4>(chunk, lane, phase);
    if (phase + 2 <= chunk.phases) {
      choose_phases<L, T, 2>(chunk, lane, phase);
      phase += 2;
    }
    if (phase < chunk.phases) choose_phases<L, T, 1>(chunk, lane, phase);
  }
}

// Each instruction set needs functions of its own marked with its target.
template <class T>
void choose_baseline(const Chunk<T>& chunk) {
  choose_classes<BaselineLanes<T>>(chunk);
}
#if defined(__x86_64__)
template <class T>
[[gnu::target("avx2")]] void choose_avx2(const Chunk<T>& chunk) {
  choose_classes<Avx2Lanes<T>>(chunk);
}
template <class T>
[[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] void choose_avx512(const Chunk<T>& chunk) {
  choose_classes<Avx512Lanes<T>>(chunk);
}
#endif

template <class T>
auto chooser() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return &choose_avx512<T>;
  if (simd::level() == simd::Level::avx2) return &choose_avx2<T>;
#endif
  return &choose_baseline<T>;
}

// Labels outputs; memory for one thread's work.
template <class T>
class Labeller {
 public:
  Labeller(int64_t classes, const Resampling<T>& resampling)
      : resampling_(resampling),
        nodes_(classes, resampling),
        contenders_(classes, resampling.x),
        wins_(static_cast<size_t>(classes)),
        is_wanted_(wins_.size()),
        which_(static_cast<size_t>(resampling.x.phases * resampling.x.width)) {}

  // The outputs between two planes and two rows of inputs of one item, at whose inputs these classes win.
  template <class Label>
  void label(const Volume<T>& volume, const int32_t* winners, int64_t plane, int64_t row, T margin, Label* labels) {
    const Axis<T>&z = resampling_.z, &y = resampling_.y;
    const Slots<T>& x = resampling_.x;
    if (z.first[plane] == z.first[plane + 1] || y.first[row] == y.first[row + 1]) return;
    nodes_.enter_cell(volume, plane, z.next(plane), row, y.next(row));
    const auto own = [&](int64_t in_plane, int64_t in_row) {
      return winners + (in_plane * volume.height + in_row) * volume.width;
    };
    contenders_.enter_cell(
        nodes_, {own(plane, row), own(plane, y.next(row)), own(z.next(plane), row), own(z.next(plane), y.next(row))});
    list_classes(margin);
    for (int64_t k = z.first[plane]; k < z.first[plane + 1]; ++k) {
      nodes_.enter_plane(z.low[k], z.high[k], wanted_);
      for (int64_t j = y.first[row]; j < y.first[row + 1]; ++j) {
        nodes_.enter_row(y.low[j], y.high[j], wanted_);
        choose_row();
        Label* const to = labels + (k * y.to + j) * x.outputs;
        for (int64_t i = 0; i < x.outputs; ++i)
          to[i] = static_cast<Label>(std::bit_cast<typename simd::Format<T>::Int>(which_[x.places[i]]));
      }
    }
  }

 private:
  void list_classes(T margin) {
    classes_.clear();
    numbers_.clear();
    wanted_.clear();
    starts_.assign(1, 0);
    std::fill(is_wanted_.begin(), is_wanted_.end(), uint8_t{0});
    for (int64_t chunk = 0; chunk < resampling_.x.chunks(); ++chunk) {
      contenders_.find(chunk, margin, wins_);
      for (size_t c = 0; c < wins_.size(); ++c)
        if (wins_[c]) {
          classes_.push_back(static_cast<int32_t>(c));
          numbers_.push_back(std::bit_cast<T>(static_cast<typename simd::Format<T>::Int>(c)));
          is_wanted_[c] = 1;
        }
      starts_.push_back(classes_.size());
    }
    for (size_t c = 0; c < is_wanted_.size(); ++c)
      if (is_wanted_[c]) wanted_.push_back(static_cast<int32_t>(c));
  }

  void choose_row() {
    static const auto choose = chooser<T>();
    const Slots<T>& x = resampling_.x;
    for (int64_t chunk = 0; chunk < x.chunks(); ++chunk) {
      const int64_t lane = chunk * kChunk<T>;
      const size_t first = starts_[chunk];
      choose({nodes_.rows() + lane,
              x.stride,
              {classes_.data() + first, starts_[chunk + 1] - first},
              numbers_.data() + first,
              x.low.data() + lane,
              x.high.data() + lane,
              which_.data() + lane,
              x.width,
              x.phases});
    }
  }

  const Resampling<T>& resampling_;
  NodeRows<T> nodes_;
  Contenders<T> contenders_;
  std::vector<uint8_t> wins_, is_wanted_;
  std::vector<int32_t> classes_, wanted_;  // those of each chunk, one chunk after the other; those of any
  std::vector<T> numbers_;
  std::vector<size_t> starts_;  // of each chunk in the list
  std::vector<T> which_;
};

}  // namespace

template <class T, class Label>
void upsample_argmax(const UpsampleArgmax<T>& input, std::span<Label> labels) {
  if (labels.empty()) return;
  const Parts parts(input.depth * input.height);
  const int64_t places = parts.rows * input.width, size = input.classes * places;
  const Survey<T> survey(input.logits, input.items, input.classes, places);
  for (const T greatest : survey.sizes)
    if (!std::isfinite(greatest)) check_finite(input.logits, "logits");
  const auto item = [&](int64_t b) {
    return Volume<T>{input.logits.data() + b * size, input.classes, input.depth, input.height, input.width};
  };
  const Resampling<T> resampling(item(0), input.to_depth, input.to_height, input.to_width);
  Pool<Labeller<T>> pool([&] { return std::make_unique<Labeller<T>>(input.classes, resampling); });
  parallel_for(input.items * parts.count, [&](int64_t task) {
    const int64_t b = task / parts.count, part = task % parts.count;
    pool.lend([&](Labeller<T>& labeller) {
      for (int64_t row = parts.begin(part); row < parts.end(part); ++row)
        labeller.label(item(b), survey.winners.data() + b * places, row / input.height, row % input.height,
                       kRoundings * std::numeric_limits<T>::epsilon() * survey.sizes[b],
                       labels.data() + b * resampling.outputs());
    });
  });
}

template void upsample_argmax(const UpsampleArgmax<float>&, std::span<uint8_t>);
template void upsample_argmax(const UpsampleArgmax<float>&, std::span<int32_t>);
template void upsample_argmax(const UpsampleArgmax<double>&, std::span<uint8_t>);
template void upsample_argmax(const UpsampleArgmax<double>&, std::span<int32_t>);

}  // namespace mk::segmentation
