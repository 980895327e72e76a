// A filtered graph by ranks: edges in order of length, numbered 0, 1, ...; a total order, so ties need no care later.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace mk::topology {

struct Edge {
  int32_t u, v;
};

// ranks[i, j] of the edge between i and j; `absent` where there is none. Rows are padded with `absent`.
template <class R>
class RankMatrix {
 public:
  static constexpr R absent = std::numeric_limits<R>::max();
  static constexpr int64_t lanes = 64 / sizeof(R);

  RankMatrix() = default;
  explicit RankMatrix(int64_t size)
      : size_(size), width_((size + lanes - 1) / lanes * lanes), ranks_(size * width_, absent) {}

  int64_t size() const { return size_; }
  int64_t width() const { return width_; }
  R* row(int64_t i) { return ranks_.data() + i * width_; }
  const R* row(int64_t i) const { return ranks_.data() + i * width_; }

  void set(Edge edge, R rank) {
    row(edge.u)[edge.v] = rank;
    row(edge.v)[edge.u] = rank;
  }

 private:
  int64_t size_ = 0, width_ = 0;
  std::vector<R> ranks_;
};

}  // namespace mk::topology
