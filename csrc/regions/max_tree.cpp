#include "regions/max_tree.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "common/parallel.h"
#include "regions/flood_tree.h"
#include "regions/levels.h"

namespace mk::regions {

namespace {

// A value as an unsigned integer; these are ordered as the values are.
uint32_t key(uint8_t value) { return value; }
uint32_t key(uint16_t value) { return value; }
uint32_t key(int16_t value) { return static_cast<uint16_t>(value) ^ 0x8000u; }
uint32_t key(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value + 0.0f);  // -0 and 0 are equal
  return bits >> 31 ? ~bits : bits | uint32_t{1} << 31;
}
uint64_t key(double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value + 0.0);
  return bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
}

// Radix sort from the last digit to the first, which is stable. 2^11 counts fit the first-level cache.
template <class T>
void sort_elements(std::span<const T> image, std::span<int32_t> order) {
  constexpr int key_bits = 8 * sizeof(T), digit_bits = sizeof(T) <= 2 ? 8 : 11, bins = 1 << digit_bits;
  const auto size = static_cast<int64_t>(image.size());
  const Strips strips({1, size, 1, 4}, 1);
  std::vector<std::vector<int32_t>> places(strips.count, std::vector<int32_t>(bins));
  std::unique_ptr<int32_t[]> other;
  const int32_t* from = nullptr;  // at first, elements in raster order
  int32_t* to = order.data();
  for (int shift = 0; shift < key_bits; shift += digit_bits) {
    const auto for_each = [&](int64_t s, const auto& visit) {
      const auto [first, last] = strips[s];
      for (int64_t i = first; i < last; ++i) {
        const int32_t x = from ? from[i] : static_cast<int32_t>(i);
        visit(x, static_cast<int>((key(image[x]) >> shift) & (bins - 1)));
      }
    };
    parallel_for(strips.count, [&](int64_t s) {
      std::fill(places[s].begin(), places[s].end(), 0);
      for_each(s, [&](int32_t, int digit) { ++places[s][digit]; });
    });
    int32_t place = 0;
    bool equal = false;  // all elements, in this digit
    for (int digit = 0; digit < bins; ++digit) {
      const int32_t before = place;
      for (auto& counts : places) place += std::exchange(counts[digit], place);
      equal |= place - before == size;
    }
    const bool last_digit = shift + digit_bits >= key_bits;
    if (equal && (from || !last_digit)) continue;
    parallel_for(strips.count,
                 [&](int64_t s) { for_each(s, [&](int32_t x, int digit) { to[places[s][digit]++] = x; }); });
    if (!other && !last_digit) other.reset(new int32_t[size]);
    from = std::exchange(to, to == order.data() ? other.get() : order.data());
  }
  if (from != order.data()) std::copy(from, from + size, order.data());
}

// The neighbours of an element, those that touch most others first.
struct Neighbours {
  struct Step {
    int z, y, x;
    int shared_axes() const { return (z == 0) + (y == 0) + (x == 0); }
  };
  std::vector<Step> steps;
  std::vector<int32_t> offsets;
  std::vector<uint32_t> apart;  // of each, the neighbours that do not touch it, and not itself
  std::vector<int32_t> rows;    // offsets to the rows with neighbours

  explicit Neighbours(const Grid& grid) {
    const bool volume = grid.connectivity == 6 || grid.connectivity > 8;
    const int changing = grid.connectivity == 4 || grid.connectivity == 6 ? 1 : grid.connectivity == 26 ? 3 : 2;
    for (int same = 2; same >= 3 - changing; --same)
      for (int z = volume ? -1 : 0; z <= (volume ? 1 : 0); ++z)
        for (int y = -1; y <= 1; ++y)
          for (int x = -1; x <= 1; ++x)
            if (const Step step{z, y, x}; step.shared_axes() == same) steps.push_back(step);
    rows.push_back(0);
    for (const Step& a : steps) {
      offsets.push_back(static_cast<int32_t>((a.z * grid.height + a.y) * grid.width + a.x));
      if (a.x == 0) rows.push_back(offsets.back());
      uint32_t others = 0;
      for (size_t i = 0; i < steps.size(); ++i) {
        const Step& b = steps[i];
        const Step difference{a.z - b.z, a.y - b.y, a.x - b.x};
        const bool far = std::abs(difference.z) > 1 || std::abs(difference.y) > 1 || std::abs(difference.x) > 1;
        others |= uint32_t{far || difference.shared_axes() < 3 - changing} << i;
      }
      apart.push_back(others);
    }
  }
};

