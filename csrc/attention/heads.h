// Rows of the heads of a batch, [B, H, N, D], which may lie in memory as [B, N, H, D]: so lie the heads that features
// of a row are split into. Nothing is copied to bring them into another order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "attention/rows.h"
#include "attention/tiles.h"

namespace mk::attention {

// `total` heads of `count` rows of `dims` elements, which together fill their memory.
template <class T>
struct HeadRows {
  T* data;
  int64_t total, count, dims;
  int64_t heads;  // of an item of the batch
  int64_t item_step, head_step, row_step;

  T* head(int64_t i) const { return data + i / heads * item_step + i % heads * head_step; }
  T* row(int64_t i, int64_t number) const { return head(i) + number * row_step; }
};

// Tiles of up to kTile rows of one head: where they stand if products may read them there, else in a buffer. What is
// read behind the end of a row is a number that has to be left unused.
template <class T>
class HeadTiles {
 public:
  HeadTiles(const HeadRows<const T>& rows, int64_t head)
      : rows_(rows.head(head)), count_(rows.count), dims_(rows.dims), own_step_(rows.row_step), step_(own_step_) {}

  // The rows from `first` on, of which `count` are there; those that are not there are zero.
  const T* read(int64_t first, int64_t count) {
    // Products read up to a register more than there is.
    if (count == kTile && (count_ - first - kTile) * own_step_ >= kWidth<T>) {
      step_ = own_step_;
      return rows_ + first * own_step_;
    }
    step_ = padded<T>(dims_);
    if (held_ != first) {
      buffer_.assign(static_cast<size_t>(kTile * step_), T(0));
      for (int64_t i = 0; i < count; ++i)
        std::copy_n(rows_ + (first + i) * own_step_, dims_, buffer_.data() + i * step_);
      held_ = first;
    }
    return buffer_.data();
  }
  int64_t step() const { return step_; }  // between the rows that were read last

 private:
  const T* rows_;
  int64_t count_, dims_, own_step_, step_;
  int64_t held_ = -1;  // first row in the buffer
  std::vector<T> buffer_;
};

// Checks that all values are finite and returns the greatest size of one.
template <class T>
double greatest_size(const HeadRows<const T>& rows, std::string_view name) {
  const std::span<const T> memory(rows.data, static_cast<size_t>(rows.total * rows.count * rows.dims));
  const double size = greatest_size_in_memory(memory);
  if (!std::isfinite(size)) {  // named by its place in [B, H, N, D]
    std::vector<std::remove_const_t<T>> ordered;
    for (int64_t head = 0; head < rows.total; ++head)
      for (int64_t i = 0; i < rows.count; ++i)
        ordered.insert(ordered.end(), rows.row(head, i), rows.row(head, i) + rows.dims);
    check_finite(std::span<const T>(ordered), name);
  }
  return size;
}

}  // namespace mk::attention
