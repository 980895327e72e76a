#include "topology/cohomology.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "common/parallel.h"
#include "topology/cofacet_queue.h"
#include "topology/rank_graphs.h"

namespace mk::topology {

Components components(int64_t size, const std::vector<Edge>& edges, std::span<const uint32_t> open) {
  std::vector<int32_t> parent(size);
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&](int32_t v) {
    while (parent[v] != v) v = parent[v] = parent[parent[v]];
    return v;
  };
  Components result;
  result.joining.assign(edges.size(), false);
  const size_t count = open.empty() ? edges.size() : open.size();
  for (size_t i = 0; i < count; ++i) {
    const size_t e = open.empty() ? i : open[i];
    const auto [younger, older] = [&] {
      const int32_t a = root(edges[e].u), b = root(edges[e].v);
      return std::pair(std::max(a, b), std::min(a, b));
    }();
    if (younger == older) continue;
    parent[younger] = older;
    result.joining[e] = true;
    result.vertices.push_back(younger);
    result.deaths.push_back(static_cast<uint32_t>(e));
  }
  for (int32_t v = 0; v < size; ++v) {
    if (parent[v] != v) continue;
    result.vertices.push_back(v);
    result.deaths.push_back(Bar::never);
  }
  return result;
}

namespace {

// A simplex of dimension >= 1 is the rank of its longest edge and its other vertices, in decreasing order, packed from
// the high bits down: the order of the numbers is then an order in which every face comes before its cofaces' rank.
using Key = uint64_t;

template <class R>
struct Simplex {
  R rank;
  int count = 0;        // vertices
  int32_t vertices[5];  // ends of the longest edge, then the others in decreasing order
};

template <class Graph>
class Complex {
 public:
  using R = typename Graph::Rank;

  Complex(const Graph& graph, const std::vector<Edge>& edges)
      : graph_(graph), edges_(edges), bits_(std::bit_width(uint64_t(graph.size() - 1))) {}

  const Graph& graph() const { return graph_; }
  const std::vector<Edge>& edges() const { return edges_; }
  R last_rank() const { return static_cast<R>(edges_.size() - 1); }

  Simplex<R> edge(R rank) const { return {rank, 2, {edges_[rank].u, edges_[rank].v}}; }

  Key key(const Simplex<R>& s) const {
    Key key = s.rank;
    for (int i = 2; i < s.count; ++i) key = key << bits_ | static_cast<Key>(s.vertices[i]);
    return key;
  }

  Simplex<R> simplex(Key key, int dim) const {
    Simplex<R> s{};
    s.count = dim + 1;
    for (int i = dim; i >= 2; --i, key >>= bits_) s.vertices[i] = static_cast<int32_t>(key & ((Key{1} << bits_) - 1));
    s.rank = static_cast<R>(key);
    s.vertices[0] = edges_[s.rank].u;
    s.vertices[1] = edges_[s.rank].v;
    return s;
  }

  R rank_of(Key key, int dim) const { return static_cast<R>(key >> (bits_ * (dim - 1))); }

  // The cofacet with one more vertex x; `rank` is the greatest rank of the edges from x to the simplex.
  Key cofacet(const Simplex<R>& s, int32_t x, R rank) const {
    Simplex<R> t{std::max(rank, s.rank), 2, {}};
    int32_t added = x, skipped = -1;
    if (rank > s.rank) {  // x is on the longest edge now: one end of the old one, or another vertex, joins it
      const Edge longest = edges_[rank];
      skipped = longest.u == x ? longest.v : longest.u;
      added = -1;
    }
    int32_t rest[4];
    int n = 0;
    if (added >= 0) {
      for (int i = 2; i < s.count; ++i) rest[n++] = s.vertices[i];
    } else {
      for (int i = 0; i < s.count; ++i)
        if (s.vertices[i] != skipped) rest[n++] = s.vertices[i];
    }
    if (added >= 0) rest[n++] = added;
    for (int i = 1; i < n; ++i)  // insertion sort, decreasing
      for (int j = i; j > 0 && rest[j] > rest[j - 1]; --j) std::swap(rest[j], rest[j - 1]);
    for (int i = 0; i < n; ++i) t.vertices[t.count++] = rest[i];
    return key(t);
  }

  // First vertex that makes a cofacet with the same longest edge, or -1.
  int64_t first_inside(const Simplex<R>& s) const { return graph_.first_within(s.vertices, s.count, s.rank); }

  // Cofacets whose rank is in [low, high].
  template <class Visit>
  void cofacets(const Simplex<R>& s, R low, R high, const Visit& visit) {
    if (s.rank > high) return;
    found_.resize(graph_.width());
    found_ranks_.resize(graph_.width());
    const int64_t found =
        graph_.between(s.vertices, s.count, s.rank >= low ? R(0) : low, high, found_.data(), found_ranks_.data());
    for (int64_t i = 0; i < found; ++i)
      visit(std::max(s.rank, found_ranks_[i]), cofacet(s, found_[i], found_ranks_[i]));
  }

