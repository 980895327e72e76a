// One Wasserstein distance of order 1, by a team of threads of a CUDA device. The methods are those of alignment.cpp
// and assignment.cpp; here the columns of a row are shared out among the threads, and costs are computed, not stored.
#pragma once

#include <cstdint>

#include "topology/bar_cost.h"

namespace mk::cuda {

using topology::Ground;

// Finite bars, sorted by birth + death; bars that are all born together are sorted by death.
struct DeviceBars {
  const double *birth, *death;
  int32_t count, one_birth;
};

// A step of the sweep in align_lengths.
struct Offer {
  double key;
  int32_t element;
};

// Memory of one team, for pairs of diagrams with up to `rows` and `columns` bars, rows <= columns.
struct PairWork {
  double *row_price, *column_price, *distance;
  int32_t *column_of, *row_of, *previous;
  uint8_t* settled;
  Offer* offers;  // 4 (rows + columns + 1)
  uint8_t* side;  // rows + columns + 1

  template <class Arena>
  __host__ __device__ static PairWork take(Arena& arena, int64_t rows, int64_t columns) {
    PairWork work;
    work.row_price = arena.template take<double>(rows);
    work.column_price = arena.template take<double>(columns);
    work.distance = arena.template take<double>(columns);
    work.column_of = arena.template take<int32_t>(rows);
    work.row_of = arena.template take<int32_t>(columns);
    work.previous = arena.template take<int32_t>(columns);
    work.settled = arena.template take<uint8_t>(columns);
    work.offers = arena.template take<Offer>(4 * (rows + columns + 1));
    work.side = arena.template take<uint8_t>(rows + columns + 1);
    return work;
  }
};

// The nearest of some columns; the first of several.
struct Nearest {
  double distance;
  int32_t column;
};

__host__ __device__ inline Nearest nearer(const Nearest& x, const Nearest& y) {
  return x.distance < y.distance || (x.distance == y.distance && x.column < y.column) ? x : y;
}

template <Ground ground>
__host__ __device__ inline double pair_cost(const DeviceBars& a, int32_t i, const DeviceBars& b, int32_t j) {
  const double birth_gap = a.birth[i] - b.birth[j], death_gap = a.death[i] - b.death[j];
  if constexpr (ground == Ground::euclidean) return sqrt(birth_gap * birth_gap + death_gap * death_gap);
  return fmax(fabs(birth_gap), fabs(death_gap));
}

template <Ground ground>
__host__ __device__ inline double diagonal_cost(const DeviceBars& a, int32_t i) {
  return topology::kToDiagonal<ground> * (a.death[i] - a.birth[i]);
}

// The cost of a best matching of bars that are born together: by one thread, in time linear in the bars.
template <Ground ground>
__host__ __device__ double align_lengths(const DeviceBars& a, const DeviceBars& b, const PairWork& work) {
  constexpr double leave = topology::kToDiagonal<ground>, infinity = __builtin_huge_val();
  const int32_t total = a.count + b.count, room = total + 1;
  Offer* own[2] = {work.offers, work.offers + room};
  Offer* other[2] = {work.offers + 2 * room, work.offers + 3 * room};
  for (int kind = 0; kind < 2; ++kind) *own[kind] = *other[kind] = {-infinity, total};

  for (int32_t i = 0, j = 0; i + j < total;) {
    const double next_a = i < a.count ? a.death[i] - a.birth[i] : infinity;
    const double next_b = j < b.count ? b.death[j] - b.birth[j] : infinity;
    const int kind = next_b < next_a;
    const double length = kind ? next_b : next_a;
    const int32_t element = kind ? a.count + j++ : i++;
    Offer*& stack = own[kind]->key > other[kind]->key ? own[kind] : other[kind];
    const Offer offer = *stack;
    const double key = (1 - leave) * length;
    if (key < offer.key) {
      --stack;
      *++own[kind] = {key, element};
      work.side[element] = static_cast<uint8_t>(kind);
      *++other[1 - kind] = {2 * length - offer.key, offer.element};
      work.side[offer.element] = static_cast<uint8_t>(1 - kind);
    } else {
      *++other[1 - kind] = {(1 + leave) * length, element};
      work.side[element] = static_cast<uint8_t>(1 - kind);
    }
  }

  double cost = 0;
  int32_t j = 0;
  const auto matched_b = [&](int32_t at) { return work.side[a.count + at] == 1; };
  for (int32_t i = 0; i < a.count; ++i) {
    if (work.side[i] != 0) {
      cost += diagonal_cost<ground>(a, i);
      continue;
    }
    while (!matched_b(j)) cost += diagonal_cost<ground>(b, j++);
    cost += pair_cost<ground>(a, i, b, j++);
  }
  for (; j < b.count; ++j) cost += diagonal_cost<ground>(b, j);
  return cost;
}

// Shortest augmenting path from row `first`; all threads of the team call it.
template <Ground ground, class Team>
__host__ __device__ void augment(const DeviceBars& a, const DeviceBars& b, int32_t first, const PairWork& work,
                                 Team& team) {
  for (int32_t j = team.rank(); j < b.count; j += team.size()) {
    work.distance[j] = __builtin_huge_val();
    work.settled[j] = 0;
  }
  int32_t row = first, end_row = first, end_column = -1;
  // Distances from the first row all hold the same constant, so its price may begin at 0.
  double reached = 0, best = diagonal_cost<ground>(a, first);
  for (;;) {
    const double base = reached - (row == first ? 0 : work.row_price[row]);
    Nearest found{best, b.count};
    for (int32_t j = team.rank(); j < b.count; j += team.size()) {
      if (work.settled[j]) continue;
      const double saved = diagonal_cost<ground>(b, j) + work.column_price[j];
      const double distance = base + (pair_cost<ground>(a, row, b, j) - saved);
      if (distance < work.distance[j]) {
        work.distance[j] = distance;
        work.previous[j] = row;
      }
      if (work.distance[j] < found.distance) found = {work.distance[j], j};
    }
    found = team.nearest(found);
    if (found.column == b.count) break;
    if (work.row_of[found.column] < 0) {
      best = found.distance;
      end_column = found.column;
      break;
    }
    reached = found.distance;
    row = work.row_of[found.column];
    if (found.column % team.size() == team.rank()) work.settled[found.column] = 1;
    const double leaving = reached + (diagonal_cost<ground>(a, row) - work.row_price[row]);
    if (leaving < best) {
      best = leaving;
      end_row = row;
    }
  }

  for (int32_t j = team.rank(); j < b.count; j += team.size()) {
    if (!work.settled[j]) continue;
    const double slack = best - work.distance[j];
    work.column_price[j] -= slack;
    work.row_price[work.row_of[j]] += slack;
  }
  team.sync();
  if (team.rank() == 0) {
    work.row_price[first] = best;
    int32_t column = end_column;
    if (column < 0) {
      column = work.column_of[end_row];
      work.column_of[end_row] = -1;
    }
    while (column >= 0) {
      const int32_t taker = work.previous[column], left = work.column_of[taker];
      work.row_of[column] = taker;
      work.column_of[taker] = column;
      column = left;
    }
  }
  team.sync();
}

// The cost of a best matching of a.count <= b.count bars; all threads call it and get the result.
template <Ground ground, class Team>
__host__ __device__ double assign(const DeviceBars& a, const DeviceBars& b, const PairWork& work, Team& team) {
  for (int32_t j = team.rank(); j < b.count; j += team.size()) {
    work.column_price[j] = 0;
    work.row_of[j] = -1;
  }
  for (int32_t i = team.rank(); i < a.count; i += team.size()) {
    work.row_price[i] = 0;
    work.column_of[i] = -1;
  }
  team.sync();
  for (int32_t i = 0; i < a.count; ++i) augment<ground>(a, b, i, work, team);
  double cost = 0;
  for (int32_t i = team.rank(); i < a.count; i += team.size()) {
    const int32_t j = work.column_of[i];
    cost += j < 0 ? diagonal_cost<ground>(a, i) : pair_cost<ground>(a, i, b, j);
  }
  for (int32_t j = team.rank(); j < b.count; j += team.size())
    if (work.row_of[j] < 0) cost += diagonal_cost<ground>(b, j);
  return team.sum(cost);
}

// The cost of a best matching; all threads of the team call it and get the result.
template <Ground ground, class Team>
__host__ __device__ double match_bars(const DeviceBars& a, const DeviceBars& b, const PairWork& work, Team& team) {
  if (a.count > 0 && b.count > 0 && a.one_birth && b.one_birth && a.birth[0] == b.birth[0])
    return team.sum(team.rank() == 0 ? align_lengths<ground>(a, b, work) : 0.0);
  return a.count <= b.count ? assign<ground>(a, b, work, team) : assign<ground>(b, a, work, team);
}

}  // namespace mk::cuda
