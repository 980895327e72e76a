// Searches for the neighbours of queries in a batch of clouds, exactly, for what knn.cu and ball_query.cu call a rank.
//
// Clouds of up to 3 coordinates and at least 4,096 points: a tree of boxes and a warp a query, about
// O(N log N + Q (k + log N)) where boxes prune. Others: a warp compares its 4 queries with tiles of 128 points,
// O(N Q D); where queries are too few to go round, parts of the points are searched apart and joined. Each entry that a
// list of k takes costs O(k / 32) steps of a warp. In float32 tiles are compared with limits that rounding cannot
// cross, and only points within them in float64: ranks are those of the CPU.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "points/box_tree.cuh"
#include "points/clouds.cuh"
#include "points/lane_list.cuh"
#include "points/neighbours_cuda.h"

namespace mk::cuda::clouds {

constexpr int kWarps = kThreads / kWarp;
constexpr int kSlots = 4;       // points that a lane compares at a time
constexpr int kOwnQueries = 4;  // of a warp, with each of them
constexpr int kTile = kSlots * kWarp;
constexpr int kGroup = kWarps * kOwnQueries;
constexpr int kDepth = 8;  // coordinates of a tile in shared memory
// Points from which on a tree is built. Estimated from the instructions of both, not measured.
constexpr int64_t kTreeFrom = 4096;
constexpr int32_t kNoNumber = std::numeric_limits<int32_t>::max();

// A cloud and who asks.
template <class T>
struct Asked {
  Rows<T> points, queries;
  int64_t first;  // row of the results
};

template <class T>
struct Found {
  int64_t* indices;
  T* squared;
  int64_t k;

  __device__ void write(int64_t row, int64_t place, int32_t number, double distance) const {
    const bool none = number == kNoNumber;
    indices[row * k + place] = none ? -1 : number;
    squared[row * k + place] = static_cast<T>(none ? kInfinity : distance);
  }
};

// The clouds of a launch. Tasks are numbered over all of them.
template <class T, class E>
struct Job {
  const Asked<T>* clouds;
  const int64_t* tasks;  // [count + 1]: the first of each cloud
  int count;
  int itself;    // whether points ask for their own neighbours
  int parts;     // of the points of each cloud
  int32_t room;  // entries of a list, kWarp or a multiple
  E* lists;      // memory for lists of more than kWarp entries
  E* partial;    // [rows, parts, room] where there are several parts
  Found<T> found;

  __device__ int cloud_of(int64_t task) const {
    int low = 0, high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (tasks[middle] <= task)
        low = middle;
      else
        high = middle - 1;
    }
    return low;
  }
  __device__ int entries(const Rows<T>& points) const {
    return static_cast<int>(max(int64_t{1}, min(found.k, int64_t{points.size})));
  }
  template <class Rank>
  __device__ void write(int64_t row, const LaneList<E>& list, int most, const Rank& rank) const {
    const int held = LaneList<E>::blocks(most), lane = threadIdx.x % kWarp;
    for (int64_t block = 0; block * kWarp < found.k; ++block) {
      const E entry = block < held ? list.entry(static_cast<int>(block)) : rank.end();
      if (block * kWarp + lane < found.k)
        found.write(row, block * kWarp + lane, rank.number(entry), rank.squared(entry));
    }
  }
};