// For each element one bit a neighbour: whether it is joined before the element, being higher, or as high and earlier.
template <class T>
void compare_neighbours(std::span<const T> image, const Grid& grid, const Neighbours& neighbours,
                        std::span<int32_t> bits) {
  const Strips strips(grid, 2);
  parallel_for(strips.count, [&](int64_t s) {
    const auto [first, last] = strips[s];
    for (int64_t row = first; row < last; ++row) {
      const int64_t z = row / grid.height, y = row % grid.height;
      const T* const values = image.data() + row * grid.width;
      int32_t* const to = bits.data() + row * grid.width;
      std::fill(to, to + grid.width, 0);
      for (size_t k = 0; k < neighbours.steps.size(); ++k) {
        const auto [dz, dy, dx] = neighbours.steps[k];
        if (z + dz < 0 || z + dz >= grid.depth || y + dy < 0 || y + dy >= grid.height) continue;
        const T* const others = values + neighbours.offsets[k];
        const int64_t begin = dx < 0 ? 1 : 0, end = grid.width - (dx > 0 ? 1 : 0);
        const auto bit = static_cast<int32_t>(uint32_t{1} << k);
        if (neighbours.offsets[k] < 0) {
          for (int64_t x = begin; x < end; ++x) to[x] |= others[x] >= values[x] ? bit : 0;
        } else {
          for (int64_t x = begin; x < end; ++x) to[x] |= others[x] > values[x] ? bit : 0;
        }
      }
    }
  });
}

// The set that an element is in: the way to its root; at the root the number of elements and the canonical one.
struct Set {
  int32_t link;  // another element, or minus the number of elements
  int32_t leader;
};

// Joins elements, level by level in falling order and in raster order within a level. Parents are then right but for
// elements of a component at one level, which lead to one another and at last to the first in raster order; areas are
// right for canonical elements.
template <class T>
void join_elements(std::span<const T> image, const Neighbours& neighbours, const MaxTree& tree) {
  const auto size = static_cast<int64_t>(image.size());
  const std::unique_ptr<Set[]> sets(new Set[size]);
  const auto root = [&](int32_t x) {
    for (;;) {
      const int32_t up = sets[x].link;
      if (up < 0) return x;
      const int32_t next = sets[up].link;
      if (next < 0) return up;
      sets[x].link = next;
      x = next;
    }
  };
  const auto join = [&](int32_t x) {
    auto joined = static_cast<uint32_t>(tree.parent[x]);  // the bits of compare_neighbours
    tree.parent[x] = x;
    sets[x] = {-1, x};
    int32_t set = x, count = 1, lead = x;  // what x is in, its size, and its canonical element, at the level of x
    while (joined != 0) {
      const int k = std::countr_zero(joined);
      joined &= neighbours.apart[k];
      const int32_t other = root(x + neighbours.offsets[k]);
      if (other == set) continue;
      const int32_t others = -sets[other].link;
      int32_t child = sets[other].leader;
      tree.area[child] = others;
      if (child < lead && image[child] == image[x]) std::swap(lead, child);
      tree.parent[child] = lead;
      if (count < others) {
        sets[set].link = other;
        set = other;
      } else {
        sets[other].link = set;
      }
      count += others;
    }
    sets[set] = {-count, lead};
  };
  // What will be needed soon is fetched: elements of one level lie anywhere.
  constexpr int64_t ahead = 12, between_checks = 1 << 16;
  const auto fetch = [&](int32_t x) {
    __builtin_prefetch(&tree.parent[x], 1);
    for (const int32_t offset : neighbours.rows) {
      const int64_t y = int64_t{x} + offset;
      if (y >= 0 && y < size) __builtin_prefetch(&sets[y], 1);
    }
  };
  int64_t joined = 0;
  for (int64_t last = size; last > 0;) {
    int64_t first = last - 1;
    const T level = image[tree.order[first]];
    while (first > 0 && image[tree.order[first - 1]] == level) --first;
    for (int64_t i = first; i < last; ++i) {
      if (++joined % between_checks == 0) check_interrupt();
      if (i + ahead < last) fetch(tree.order[i + ahead]);
      join(tree.order[i]);
    }
    last = first;
  }
  const int32_t top = root(tree.order[0]);
  tree.area[sets[top].leader] = -sets[top].link;
}