  // The oldest cofacet.
  std::optional<Key> oldest_cofacet(const Simplex<R>& s) {
    const int64_t inside = first_inside(s);
    if (inside >= 0) return cofacet(s, static_cast<int32_t>(inside), s.rank);
    found_ranks_.resize(graph_.width());
    const R rank = graph_.least(s.vertices, s.count, found_ranks_.data());
    if (rank == Graph::absent) return std::nullopt;
    const Edge longest = edges_[rank];
    const bool u_is_old = std::find(s.vertices, s.vertices + s.count, longest.u) != s.vertices + s.count;
    return cofacet(s, u_is_old ? longest.v : longest.u, rank);
  }

  // The youngest facet of a simplex of dimension >= 2: without the least of the vertices off its longest edge.
  static Simplex<R> youngest_facet(const Simplex<R>& t) {
    Simplex<R> s = t;
    --s.count;
    return s;
  }

  // An apparent pair is a facet and a cofacet that are each other's youngest facet and oldest cofacet; it is a bar of
  // length zero. The facet of the pair that t is in, if there is one.
  std::optional<Simplex<R>> apparent_facet(const Simplex<R>& t) const {
    const Simplex<R> s = youngest_facet(t);
    if (first_inside(s) != t.vertices[t.count - 1]) return std::nullopt;
    return s;
  }

  bool is_apparent_facet(const Simplex<R>& s) const {
    const int64_t x = first_inside(s);
    return x >= 0 && (s.count == 2 || x < s.vertices[s.count - 1]);
  }

 private:
  const Graph& graph_;
  const std::vector<Edge>& edges_;
  int bits_;
  std::vector<int32_t> found_;
  std::vector<R> found_ranks_;
};

// Reduces the coboundary matrix of one dimension.
template <class Graph>
class Reduction {
 public:
  using R = typename Graph::Rank;

  Reduction(Complex<Graph>& complex, int dim) : complex_(complex), dim_(dim) {}

  // Columns come in decreasing order.
  void add(const Simplex<R>& column, std::vector<Bar>& bars) {
    const std::optional<Key> oldest = complex_.oldest_cofacet(column);
    if (!oldest) {
      bars.push_back({column.rank, Bar::never});
      return;
    }
    const Key key = complex_.key(column);
    std::optional<Key> pivot = oldest;
    members_.assign(1, key);
    if (is_taken(*oldest)) pivot = reduce(*oldest);
    if (!pivot) {
      bars.push_back({column.rank, Bar::never});
      return;
    }
    const R death = complex_.rank_of(*pivot, dim_ + 1);
    if (death != column.rank) bars.push_back({column.rank, death});
    pivots_.emplace(*pivot, static_cast<uint32_t>(columns_.size()));
    columns_.push_back(members_);
  }

  bool is_pivot(Key key) const { return pivots_.contains(key); }

 private:
  bool is_taken(Key cofacet) const {
    return pivots_.contains(cofacet) || complex_.apparent_facet(complex_.simplex(cofacet, dim_ + 1)).has_value();
  }

  // Adds earlier columns to members_[0] until the oldest cofacet that is left is nobody's pivot. Only cofacets with
  // ranks up to `high_` are held; when they have all cancelled, the window moves on.
  std::optional<Key> reduce(Key oldest) {
    const R last = complex_.last_rank();
    uint64_t step = std::max(kLeastWindow, uint64_t(last) / 64);
    R low = complex_.rank_of(oldest, dim_ + 1);
    high_ = static_cast<R>(std::min<uint64_t>(last, low + step));
    queue_.open(low, high_);
    push_cofacets(complex_.simplex(members_[0], dim_), low);
    for (;;) {
      check_interrupt();
      const std::optional<Key> pivot = queue_.pop();
      if (!pivot) {
        if (high_ == last) return std::nullopt;
        low = high_ + 1;
        step = std::min(2 * step, std::max(kLeastWindow, uint64_t(last) / 8));
        high_ = static_cast<R>(std::min<uint64_t>(last, high_ + step));
        queue_.open(low, high_);
        CofacetQueue::keep_odd(members_);
        for (const Key member : members_) push_cofacets(complex_.simplex(member, dim_), low);
        continue;
      }
      const R rank = complex_.rank_of(*pivot, dim_ + 1);
      if (const auto taken = pivots_.find(*pivot); taken != pivots_.end()) {
        queue_.push(rank, *pivot);
        for (const Key member : columns_[taken->second]) {
          members_.push_back(member);
          push_cofacets(complex_.simplex(member, dim_), rank);
        }
      } else if (const auto facet = complex_.apparent_facet(complex_.simplex(*pivot, dim_ + 1))) {
        queue_.push(rank, *pivot);
        members_.push_back(complex_.key(*facet));
        push_cofacets(*facet, rank);
      } else {
        CofacetQueue::keep_odd(members_);
        return pivot;
      }
    }
  }

