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

  // Asks for rows that will be read soon. Processors do so themselves, but not across pages, nor early enough to load
  // one tile while they compute with another.
  void fetch(int64_t i, int64_t first, int64_t wanted) const {
    const auto* const from = reinterpret_cast<const char*>(row(i, first));
    const int64_t bytes = std::min(wanted, count - first) * row_step * int64_t{sizeof(T)};
    constexpr int64_t line = 64;
    for (int64_t at = 0; at < bytes; at += line) __builtin_prefetch(from + at);
  }
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

// The greatest size of a value of [B, H, N, D], found in pieces by those who read the rows, while they are at hand.
template <class T>
class GreatestSize {
 public:
  GreatestSize(const HeadRows<const T>& rows, int64_t pieces) : rows_(rows), found_(static_cast<size_t>(pieces)) {}

  // Looks at `count` rows. Those of heads that lie side by side are looked at with the first of them.
  void look(int64_t piece, int64_t head, int64_t first, int64_t count) {
    const bool side_by_side = rows_.head_step < rows_.row_step;
    if (side_by_side && head % rows_.heads != 0) return;
    const T* const from = rows_.row(head, first);
    const int64_t size = count * (side_by_side ? rows_.heads : 1) * rows_.dims;
    found_[piece] = std::max(found_[piece], greatest_bits(from, size));
  }

  // Once all rows have been looked at. Throws where a value is not finite.
  double result(std::string_view name) const {
    const Bits most = found_.empty() ? 0 : *std::max_element(found_.begin(), found_.end());
    const auto size = static_cast<double>(std::bit_cast<T>(most));
    if (!std::isfinite(size)) {  // named by its place in [B, H, N, D]
      std::vector<T> ordered;
      for (int64_t head = 0; head < rows_.total; ++head)
        for (int64_t i = 0; i < rows_.count; ++i)
          ordered.insert(ordered.end(), rows_.row(head, i), rows_.row(head, i) + rows_.dims);
      check_finite(std::span<const T>(ordered), name);
    }
    return size;
  }

 private:
  using Bits = typename simd::Format<T>::Int;
  const HeadRows<const T>& rows_;
  std::vector<Bits> found_;
};

}  // namespace mk::attention