// Leads every element to a canonical one. Threads see each other's entries before or after they are final; both lead
// to the same canonical element.
template <class T>
void finish(std::span<const T> image, const Grid& grid, const MaxTree& tree) {
  const auto entry = [&](int32_t x) { return std::atomic_ref<int32_t>(tree.parent[x]); };
  const auto canonical = [&](int32_t x) {
    for (;;) {
      int32_t up = entry(x).load(std::memory_order_relaxed);
      if (up == x || image[up] != image[x]) return x;
      const int32_t next = entry(up).load(std::memory_order_relaxed);
      if (next == up || image[next] != image[x]) return up;
      // Shortens the path, unless another thread has just made the entry final.
      entry(x).compare_exchange_strong(up, next, std::memory_order_relaxed);
      x = next;
    }
  };
  const Strips strips(grid, 2);
  parallel_for(strips.count, [&](int64_t s) {
    const auto [first, last] = strips[s];
    for (int64_t i = first * grid.width; i < last * grid.width; ++i) {
      const auto x = static_cast<int32_t>(i);
      const int32_t up = canonical(entry(x).load(std::memory_order_relaxed));
      entry(x).store(up, std::memory_order_relaxed);
      if (up != x && image[up] == image[x]) tree.area[x] = 1;
    }
  });
}

// The values of a type of 16 bits that occur, as levels from 1 in the order of their keys.
template <class T>
class Ranks {
 public:
  explicit Ranks(std::span<const T> image) : levels_(size_t{1} << 16, uint16_t{0}) {
    for (const T value : image) levels_[key(value)] = 1;
    for (uint16_t& level : levels_)
      if (level != 0) level = static_cast<uint16_t>(++count_);  // wraps where all 65536 occur
  }
  int64_t count() const { return count_; }
  uint16_t operator[](T value) const { return levels_[key(value)]; }

 private:
  std::vector<uint16_t> levels_;
  int64_t count_ = 0;
};

template <class Fill>
void flood_grid(const Grid& grid, int64_t parts, const Fill& fill, const MaxTree& tree) {
  switch (grid.connectivity) {
    case 4: return flood_tree<4>(grid, parts, fill, tree);
    case 8: return flood_tree<8>(grid, parts, fill, tree);
    case 6: return flood_tree<6>(grid, parts, fill, tree);
    case 18: return flood_tree<18>(grid, parts, fill, tree);
    default: return flood_tree<26>(grid, parts, fill, tree);
  }
}

// Floods images of few levels; false for others.
template <class T>
bool flood_image(std::span<const T> image, const Grid& grid, int64_t parts, const MaxTree& tree) {
  constexpr int64_t most_levels = 1 << 12;  // more make long branches, which it takes long to join
  if (Box(grid, 0, Box::length(grid)).places() > std::numeric_limits<int32_t>::max()) return false;
  const auto inside = [&](const Box& box) { return image.subspan(box.first_row() * box.width, box.size()); };
  if constexpr (sizeof(T) == 1) {
    const auto fill = [&](const Box& box, FloodScratch& scratch) {
      fill_bytes(image, box, false, scratch);
      return count_bytes(inside(box), false);
    };
    flood_grid(grid, parts, fill, tree);
    return true;
  } else if constexpr (sizeof(T) == 2) {
    const Ranks<T> ranks(image);
    if (ranks.count() > most_levels) return false;
    const auto fill = [&](const Box& box, FloodScratch& scratch) {
      std::vector<int32_t> counts(ranks.count() + 1, 0);
      fill_levels(image, box, scratch, [&](const T* from, uint16_t* to, int64_t count) {
        for (int64_t x = 0; x < count; ++x) ++counts[to[x] = ranks[from[x]]];
      });
      return counts;
    };
    flood_grid(grid, parts, fill, tree);
    return true;
  } else {
    return false;
  }
}

}  // namespace

template <class T>
void max_tree(std::span<const T> image, const Grid& grid, const MaxTree& tree, int64_t parts) {
  if (image.empty()) return;
  sort_elements(image, tree.order);
  if (flood_image(image, grid, parts > 0 ? parts : Strips(grid, 1).count, tree)) return;
  const Neighbours neighbours(grid);
  compare_neighbours(image, grid, neighbours, tree.parent);
  join_elements(image, neighbours, tree);
  finish(image, grid, tree);
}

template void max_tree<uint8_t>(std::span<const uint8_t>, const Grid&, const MaxTree&, int64_t);
template void max_tree<uint16_t>(std::span<const uint16_t>, const Grid&, const MaxTree&, int64_t);
template void max_tree<int16_t>(std::span<const int16_t>, const Grid&, const MaxTree&, int64_t);
template void max_tree<float>(std::span<const float>, const Grid&, const MaxTree&, int64_t);
template void max_tree<double>(std::span<const double>, const Grid&, const MaxTree&, int64_t);

}  // namespace mk::regions