  void push_cofacets(const Simplex<R>& s, R low) {
    complex_.cofacets(s, low, high_, [&](R rank, Key cofacet) { queue_.push(rank, cofacet); });
  }

  // Ranks. A window that is too wide holds cofacets that are never looked at, one too narrow enumerates them again.
  static constexpr uint64_t kLeastWindow = 1024;

  Complex<Graph>& complex_;
  int dim_;
  std::unordered_map<Key, uint32_t> pivots_;
  std::vector<std::vector<Key>> columns_;
  std::vector<Key> members_;
  CofacetQueue queue_;
  R high_ = 0;
};

// The simplices of one dimension that are left as columns, in decreasing order: those in no apparent pair, and no
// pivots of the dimension below (a simplex that ends a class begins none).
template <class Graph, class IsPivot>
std::vector<Key> columns_of(const Complex<Graph>& complex, int dim, const std::vector<bool>& joining,
                            const IsPivot& is_pivot) {
  using R = typename Graph::Rank;
  const Graph& graph = complex.graph();
  const int64_t count = static_cast<int64_t>(complex.edges().size());
  constexpr int64_t block = 256;
  std::vector<std::vector<Key>> found((count + block - 1) / block);
  parallel_for(static_cast<int64_t>(found.size()), [&](int64_t b) {
    std::vector<int32_t> inside(graph.width() * dim);
    std::vector<R> ranks(graph.width());
    // Adds vertices below the last one, as long as the longest edge stays the same.
    const auto visit = [&](const Simplex<R>& s, const auto& self) -> void {
      if (s.count == dim + 1) {
        if (complex.is_apparent_facet(s)) return;
        if (dim > 1 && (complex.apparent_facet(s) || is_pivot(complex.key(s)))) return;
        found[b].push_back(complex.key(s));
        return;
      }
      int32_t* const list = inside.data() + (s.count - 2) * graph.width();
      int64_t i = graph.between(s.vertices, s.count, 0, s.rank, list, ranks.data());
      while (i-- > 0) {
        if (s.count > 2 && list[i] > s.vertices[s.count - 1]) continue;
        Simplex<R> t = s;
        t.vertices[t.count++] = list[i];
        self(t, self);
      }
    };
    for (int64_t e = count - 1 - b * block; e >= std::max<int64_t>(0, count - (b + 1) * block); --e) {
      if (dim == 1 && joining[e]) continue;
      visit(complex.edge(static_cast<R>(e)), visit);
    }
  });
  std::vector<Key> columns;
  for (const auto& part : found) columns.insert(columns.end(), part.begin(), part.end());
  return columns;
}

// The same for edges, those in no apparent pair being known. The key of an edge is its rank.
std::vector<Key> loop_columns(std::span<const uint32_t> open, const std::vector<bool>& joining) {
  std::vector<Key> columns;
  for (size_t i = open.size(); i-- > 0;)
    if (!joining[open[i]]) columns.push_back(open[i]);
  return columns;
}

}  // namespace

template <class Graph>
std::vector<std::vector<Bar>> cohomology(const Graph& graph, const std::vector<Edge>& edges,
                                         const std::vector<bool>& joining, std::span<const uint32_t> open,
                                         int max_dim) {
  std::vector<std::vector<Bar>> bars(max_dim);
  if (edges.empty()) return bars;
  const int vertex_bits = std::bit_width(uint64_t(graph.size() - 1)), rank_bits = std::bit_width(edges.size());
  if (rank_bits + max_dim * vertex_bits > 64) {
    std::ostringstream message;
    message << "max_dim=" << max_dim << " is too high for " << graph.size() << " points with " << edges.size()
            << " edges: their simplices do not fit in 64 bits; lower max_dim or the threshold";
    throw std::invalid_argument(message.str());
  }
  Complex<Graph> complex(graph, edges);
  std::optional<Reduction<Graph>> below;
  for (int dim = 1; dim <= max_dim; ++dim) {
    const auto columns = dim == 1 && !open.empty()
                             ? loop_columns(open, joining)
                             : columns_of(complex, dim, joining, [&](Key key) { return below->is_pivot(key); });
    Reduction<Graph> reduction(complex, dim);
    for (const Key key : columns) reduction.add(complex.simplex(key, dim), bars[dim - 1]);
    below.emplace(std::move(reduction));
  }
  return bars;
}

template std::vector<std::vector<Bar>> cohomology(const DenseGraph<uint16_t>&, const std::vector<Edge>&,
                                                  const std::vector<bool>&, std::span<const uint32_t>, int);
template std::vector<std::vector<Bar>> cohomology(const DenseGraph<uint32_t>&, const std::vector<Edge>&,
                                                  const std::vector<bool>&, std::span<const uint32_t>, int);
template std::vector<std::vector<Bar>> cohomology(const SparseGraph<uint32_t>&, const std::vector<Edge>&,
                                                  const std::vector<bool>&, std::span<const uint32_t>, int);

}  // namespace mk::topology
