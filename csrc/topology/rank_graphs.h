// The two ways in which cohomology looks at a filtered graph: a matrix of ranks, and lists of neighbours.
// Both answer the same questions on the vertices x that are adjacent to all of some given vertices; m(x) is the
// greatest rank of those edges.
#pragma once

#include <algorithm>
#include <vector>

#include "topology/rank_rows.h"
#include "topology/ranks.h"

namespace mk::topology {

template <class R>
class DenseGraph {
 public:
  using Rank = R;
  static constexpr R absent = RankMatrix<R>::absent;

  explicit DenseGraph(const RankMatrix<R>& ranks) : ranks_(ranks), rows_(rank_rows<R>()) {}

  int64_t size() const { return ranks_.size(); }
  // The greatest number of vertices that `between` can find; a multiple of what it writes at once.
  int64_t width() const { return ranks_.width(); }

  // First x with m(x) <= limit, or -1.
  int64_t first_within(const int32_t* vertices, int count, R limit) const {
    const R* rows[5];
    return rows_.first_within(row_list(vertices, count, rows), count, width(), limit);
  }

  // All x with low <= m(x) <= high, in order, and m(x); returns how many.
  int64_t between(const int32_t* vertices, int count, R low, R high, int32_t* x, R* m) const {
    const R* rows[5];
    return rows_.between(row_list(vertices, count, rows), count, width(), low, high, x, m);
  }

  // Least m(x), or `absent`. `scratch` holds width() values.
  R least(const int32_t* vertices, int count, R* scratch) const {
    const R* rows[5];
    rows_.greatest(row_list(vertices, count, rows), count, width(), scratch);
    return rows_.least(scratch, width());
  }

 private:
  const R* const* row_list(const int32_t* vertices, int count, const R** rows) const {
    for (int i = 0; i < count; ++i) rows[i] = ranks_.row(vertices[i]);
    return rows;
  }

  const RankMatrix<R>& ranks_;
  const RankRows<R>& rows_;
};

template <class R>
class SparseGraph {
 public:
  using Rank = R;
  static constexpr R absent = RankMatrix<R>::absent;

  SparseGraph(int64_t size, const std::vector<Edge>& edges) : first_(size + 1, 0), neighbours_(2 * edges.size()) {
    for (const Edge& e : edges) {
      ++first_[e.u + 1];
      ++first_[e.v + 1];
    }
    for (int64_t v = 0; v < size; ++v) {
      width_ = std::max(width_, first_[v + 1]);
      first_[v + 1] += first_[v];
    }
    std::vector<int64_t> next(first_.begin(), first_.end() - 1);
    for (size_t e = 0; e < edges.size(); ++e) {
      neighbours_[next[edges[e].u]++] = {edges[e].v, static_cast<R>(e)};
      neighbours_[next[edges[e].v]++] = {edges[e].u, static_cast<R>(e)};
    }
    for (int64_t v = 0; v < size; ++v)
      std::sort(neighbours_.begin() + first_[v], neighbours_.begin() + first_[v + 1],
                [](const Neighbour& a, const Neighbour& b) { return a.vertex < b.vertex; });
  }

  int64_t size() const { return static_cast<int64_t>(first_.size()) - 1; }
  int64_t width() const { return width_; }

  int64_t first_within(const int32_t* vertices, int count, R limit) const {
    int64_t found = -1;
    walk(vertices, count, [&](int32_t x, R m) {
      if (m > limit) return true;
      found = x;
      return false;
    });
    return found;
  }

  int64_t between(const int32_t* vertices, int count, R low, R high, int32_t* x, R* m) const {
    int64_t found = 0;
    walk(vertices, count, [&](int32_t vertex, R rank) {
      if (rank < low || rank > high) return true;
      x[found] = vertex;
      m[found++] = rank;
      return true;
    });
    return found;
  }

  R least(const int32_t* vertices, int count, R*) const {
    R low = absent;
    walk(vertices, count, [&](int32_t, R m) {
      low = std::min(low, m);
      return true;
    });
    return low;
  }

 private:
  struct Neighbour {
    int32_t vertex;
    R rank;
  };

  // Calls visit(x, m(x)) in the order of x until it returns false: the lists are merged.
  template <class Visit>
  void walk(const int32_t* vertices, int count, const Visit& visit) const {
    const Neighbour* at[5] = {};
    const Neighbour* end[5] = {};
    for (int i = 0; i < count; ++i) {
      at[i] = neighbours_.data() + first_[vertices[i]];
      end[i] = neighbours_.data() + first_[vertices[i] + 1];
    }
    int agreeing = 0, i = 0;  // how many lists stand at the same vertex, up to the list i
    int32_t x = 0;
    R m = 0;
    for (;;) {
      while (at[i] != end[i] && at[i]->vertex < x) ++at[i];
      if (at[i] == end[i]) return;
      if (at[i]->vertex > x || agreeing == 0) {
        x = at[i]->vertex;
        m = 0;
        agreeing = 0;
      }
      m = std::max(m, at[i]->rank);
      if (++agreeing == count) {
        if (!visit(x, m)) return;
        agreeing = 0;
        ++x;
      }
      i = (i + 1) % count;
    }
  }

  std::vector<int64_t> first_;
  std::vector<Neighbour> neighbours_;
  int64_t width_ = 0;
};

}  // namespace mk::topology
