// What blocks do that pick the farthest points of clouds.
//
// A cloud belongs to a team of blocks, which is one block where one holds all of it. For up to 3 coordinates points and
// their distances to the nearest pick stay in registers, otherwise in shared memory while they fit, so that a pick
// reads nothing but its own coordinates. Blocks of a team launched together post the farthest of their points and read
// the posts of the others: one launch for all picks. Distances in float32 spare those in float64 that cannot be nearer;
// the latter decide, as on the CPU. Less than 2^32 picks a launch.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "points/clouds.cuh"

namespace mk::cuda::clouds {

constexpr int kTeamThreads = 512;  // most of a block
constexpr int kTeamWarps = kTeamThreads / kWarp;
constexpr int kFewHeld = 4;                   // points of a thread, in registers
constexpr int kMostPosts = kWarp;             // that a lane each can read
constexpr int kFewStored = 2 * kTeamThreads;  // points that a block is worth having for
constexpr uint32_t kNoPoint = std::numeric_limits<uint32_t>::max();

template <class T>
constexpr int kMostHeld = std::is_same_v<T, float> ? 16 : 8;  // with what belongs to them, 96 and 64 registers

template <class T>
struct Sampled {
  Rows<T> cloud;
  int32_t count;
  int64_t first;  // pick of the call
};

// The farthest of some points: its squared distance as bits, which rank as the distances do, and the lowest number of
// equally far ones.
struct Farthest {
  unsigned long long squared = 0;
  uint32_t point = kNoPoint;
};

__device__ inline Farthest farther(const Farthest& a, const Farthest& b) {
  return b.squared > a.squared || (b.squared == a.squared && b.point < a.point) ? b : a;
}

__device__ inline Farthest farthest_of_warp(const Farthest& own) {
  const auto high = static_cast<uint32_t>(own.squared >> 32), low = static_cast<uint32_t>(own.squared);
  const uint32_t most_high = __reduce_max_sync(kAllLanes, high);
  const uint32_t most_low = __reduce_max_sync(kAllLanes, high == most_high ? low : 0);
  const bool is_farthest = high == most_high && low == most_low;
  const uint32_t point = __reduce_min_sync(kAllLanes, is_farthest ? own.point : kNoPoint);
  return {static_cast<unsigned long long>(most_high) << 32 | most_low, point};
}

// What a block tells its team: the farthest of its points, marked with the number of the round.
struct Post {
  unsigned long long squared, mark;  // mark: round << 32 | point
};

__device__ inline unsigned long long peek(const unsigned long long& from) {
  return *static_cast<const volatile unsigned long long*>(&from);
}
__device__ inline void put(unsigned long long& to, unsigned long long value) {
  *static_cast<volatile unsigned long long*>(&to) = value;
}

// Blocks that work on a cloud together, and how they come to one pick. Posts and shared arrays are used in turns: who
// writes the next but one has seen that everyone was done with this one.
struct Team {
  int blocks, block;
  Post* posts;  // [2, blocks]; none where the team is one block
  uint32_t round = 0;

  // The farthest point of all. Threads of a warp hand over the same. Barriers for the whole block.
  __device__ uint32_t agree(const Farthest& own) {
    __shared__ Farthest of_warps[2][kTeamWarps];
    __shared__ uint32_t agreed;
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    ++round;
    if (lane == 0) of_warps[round % 2][warp] = own;
    __syncthreads();
    const int warps = blockDim.x / kWarp;
    const Farthest of_block = farthest_of_warp(lane < warps ? of_warps[round % 2][lane] : Farthest{});
    if (blocks == 1) return of_block.point;
    if (warp == 0) {
      const Farthest of_team = exchange(of_block, lane);
      if (lane == 0) agreed = of_team.point;
    }
    __syncthreads();
    return agreed;
  }