// A warp a query.
template <class T, class Rank>
__global__ void __launch_bounds__(kThreads)
    search_trees(Job<T, typename Rank::E> job, BoxTree<T> tree, const uint32_t* sorted, Rank rank) {
  using E = typename Rank::E;
  __shared__ E own_entries[kWarps][kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t number = thread_index() / kWarp;
  E* const memory = job.lists ? job.lists + number * job.room : own_entries[warp];
  for (int64_t task = number; task < job.tasks[job.count]; task += thread_count() / kWarp) {
    const int cloud = job.cloud_of(task);
    const Asked<T>& asked = job.clouds[cloud];
    const TreeShape& shape = tree.shapes[cloud];
    const int64_t place = task - job.tasks[cloud];
    const int64_t own = job.itself ? sorted[shape.first_point + place] - shape.first_point : place;
    double query[kAxes];
    for (int axis = 0; axis < kAxes; ++axis) query[axis] = static_cast<double>(asked.queries.coordinate(own, axis));
    const int most = job.entries(asked.points);
    LaneList<E> list(memory, most, rank.end());
    list.clear();
    search(
        tree, shape, query, [&] { return rank.limit(list.worst()); },
        [&](int64_t leaf) {
          const int32_t point = tree.order[leaf * kWarp + lane];
          const double squared = tree.squared(leaf, query);
          const bool other = point >= 0 && !(rank.skips_self() && point == own);
          list.add(rank.entry(point, squared), other && squared <= rank.limit(list.worst()));
        });
    job.write(asked.first + own, list, most, rank);
  }
}

template <class T>
struct alignas(kOwnQueries * sizeof(T)) Together {
  T values[kOwnQueries];
};

// A block a group of queries and a part of the points, a warp some of the queries.
template <class T, class Rank>
__global__ void __launch_bounds__(kThreads) search_tiles(Job<T, typename Rank::E> job, Rank rank) {
  using E = typename Rank::E;
  __shared__ T tile[kDepth][kTile + 1];
  __shared__ Together<T> asking[mk::points::kMostDimensions][kWarps];
  __shared__ E own_entries[kGroup][kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  E* const memory = job.lists ? job.lists + (int64_t{blockIdx.x} * kGroup + warp * kOwnQueries) * job.room
                              : own_entries[warp * kOwnQueries];
  const int64_t tasks = job.tasks[job.count] * job.parts;
  for (int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int64_t group = task / job.parts;
    const int cloud = job.cloud_of(group);
    const Asked<T>& asked = job.clouds[cloud];
    const Rows<T>&points = asked.points, &queries = asked.queries;
    const int dimensions = points.dimensions;
    const int64_t first = (group - job.tasks[cloud]) * kGroup, own = first + warp * kOwnQueries;
    const int64_t stretch = ((points.size + job.parts - 1) / job.parts + kTile - 1) / kTile * kTile;
    const int64_t begin = task % job.parts * stretch, end = min(int64_t{points.size}, begin + stretch);
    const int most = job.entries(points);
    const auto list_of = [&](int query) { return LaneList<E>(memory + query * job.room, most, rank.end()); };

    __syncthreads();  // queries of the task before are no longer read
    for (int i = threadIdx.x; i < dimensions * kGroup; i += kThreads) {
      const int query = i % kGroup, d = i / kGroup;
      asking[d][query / kOwnQueries].values[query % kOwnQueries] =
          first + query < queries.size ? queries.row(first + query)[d] : T(0);
    }
    T limits[kOwnQueries];  // of sums; none is within a limit of -1
    for (int query = 0; query < kOwnQueries; ++query) {
      list_of(query).clear();
      limits[query] = own + query < queries.size ? rank.template sum_limit<T>(rank.end()) : T(-1);
    }

    for (int64_t from = begin; from < end; from += kTile) {
      bool closed = true;
      for (const T limit : limits) closed &= limit < 0;
      if (__syncthreads_and(closed)) break;
      T sums[kSlots][kOwnQueries] = {};
      for (int before = 0; before < dimensions; before += kDepth) {
        const int depth = min(kDepth, dimensions - before);
        if (before > 0) __syncthreads();
        for (int i = threadIdx.x; i < depth * kTile; i += kThreads) {
          const int point = i / depth, d = i - point * depth;
          tile[d][point] = from + point < end ? points.row(from + point)[before + d] : T(0);
        }
        __syncthreads();
#pragma unroll 4
        for (int d = 0; d < depth; ++d) {
          const Together<T> at = asking[before + d][warp];
#pragma unroll
          for (int slot = 0; slot < kSlots; ++slot) {
            const T value = tile[d][slot * kWarp + lane];
#pragma unroll
            for (int query = 0; query < kOwnQueries; ++query) {
              const T apart = value - at.values[query];
              if constexpr (std::is_same_v<T, float>)
                sums[slot][query] = fmaf(apart, apart, sums[slot][query]);
              else
                sums[slot][query] += apart * apart;
            }
          }
        }
      }
      unsigned near = 0;  // bit query * kSlots + slot
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot)
#pragma unroll
        for (int query = 0; query < kOwnQueries; ++query)
          if (from + slot * kWarp + lane < end && !(sums[slot][query] > limits[query]))
            near |= 1u << (query * kSlots + slot);
      for (unsigned some = __reduce_or_sync(kAllLanes, near); some != 0; some &= some - 1) {
        const int bit = __ffs(static_cast<int>(some)) - 1, query = bit / kSlots;
        const int64_t point = from + bit % kSlots * kWarp + lane;
        const bool may = (near >> bit & 1) != 0 && !(rank.skips_self() && point == own + query);
        double squared = 0;
        if (may) {
          const T* const row = points.row(point);
          for (int d = 0; d < dimensions; ++d) {
            const double apart = static_cast<double>(row[d]) - static_cast<double>(asking[d][warp].values[query]);
            squared += apart * apart;
          }
        }
        LaneList<E> list = list_of(query);
        list.resume();
        list.add(rank.entry(static_cast<int32_t>(point), squared), may && squared <= rank.limit(list.worst()));
        const T limit = rank.template sum_limit<T>(list.worst());
#pragma unroll
        for (int other = 0; other < kOwnQueries; ++other) limits[other] = other == query ? limit : limits[other];
      }
    }

    for (int query = 0; query < kOwnQueries; ++query) {
      if (own + query >= queries.size) break;
      const LaneList<E> list = list_of(query);
      if (job.parts == 1) {
        job.write(asked.first + own + query, list, most, rank);
        continue;
      }
      const int64_t row = group * kGroup + warp * kOwnQueries + query;
      E* const to = job.partial + (row * job.parts + task % job.parts) * job.room;
      for (int block = 0; block < LaneList<E>::blocks(most); ++block) to[block * kWarp + lane] = list.entry(block);
    }
  }
}

// A warp a query: one list of those of all parts.
template <class T, class Rank>
__global__ void __launch_bounds__(kThreads) join_parts(Job<T, typename Rank::E> job, Rank rank) {
  using E = typename Rank::E;
  __shared__ E own_entries[kWarps][kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t number = thread_index() / kWarp;
  E* const memory = job.lists ? job.lists + number * job.room : own_entries[warp];
  for (int64_t row = number; row < job.tasks[job.count] * kGroup; row += thread_count() / kWarp) {
    const int cloud = job.cloud_of(row / kGroup);
    const Asked<T>& asked = job.clouds[cloud];
    const int64_t query = row - job.tasks[cloud] * kGroup;
    if (query >= asked.queries.size) continue;
    const int most = job.entries(asked.points);
    LaneList<E> list(memory, most, rank.end());
    list.clear();
    for (int part = 0; part < job.parts; ++part)
      for (int block = 0; block < LaneList<E>::blocks(most); ++block)
        list.add(job.partial[(row * job.parts + part) * job.room + block * kWarp + lane], true);
    job.write(asked.first + query, list, most, rank);
  }
}

// The launches of a call, on the host's side.
template <class T, class Rank>
class NeighbourSearch {
 public:
  NeighbourSearch(const NeighbourRequest& request, const Rank& rank) : request_(request), rank_(rank) {
    check(cudaDeviceGetAttribute(&processors_, cudaDevAttrMultiProcessorCount, request.place.device),
          "asking for multiprocessors");
    divide();
  }

  int64_t memory() {
    Arena sizes;
    lay_out(sizes);
    return static_cast<int64_t>(sizes.bytes());
  }

  int64_t run() {
    const auto stream = static_cast<cudaStream_t>(request_.place.stream);
    take_arrays(request_.place.allocate, [&](Arena& arena) { return lay_out(arena); });
    start_check(all_, rows_, bad_, stream);
    for (Launch& launch : launches_) start(launch, stream);
    return found_bad(bad_, stream);
  }

 private:
  using E = typename Rank::E;
  static constexpr int64_t kListBytes = int64_t{1} << 28;  // that long lists of a launch may take in all
  static constexpr int64_t kBlocks = 8;                    // of a multiprocessor, with such lists or parts
  static constexpr int64_t kMostPoints = std::numeric_limits<int32_t>::max();  // that are sorted at once

  struct Launch {
    std::vector<Asked<T>> clouds;
    std::unique_ptr<BoxTrees<T>> trees;
    std::vector<int64_t> tasks{0};
    int64_t points = 0;
    int64_t blocks = 1;
    int parts = 1;
    int32_t room = kWarp;
    Asked<T>* clouds_there = nullptr;
    int64_t* tasks_there = nullptr;
    E *lists = nullptr, *partial = nullptr;
  };

  bool itself() const { return request_.queries.empty(); }

  void divide() {
    Launch tiles, trees;
    int64_t row = 0;
    std::vector<Rows<T>> queries;
    for (size_t i = 0; i < request_.points.size(); ++i) {
      const Rows<T> points = rows_of<T>(request_.points[i]);
      all_.push_back(points);
      if (!itself()) queries.push_back(rows_of<T>(request_.queries[i]));
      const Asked<T> asked{points, itself() ? points : queries.back(), row};
      row += asked.queries.size;
      const bool tree = points.dimensions <= kAxes && points.size >= kTreeFrom;
      if (tree && trees.points + points.size > kMostPoints) launches_.push_back(std::exchange(trees, Launch{}));
      Launch& launch = tree ? trees : tiles;
      launch.clouds.push_back(asked);
      launch.points += points.size;
    }
    all_.insert(all_.end(), queries.begin(), queries.end());
    const auto with_tree = launches_.size() + (trees.clouds.empty() ? 0 : 1);
    if (!trees.clouds.empty()) launches_.push_back(std::move(trees));
    if (!tiles.clouds.empty()) launches_.push_back(std::move(tiles));
    for (size_t i = 0; i < launches_.size(); ++i) plan(launches_[i], i < with_tree);
  }

  void plan(Launch& launch, bool with_tree) const {
    int64_t largest = 1;
    for (const Asked<T>& asked : launch.clouds) {
      const int64_t queries = asked.queries.size;
      launch.tasks.push_back(launch.tasks.back() + (with_tree ? queries : (queries + kGroup - 1) / kGroup));
      largest = std::max<int64_t>(largest, asked.points.size);
    }
    const int64_t tasks = launch.tasks.back(), most = std::clamp<int64_t>(request_.k, 1, largest);
    launch.room = static_cast<int32_t>((most + kWarp - 1) / kWarp * kWarp);
    launch.blocks = with_tree ? blocks_for(tasks, kWarp) : std::clamp<int64_t>(tasks, 1, kMostBlocks);
    if (with_tree) {
      std::vector<Rows<T>> clouds;
      for (const Asked<T>& asked : launch.clouds) clouds.push_back(asked.points);
      launch.trees = std::make_unique<BoxTrees<T>>(std::move(clouds));
    } else if (tasks > 0) {
      // No part is so small that its list takes longer than its tiles.
      const int64_t wanted = processors_ * kBlocks / tasks, sensible = largest / std::max<int64_t>(kTreeFrom, 4 * most);
      launch.parts = static_cast<int>(std::max<int64_t>(1, std::min(wanted, sensible)));
      launch.blocks = std::min<int64_t>(tasks * launch.parts, kMostBlocks);
    }
    if (launch.room > kWarp) {
      const int64_t bytes = static_cast<int64_t>(lists_of_block(launch) * launch.room * sizeof(E));
      const int64_t most_blocks = std::clamp<int64_t>(kListBytes / bytes, 1, processors_ * kBlocks);
      launch.blocks = std::min(launch.blocks, most_blocks);
    }
  }

  static int64_t lists_of_block(const Launch& launch) { return launch.trees ? kWarps : kGroup; }

  int lay_out(Arena& arena) {
    rows_ = arena.take<Rows<T>>(std::ssize(all_));
    bad_ = arena.take<int>(1);
    for (Launch& launch : launches_) {
      launch.clouds_there = arena.take<Asked<T>>(std::ssize(launch.clouds));
      launch.tasks_there = arena.take<int64_t>(std::ssize(launch.tasks));
      if (launch.room > kWarp) launch.lists = arena.take<E>(launch.blocks * lists_of_block(launch) * launch.room);
      if (launch.parts > 1) launch.partial = arena.take<E>(launch.tasks.back() * kGroup * launch.parts * launch.room);
      if (launch.trees) launch.trees->lay_out(arena);
    }
    return 0;
  }

  void start(Launch& launch, cudaStream_t stream) const {
    if (launch.tasks.back() == 0) return;
    upload(launch.clouds_there, launch.clouds, stream);
    upload(launch.tasks_there, launch.tasks, stream);
    const Found<T> found{request_.indices, static_cast<T*>(request_.squared), request_.k};
    const auto count = static_cast<int>(launch.clouds.size());
    const Job<T, E> job{launch.clouds_there, launch.tasks_there, count,          itself(), launch.parts,
                        launch.room,         launch.lists,       launch.partial, found};
    const auto blocks = static_cast<unsigned>(launch.blocks);
    if (launch.trees) {
      launch.trees->build(stream);
      search_trees<T, Rank><<<blocks, kThreads, 0, stream>>>(job, launch.trees->tree(), launch.trees->sorted(), rank_);
      launched("searching trees");
      return;
    }
    search_tiles<T, Rank><<<blocks, kThreads, 0, stream>>>(job, rank_);
    launched("searching tiles");
    if (launch.parts == 1) return;
    join_parts<T, Rank><<<blocks, kThreads, 0, stream>>>(job, rank_);
    launched("joining parts");
  }

  const NeighbourRequest& request_;
  Rank rank_;
  int processors_ = 0;
  std::vector<Rows<T>> all_;  // points, then queries
  std::vector<Launch> launches_;
  Rows<T>* rows_ = nullptr;
  int* bad_ = nullptr;
};

}  // namespace mk::cuda::clouds
