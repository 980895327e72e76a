// Rows of matrices, padded with zeros where loops need that.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "attention/tiles.h"
#include "common/check.h"
#include "common/parallel.h"
#include "common/widest.h"

namespace mk::attention {

// Copies rows of `dims` elements to rows of `stride`, whose other elements are left as they are.
template <class T>
void copy_rows(const T* from, int64_t count, int64_t dims, T* to, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) std::copy_n(from + i * dims, dims, to + i * stride);
}

// All rows, in memory of their own only where they need padding.
template <class T>
class PaddedRows {
 public:
  PaddedRows(std::span<const T> values, int64_t dims) : stride_(padded<T>(dims)), data_(values.data()) {
    if (dims == stride_ || values.empty()) return;
    const int64_t count = std::ssize(values) / dims;
    copy_.resize(static_cast<size_t>(count * stride_));
    data_ = copy_.data();
    parallel_blocks(count, [&](int64_t begin, int64_t end) {
      copy_rows(values.data() + begin * dims, end - begin, dims, copy_.data() + begin * stride_, stride_);
    });
  }
  const T* row(int64_t i) const { return data_ + i * stride_; }
  int64_t stride() const { return stride_; }

 private:
  int64_t stride_;
  const T* data_;
  std::vector<T> copy_;
};

// Tiles of kTile rows of `stride` elements: where they stand if they are whole and need no padding, else in a buffer.
template <class T>
class TileReader {
 public:
  TileReader(const T* rows, int64_t dims, int64_t stride) : rows_(rows), dims_(dims), stride_(stride) {}

  // The rows from `first` on, of which `count` are there; those that are not there are zero.
  const T* read(int64_t first, int64_t count) {
    const T* const from = rows_ + first * dims_;
    if (count == kTile && dims_ == stride_) return from;
    buffer_.assign(static_cast<size_t>(kTile * stride_), T(0));
    copy_rows(from, count, dims_, buffer_.data(), stride_);
    return buffer_.data();
  }

  // Asks for the rows of the tile from `first` on, if it comes before `end`. Processors do so themselves, but not
  // across pages, nor early enough to load one tile while they compute with another.
  void fetch(int64_t first, int64_t end) const {
    if (first >= end) return;
    const auto* const from = reinterpret_cast<const char*>(rows_ + first * dims_);
    const int64_t bytes = std::min(kTile, end - first) * dims_ * int64_t{sizeof(T)};
    constexpr int64_t line = 64;
    for (int64_t at = 0; at < bytes; at += line) __builtin_prefetch(from + at);
  }
  int64_t stride() const { return stride_; }

 private:
  const T* rows_;
  int64_t dims_, stride_;
  std::vector<T> buffer_;
};

// Sizes are in the order of their bits, as integers, with infinity and NaN above all others.
template <class T>
typename simd::Format<T>::Int greatest_bits(const T* values, int64_t count) {
  using Bits = typename simd::Format<T>::Int;
  constexpr Bits size_bits = std::numeric_limits<Bits>::max();
  Bits most = 0;
  simd::with_widest([=, &most]() __attribute__((always_inline)) {
    Bits greatest = 0;
    for (int64_t i = 0; i < count; ++i) {
      const Bits bits = std::bit_cast<Bits>(values[i]) & size_bits;
      greatest = bits > greatest ? bits : greatest;
    }
    most = greatest;
  });
  return most;
}

// Checks that all values are finite and returns the greatest size of one.
template <class T>
double greatest_size(std::span<const T> values, std::string_view name) {
  constexpr int64_t block = 1 << 15;
  const int64_t count = std::ssize(values);
  std::vector<typename simd::Format<T>::Int> greatest(static_cast<size_t>((count + block - 1) / block));
  parallel_for(std::ssize(greatest), [&](int64_t b) {
    greatest[b] = greatest_bits(values.data() + b * block, std::min(block, count - b * block));
  });
  const auto most = greatest.empty() ? 0 : *std::max_element(greatest.begin(), greatest.end());
  const auto size = static_cast<double>(std::bit_cast<T>(most));
  if (!std::isfinite(size)) check_finite(values, name);
  return size;
}

// Sums over this many keys, as powers of 2, may not overflow.
constexpr int kSpareBits = 40;

template <class T>
[[noreturn]] void refuse_size(std::string_view name, std::string_view of, double logarithm) {
  std::ostringstream message;
  message << name << " must be small enough for " << of << " of at most 2^"
          << std::numeric_limits<T>::max_exponent - kSpareBits << ", but some can reach 2^" << std::ceil(logarithm);
  throw std::invalid_argument(message.str());
}

// Throws if values of this greatest size could overflow in sums.
template <class T>
void check_summand_size(double size, std::string_view name) {
  const double logarithm = std::log2(size);
  if (logarithm > std::numeric_limits<T>::max_exponent - kSpareBits) refuse_size<T>(name, "values", logarithm);
}

// Throws if values are not finite, or so large that their sums could overflow.
template <class T>
void check_summands(std::span<const T> values, std::string_view name) {
  check_summand_size<T>(greatest_size(values, name), name);
}

// Throws if a sum of `terms` products of queries and keys of these greatest sizes, times `scale`, could be too large.
template <class T>
void check_score_sizes(double queries, double keys, std::string_view keys_name, int64_t terms, double scale) {
  // The logarithms, as the product may be too large for double.
  const double logarithm =
      std::log2(queries) + std::log2(keys) + std::log2(static_cast<double>(terms)) + std::max(0.0, std::log2(scale));
  if (logarithm > std::numeric_limits<T>::max_exponent - kSpareBits)
    refuse_size<T>("q and " + std::string(keys_name), "scores", logarithm);
}

// Throws if queries or keys are not finite, or if a sum of `dims` of their products, times `scale`, could be too large.
template <class T>
void check_scores(std::span<const T> queries, std::span<const T> keys, std::string_view keys_name, int64_t dims,
                  double scale) {
  const double queries_size = greatest_size(queries, "q");
  check_score_sizes<T>(queries_size, greatest_size(keys, keys_name), keys_name, dims, scale);
}

}  // namespace mk::attention