  __device__ Farthest exchange(const Farthest& own, int lane) {
    constexpr int patience = 64;     // looks until a pause
    constexpr unsigned pause = 100;  // nanoseconds
    Post* const turn = posts + round % 2 * blocks;
    if (lane == 0) {
      put(turn[block].squared, own.squared);
      __threadfence();
      put(turn[block].mark, static_cast<unsigned long long>(round) << 32 | own.point);
    }
    Farthest best;
    for (int other = lane; other < blocks; other += kWarp) {
      unsigned long long mark = peek(turn[other].mark);
      for (int looks = 0; mark >> 32 != round; ++looks) {
        if (looks > patience) __nanosleep(pause);
        mark = peek(turn[other].mark);
      }
      __threadfence();
      best = farther(best, {peek(turn[other].squared), static_cast<uint32_t>(mark)});
    }
    return farthest_of_warp(best);
  }
};

__device__ inline Team team_of(int blocks, Post* posts) {
  const int block = static_cast<int>(blockIdx.x) % blocks;
  return {blocks, block, blocks > 1 ? posts + (blockIdx.x - block) * 2 : nullptr};
}

// The points of a thread, up to kMost, in registers. Places without a point have distances of -1.
template <class T, int kMost>
struct HeldPoints {
  T x[kMost], y[kMost], z[kMost];
  double nearest[kMost];
  float limits[kMost];  // what float_limit makes of them
  Farthest farthest;

  // Point i of the thread has the number first + i * step.
  __device__ void read(const Rows<T>& cloud, int64_t first, int64_t step) {
    farthest = {};
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const int64_t point = first + i * step;
      const bool here = point < cloud.size;
      x[i] = here ? cloud.coordinate(point, 0) : T(0);
      y[i] = here ? cloud.coordinate(point, 1) : T(0);
      z[i] = here ? cloud.coordinate(point, 2) : T(0);
      nearest[i] = here ? kInfinity : -1;
      limits[i] = here ? static_cast<float>(kInfinity) : -1;
    }
  }

  // Whether a point came nearer to a pick.
  __device__ bool approach(T pick_x, T pick_y, T pick_z, int64_t first, int64_t step) {
    bool nearer = false;
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      if constexpr (std::is_same_v<T, float>) {
        const float dx = x[i] - pick_x, dy = y[i] - pick_y, dz = z[i] - pick_z;
        if (fmaf(dz, dz, fmaf(dy, dy, dx * dx)) > limits[i]) continue;
      }
      const double dx = static_cast<double>(x[i]) - static_cast<double>(pick_x);
      const double dy = static_cast<double>(y[i]) - static_cast<double>(pick_y);
      const double dz = static_cast<double>(z[i]) - static_cast<double>(pick_z);
      const double squared = dx * dx + dy * dy + dz * dz;
      if (squared < nearest[i]) {
        nearest[i] = squared;
        if constexpr (std::is_same_v<T, float>) limits[i] = float_limit(squared);
        nearer = true;
      }
    }
    if (nearer) {
      double most = -1;
      int place = 0;
#pragma unroll
      for (int i = 0; i < kMost; ++i) {
        if (nearest[i] > most) {
          most = nearest[i];
          place = i;
        }
      }
      farthest = {static_cast<unsigned long long>(__double_as_longlong(most)),
                  static_cast<uint32_t>(first + place * step)};
    }
    return nearer;
  }
};

