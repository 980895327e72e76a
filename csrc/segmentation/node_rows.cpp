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
      corners_{std::vector<T>(static_cast<size_t>(2 * size_)), std::vector<T>(static_cast<size_t>(2 * size_))},
      sides_(static_cast<size_t>(2 * size_)),
      rows_(static_cast<size_t>(size_)) {}

template <class T>
void NodeRows<T>::copy_row(const Volume<T>& volume, int64_t z0, int64_t z1, int64_t y, T* to) {
  for (int64_t c = 0; c < volume.classes; ++c, to += stride_)
    for (int64_t plane = 0; plane < 2; ++plane) {
      T* const row = to + plane * size_;
      std::copy_n(volume.row(c, plane == 0 ? z0 : z1, y), inputs_, row);
      row[inputs_] = row[0];
    }
}

template <class T>
void NodeRows<T>::enter_cell(const Volume<T>& volume, int64_t z0, int64_t z1, int64_t y0, int64_t y1) {
  if (last_data_ == volume.data && last_plane_ == z0 && last_row_ == y0) {
    turned_ = 1 - turned_;
  } else {
    copy_row(volume, z0, z1, y0, corners_[turned_].data());
  }
  copy_row(volume, z0, z1, y1, corners_[1 - turned_].data());
  last_data_ = volume.data;
  last_plane_ = z0;
  last_row_ = y1;
}

template <class T>
void NodeRows<T>::enter_plane(T low, T high, std::span<const int32_t> classes) {
  simd::with_widest([&] {
    for (const int32_t c : classes)
      for (int64_t row = 0; row < 2; ++row)
        mix(corner(0, row) + c * stride_, corner(1, row) + c * stride_, low, high, width_,
            sides_.data() + row * size_ + c * stride_);
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
