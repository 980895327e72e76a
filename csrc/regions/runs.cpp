#include "regions/runs.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace mk::regions {

namespace {

// One bit for each of 8 bytes, set where the byte is not 0.
uint64_t nonzero_bits(uint64_t bytes) {
  constexpr uint64_t low7 = 0x7f7f7f7f7f7f7f7f, top = 0x8080808080808080;
  const uint64_t set = ((((bytes & low7) + low7) | bytes) & top) >> 7;
  return (set * 0x0102040810204080) >> 56;
}

// The same for up to 64 elements.
uint64_t element_bits(const uint8_t* from, int64_t count) {
  uint64_t bits = 0, bytes;
  if (count == 64) {
    for (int i = 0; i < 8; ++i) {
      std::memcpy(&bytes, from + 8 * i, 8);
      if constexpr (std::endian::native == std::endian::big) bytes = __builtin_bswap64(bytes);
      bits |= nonzero_bits(bytes) << (8 * i);
    }
  } else {
    for (int64_t i = 0; i < count; ++i) bits |= uint64_t{from[i] != 0} << i;
  }
  return bits;
}

// Writes where runs start and stop, in turn, and returns behind the last.
int32_t* write_bounds(const uint8_t* row, int64_t width, uint64_t flip, int32_t* to) {
  uint64_t before = 0;
  for (int64_t x = 0; x < width; x += 64) {
    const int64_t count = std::min<int64_t>(64, width - x);
    uint64_t bits = element_bits(row + x, count) ^ flip;
    if (count < 64) bits &= (uint64_t{1} << count) - 1;
    for (uint64_t changes = bits ^ (bits << 1 | before); changes != 0; changes &= changes - 1)
      *to++ = static_cast<int32_t>(x + std::countr_zero(changes));
    before = bits >> 63;
  }
  if (before) *to++ = static_cast<int32_t>(width);
  return to;
}

}  // namespace

RunForest::RunForest(std::span<const uint8_t> mask, const Grid& grid, bool of_zeros)
    : grid_(grid), strips_(grid, 2), begin_(grid.rows()), end_(grid.rows()) {
  const int64_t most = (grid.width + 1) / 2;  // runs of a row
  bounds_.reset(new int32_t[2 * most * grid.rows() + 1]);
  parent_.reset(new uint32_t[most * grid.rows() + 1]);
  parallel_for(strips_.count, [&](int64_t s) {
    const auto [first, last] = strips_[s];
    int64_t run = first * most;
    for (int64_t row = first; row < last; ++row) {
      int32_t* const to = bounds_.get() + 2 * run;
      const int64_t found =
          (write_bounds(mask.data() + row * grid.width, grid.width, of_zeros ? ~uint64_t{0} : 0, to) - to) / 2;
      begin_[row] = static_cast<uint32_t>(run);
      end_[row] = static_cast<uint32_t>(run + found);
      for (int64_t i = run; i < run + found; ++i) parent_[i] = static_cast<uint32_t>(i);
      run += found;
      for_each_link(grid, row, first, row, [&](int64_t other, int reach) { link(row, other, reach); });
    }
  });
  link_strips(grid, strips_, [&](int64_t row, int64_t other, int reach) { link(row, other, reach); });
  number_components();
}

void RunForest::link(int64_t row, int64_t earlier, int reach) {
  const int32_t* const bounds = bounds_.get();
  uint32_t other = begin_[earlier];
  const uint32_t other_end = end_[earlier];
  for (uint32_t run = begin_[row]; run < end_[row]; ++run) {
    const int32_t start = bounds[2 * run] - reach, stop = bounds[2 * run + 1] + reach;
    while (other < other_end && bounds[2 * other + 1] <= start) ++other;
    while (other < other_end && bounds[2 * other] < stop) {
      unite(run, other);
      if (bounds[2 * other + 1] >= stop) break;  // it may touch the next run too
      ++other;
    }
  }
}

void RunForest::unite(uint32_t a, uint32_t b) {
  a = root(a);
  b = root(b);
  parent_[std::max(a, b)] = std::min(a, b);
}

void RunForest::number_components() {
  const int64_t most = (grid_.width + 1) / 2;
  number_.reset(new int32_t[most * grid_.rows() + 1]);
  std::vector<int32_t> before(strips_.count + 1, 0);
  const auto for_each_root = [&](int64_t s, const auto& visit) {
    const auto [first, last] = strips_[s];
    if (first == last) return;
    for (uint32_t run = begin_[first]; run < end_[last - 1]; ++run)
      if (parent_[run] == run) visit(run);
  };
  parallel_for(strips_.count, [&](int64_t s) {
    int32_t roots = 0;
    for_each_root(s, [&](uint32_t) { ++roots; });
    before[s + 1] = roots;
  });
  for (int64_t s = 0; s < strips_.count; ++s) before[s + 1] += before[s];
  parallel_for(strips_.count, [&](int64_t s) {
    int32_t next = before[s];
    for_each_root(s, [&](uint32_t run) { number_[run] = ++next; });
  });
  count_ = before.back();
}

}  // namespace mk::regions
