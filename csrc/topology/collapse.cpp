#include "topology/collapse.h"

#include <algorithm>

#include "common/parallel.h"
#include "topology/rank_rows.h"

namespace mk::topology {

// Where an edge is dominated, the complex with it collapses onto the complex without it, so it may as well enter at the
// first rank at which it is not. Edges are taken from the last to the first: the later ones are then few.
template <class R>
Collapsed collapse(RankMatrix<R>& ranks, const std::vector<Edge>& edges) {
  const RankRows<R>& rows = rank_rows<R>();
  std::vector<R> scratch(2 * ranks.width());
  std::vector<uint32_t> kept, entry(edges.size());
  for (size_t e = edges.size(); e-- > 0;) {
    if (e % 1024 == 0) check_interrupt();
    const R rank = rows.settle(ranks.row(0), ranks.width(), edges[e].u, edges[e].v, scratch.data());
    ranks.set(edges[e], rank);
    if (rank == RankMatrix<R>::absent) continue;
    kept.push_back(static_cast<uint32_t>(e));
    entry[e] = rank;
  }
  std::sort(kept.begin(), kept.end(),
            [&](uint32_t a, uint32_t b) { return entry[a] != entry[b] ? entry[a] < entry[b] : a < b; });
  Collapsed result;
  for (const uint32_t e : kept) {
    result.edges.push_back(edges[e]);
    result.entry.push_back(entry[e]);
  }
  return result;
}

template Collapsed collapse(RankMatrix<uint16_t>&, const std::vector<Edge>&);
template Collapsed collapse(RankMatrix<uint32_t>&, const std::vector<Edge>&);

}  // namespace mk::topology
