#include "segmentation/node_rows.h"

#include <algorithm>

#include "common/widest.h"

namespace mk::segmentation {

namespace {

// Of whole chunks.
template <class T>
[[gnu::always_inline]] inline void mix(const T* __restrict a, const T* __restrict b, T low, T high, int64_t width,
                                       T* __restrict to) {
  for (int64_t chunk = 0; chunk < width; chunk += kChunk<T>)
    for (int64_t i = chunk; i < chunk + kChunk<T>; ++i) to[i] = low * a[i] + high * b[i];
}

}  // namespace

template <class T>
NodeRows<T>::NodeRows(int64_t classes, const Resampling<T>& resampling)
    : inputs_(resampling.x.inputs),
      stride_(resampling.x.stride),
      width_(resampling.x.width),
      size_(classes * stride_),
      corners_(static_cast<size_t>(4 * size_)),
      sides_(static_cast<size_t>(2 * size_)),
      rows_(static_cast<size_t>(size_)) {}

template <class T>
void NodeRows<T>::enter_cell(const Volume<T>& volume, int64_t z0, int64_t z1, int64_t y0, int64_t y1) {
  for (int64_t c = 0; c < volume.classes; ++c) {
    T* to = corners_.data() + c * stride_;
    for (const T* from : {volume.row(c, z0, y0), volume.row(c, z0, y1), volume.row(c, z1, y0), volume.row(c, z1, y1)}) {
      std::copy_n(from, inputs_, to);
      to[inputs_] = to[0];
      to += size_;
    }
  }
}

template <class T>
void NodeRows<T>::enter_plane(T low, T high, std::span<const int32_t> classes) {
  simd::with_widest([&] {
    for (const int32_t c : classes)
      for (const int64_t side : {c * stride_, size_ + c * stride_})
        mix(corners_.data() + side, corners_.data() + 2 * size_ + side, low, high, width_, sides_.data() + side);
  });
}

template <class T>
void NodeRows<T>::enter_row(T low, T high, std::span<const int32_t> classes) {
  simd::with_widest([&] {
    for (const int32_t c : classes) {
      T* const row = rows_.data() + c * stride_;
      mix(sides_.data() + c * stride_, sides_.data() + size_ + c * stride_, low, high, width_, row);
      row[inputs_] = row[0];
    }
  });
}

template class NodeRows<float>;
template class NodeRows<double>;

}  // namespace mk::segmentation
