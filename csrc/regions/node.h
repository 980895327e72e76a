// A component of an upper level set, as floods find them.
#pragma once

#include <cstdint>
#include <utility>

namespace mk::regions {

inline constexpr int32_t kNone = -1;

// Places are those of `Box`; levels count from 1.
struct Node {
  int32_t begin, end;  // of its elements, in the order in which they are finished
  int32_t first;       // the first place of its lowest level
  int32_t parent;      // the next larger component, or kNone
  int32_t main;        // the largest of the next smaller ones; of several the one that comes before the others
  int32_t level;

  int32_t area() const { return end - begin; }
};

// By lowest level, then by place.
inline bool before(const Node& a, const Node& b) { return std::pair(a.level, a.first) < std::pair(b.level, b.first); }

}  // namespace mk::regions