// A team a cloud, which goes on with that of the next. `copied`: a block alone keeps the rows in shared memory too,
// from where the coordinates of a pick come sooner.
template <class T, int kMost>
__global__ void __launch_bounds__(kTeamThreads, 1)
    sample_held(const Sampled<T>* items, int count, int blocks, int32_t start, int64_t* picks, Post* posts,
                bool copied) {
  extern __shared__ double copy_memory[];
  T* const copy = reinterpret_cast<T*>(copy_memory);
  Team team = team_of(blocks, posts);
  const int teams = static_cast<int>(gridDim.x) / blocks;
  for (int item = static_cast<int>(blockIdx.x) / blocks; item < count; item += teams) {
    const Sampled<T> sampled = items[item];
    Rows<T> cloud = sampled.cloud;
    const int64_t first = int64_t{team.block} * blockDim.x + threadIdx.x, step = int64_t{blocks} * blockDim.x;
    HeldPoints<T, kMost> own;
    own.read(cloud, first, step);
    if (copied) {
      for (int i = threadIdx.x; i < cloud.size * cloud.dimensions; i += blockDim.x) copy[i] = cloud.values[i];
      cloud.values = copy;
      __syncthreads();
    }
    auto pick = static_cast<uint32_t>(start);
    Farthest of_warp;
    for (int32_t i = 0;; ++i) {
      if (team.block == 0 && threadIdx.x == 0) picks[sampled.first + i] = pick;
      if (i + 1 == sampled.count) break;
      const T x = cloud.coordinate(pick, 0), y = cloud.coordinate(pick, 1), z = cloud.coordinate(pick, 2);
      if (__any_sync(kAllLanes, own.approach(x, y, z, first, step))) of_warp = farthest_of_warp(own.farthest);
      pick = team.agree(of_warp);
    }
  }
}

// The same for any number of coordinates, each block with its stretch of the points in `memory`, that of the device or,
// without one, shared memory: coordinates by axes, [D, stretch], and distances to the nearest pick.
template <class T>
__global__ void __launch_bounds__(kTeamThreads, 1)
    sample_stored(const Sampled<T>* items, int count, int blocks, int32_t start, int64_t* picks, Post* posts,
                  char* memory, int64_t bytes) {
  extern __shared__ double shared_memory[];
  __shared__ T pick_values[mk::points::kMostDimensions];
  Team team = team_of(blocks, posts);
  const int teams = static_cast<int>(gridDim.x) / blocks;
  for (int item = static_cast<int>(blockIdx.x) / blocks; item < count; item += teams) {
    const Sampled<T> sampled = items[item];
    const Rows<T>& cloud = sampled.cloud;
    const int64_t stretch = (int64_t{cloud.size} + blocks - 1) / blocks, first = team.block * stretch;
    const auto own = static_cast<int32_t>(max(int64_t{0}, min(stretch, cloud.size - first)));
    double* const nearest = memory ? reinterpret_cast<double*>(memory + blockIdx.x * bytes) : shared_memory;
    T* const values = reinterpret_cast<T*>(nearest + stretch);
    for (int32_t j = threadIdx.x; j < own; j += blockDim.x) {
      nearest[j] = kInfinity;
      for (int d = 0; d < cloud.dimensions; ++d) values[d * stretch + j] = cloud.row(first + j)[d];
    }
    auto pick = static_cast<uint32_t>(start);
    for (int32_t i = 0;; ++i) {
      if (team.block == 0 && threadIdx.x == 0) picks[sampled.first + i] = pick;
      if (i + 1 == sampled.count) break;
      for (int d = threadIdx.x; d < cloud.dimensions; d += blockDim.x) pick_values[d] = cloud.row(pick)[d];
      __syncthreads();
      Farthest farthest;
      for (int32_t j = threadIdx.x; j < own; j += blockDim.x) {
        double now = nearest[j];
        const auto apart = [&](auto sum, const auto& add) {
          for (int d = 0; d < cloud.dimensions; ++d) sum = add(sum, values[d * stretch + j], pick_values[d]);
          return sum;
        };
        bool far = false;
        if constexpr (std::is_same_v<T, float>)
          far = apart(0.0f, [](float sum, float a, float b) { return fmaf(a - b, a - b, sum); }) > float_limit(now);
        if (!far) {
          const double squared = apart(0.0, [](double sum, T a, T b) {
            const double difference = static_cast<double>(a) - static_cast<double>(b);
            return sum + difference * difference;
          });
          if (squared < now) nearest[j] = now = squared;
        }
        farthest = farther(
            farthest, {static_cast<unsigned long long>(__double_as_longlong(now)), static_cast<uint32_t>(first + j)});
      }
      pick = team.agree(farthest_of_warp(farthest));
    }
  }
}

}  // namespace mk::cuda::clouds
