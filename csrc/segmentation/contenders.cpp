#include "segmentation/contenders.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "common/parallel.h"
#include "common/simd.h"
#include "common/widest.h"

namespace mk::segmentation {

namespace {

// Loops over rows, each turned into vectors.
template <class T>
[[gnu::always_inline]] inline void bound_rows(const T* __restrict a, const T* __restrict b, const T* __restrict c,
                                              const T* __restrict d, int64_t width, T* __restrict top,
                                              T* __restrict bottom) {
  for (int64_t i = 0; i < width; ++i) {
    const T above = a[i] > b[i] ? a[i] : b[i], over = c[i] > d[i] ? c[i] : d[i];
    const T below = a[i] < b[i] ? a[i] : b[i], under = c[i] < d[i] ? c[i] : d[i];
    top[i] = above > over ? above : over;
    bottom[i] = below < under ? below : under;
  }
}

template <class T>
[[gnu::always_inline]] inline void bound_lanes(const T* __restrict top, const T* __restrict bottom, int64_t width,
                                               T* __restrict reach, T* __restrict least) {
  for (int64_t i = 0; i < width; ++i) {
    const T low = bottom[i] < bottom[i + 1] ? bottom[i] : bottom[i + 1];
    reach[i] = top[i] > top[i + 1] ? top[i] : top[i + 1];
    least[i] = low > least[i] ? low : least[i];
  }
}

template <class T, class Int>
[[gnu::always_inline]] inline Int raise_greatest(const T* __restrict row, Int number, int64_t width,
                                                 T* __restrict greatest, Int* __restrict winners) {
  // Sizes are in the order of their bits, as integers, with infinity and NaN above all others.
  constexpr Int size_bits = std::numeric_limits<Int>::max();
  Int size = 0;
  for (int64_t i = 0; i < width; ++i) {
    const bool above = row[i] > greatest[i];
    winners[i] = above ? number : winners[i];
    greatest[i] = above ? row[i] : greatest[i];
    size = std::max(size, std::bit_cast<Int>(row[i]) & size_bits);
  }
  return size;
}

}  // namespace

template <class T>
Survey<T>::Survey(std::span<const T> logits, int64_t items, int64_t classes, int64_t places)
    : winners(static_cast<size_t>(items * places)) {
  using Int = typename simd::Format<T>::Int;
  constexpr int64_t block = 1024;  // stays in the first-level cache
  const int64_t blocks = (places + block - 1) / block;
  std::vector<Int> greatest_size(static_cast<size_t>(items * blocks));
  parallel_for(items * blocks, [&](int64_t task) {
    const int64_t item = task / blocks, begin = task % blocks * block, count = std::min(block, places - begin);
    std::array<T, block> greatest;
    std::array<Int, block> own{};
    greatest.fill(-std::numeric_limits<T>::infinity());
    simd::with_widest([&] {
      for (Int c = 0; c < classes; ++c) {
        const T* const row = logits.data() + (item * classes + c) * places + begin;
        greatest_size[task] = std::max(greatest_size[task], raise_greatest(row, c, count, greatest.data(), own.data()));
      }
    });
    std::copy_n(own.begin(), count, winners.begin() + item * places + begin);
  });
  for (int64_t b = 0; b < items; ++b)
    sizes.push_back(std::bit_cast<T>(
        *std::max_element(greatest_size.begin() + b * blocks, greatest_size.begin() + (b + 1) * blocks)));
}

template <class T>
Contenders<T>::Contenders(int64_t classes, const Slots<T>& slots)
    : inputs_(slots.inputs),
      width_(slots.width),
      stride_(slots.stride),
      reach_(static_cast<size_t>(classes * stride_)),
      least_(static_cast<size_t>(stride_)),
      top_(least_),
      bottom_(least_) {}

template <class T>
void Contenders<T>::enter_cell(const NodeRows<T>& nodes, const std::array<const int32_t*, 4>& winners) {
  // No class wins beyond the inputs.
  std::fill(least_.begin(), least_.end(), std::numeric_limits<T>::infinity());
  for (int64_t lane = 0; lane < inputs_; ++lane) least_[lane] = least_mean(nodes, winners, lane);
  simd::with_widest([&] {
    for (int64_t at = 0; at < std::ssize(reach_); at += stride_) {
      bound_rows(nodes.corner(0, 0) + at, nodes.corner(0, 1) + at, nodes.corner(1, 0) + at, nodes.corner(1, 1) + at,
                 width_, top_.data(), bottom_.data());
      top_[inputs_] = top_[0];
      bottom_[inputs_] = bottom_[0];
      bound_lanes(top_.data(), bottom_.data(), width_, reach_.data() + at, least_.data());
    }
  });
}

// The least mean of the winners' logits at the eight inputs around a lane.
template <class T>
T Contenders<T>::least_mean(const NodeRows<T>& nodes, const std::array<const int32_t*, 4>& winners,
                            int64_t lane) const {
  const int64_t next = lane + 1 < inputs_ ? lane + 1 : 0;
  int64_t classes[kMostWinners];
  int count = 0;
  for (const int32_t* const row : winners)
    for (const int64_t winner : {row[lane], row[next]}) {
      if (std::find(classes, classes + count, winner) != classes + count) continue;
      if (count == kMostWinners) return -std::numeric_limits<T>::infinity();
      classes[count++] = winner;
    }
  T least = std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < 4; ++i) {
    const T* const corner = nodes.corner(i / 2, i % 2) + lane;
    T first = 0, second = 0;
    for (int j = 0; j < count; ++j) {
      first += corner[classes[j] * stride_] / T(count);
      second += corner[classes[j] * stride_ + 1] / T(count);
    }
    least = std::min({least, first, second});
  }
  return least;
}

template <class T>
void Contenders<T>::find(int64_t chunk, T margin, std::span<uint8_t> wins) const {
  const T* const limit = least_.data() + chunk * kChunk<T>;
  simd::with_widest([&] {
    for (size_t c = 0; c < wins.size(); ++c) {
      const T* const own = reach_.data() + c * stride_ + chunk * kChunk<T>;
      int found = 0;
      for (int64_t k = 0; k < kChunk<T>; ++k) found |= own[k] + margin >= limit[k];
      wins[c] = found != 0;
    }
  });
}

template struct Survey<float>;
template struct Survey<double>;
template class Contenders<float>;
template class Contenders<double>;

}  // namespace mk::segmentation
