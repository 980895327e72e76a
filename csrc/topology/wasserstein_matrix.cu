#include <algorithm>
#include <cmath>
#include <limits>

#include "common/cuda.h"
#include "topology/wasserstein_matrix_cuda.h"
#include "topology/wasserstein_pair.cuh"

namespace mk::cuda {

namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int64_t kBarsForOneWarp = 256;  // with more columns than these, more threads a pair gain time
constexpr int kManyWarps = 8;
constexpr int64_t kShareOfMemory = 4;  // of the free memory, that the pairs under way may take: one in so many bytes

// One set of diagrams in device memory.
struct DeviceSet {
  const double *birth, *death, *endless;
  const int64_t *first, *endless_first;
  const uint8_t* one_birth;
  int64_t count;

  __device__ DeviceBars bars(int64_t k) const {
    return {birth + first[k], death + first[k], static_cast<int32_t>(first[k + 1] - first[k]), one_birth[k]};
  }
};

// The threads of a block, as wasserstein_pair.cuh wants a team.
template <int kWarps>
class Block {
 public:
  __device__ explicit Block(Nearest* nearest, double* sums) : nearest_(nearest), sums_(sums) {}

  __device__ int rank() const { return static_cast<int>(threadIdx.x); }
  __device__ int size() const { return kWarps * kWarp; }
  __device__ void sync() { __syncthreads(); }

  __device__ Nearest nearest(Nearest own) {
    for (int step = kWarp / 2; step > 0; step /= 2) {
      const Nearest across{__shfl_xor_sync(kAllLanes, own.distance, step),
                           __shfl_xor_sync(kAllLanes, own.column, step)};
      own = nearer(own, across);
    }
    __syncthreads();  // what the threads have written before; and nobody reads the last round any more
    if constexpr (kWarps > 1) {
      if (rank() % kWarp == 0) nearest_[rank() / kWarp] = own;
      __syncthreads();
      own = nearest_[0];
      for (int warp = 1; warp < kWarps; ++warp) own = nearer(own, nearest_[warp]);
    }
    return own;
  }

  __device__ double sum(double own) {
    for (int step = kWarp / 2; step > 0; step /= 2) own += __shfl_xor_sync(kAllLanes, own, step);
    __syncthreads();
    if constexpr (kWarps > 1) {
      if (rank() % kWarp == 0) sums_[rank() / kWarp] = own;
      __syncthreads();
      own = 0;
      for (int warp = 0; warp < kWarps; ++warp) own += sums_[warp];
    }
    return own;
  }

 private:
  Nearest* nearest_;
  double* sums_;
};

// Endless bars are sorted: those of a kind go together in order. Every thread gets the sum of their distances.
__device__ double match_endless(const DeviceSet& a, int64_t i, const DeviceSet& b, int64_t j) {
  double cost = 0;
  for (int kind = 0; kind < 3; ++kind) {
    const int64_t at_a = a.endless_first[3 * i + kind], count = a.endless_first[3 * i + kind + 1] - at_a;
    const int64_t at_b = b.endless_first[3 * j + kind];
    if (b.endless_first[3 * j + kind + 1] - at_b != count) return __builtin_huge_val();
    for (int64_t k = 0; k < count; ++k) cost += fabs(a.endless[at_a + k] - b.endless[at_b + k]);
  }
  return cost;
}

struct Pair {
  int64_t i, j;
};

// Pair p of (0, 1), (0, 2), (1, 2), (0, 3), ...
__device__ Pair pair_above_diagonal(int64_t p) {
  auto j = static_cast<int64_t>((1 + sqrt(1 + 8 * static_cast<double>(p))) / 2);
  while (j * (j - 1) / 2 > p) --j;
  while (j * (j + 1) / 2 <= p) ++j;
  return {p - j * (j - 1) / 2, j};
}

// Divides device memory into arrays.
struct Cursor {
  char* at;
  template <class T>
  __host__ __device__ T* take(int64_t count) {
    constexpr int64_t alignment = 16;
    T* const taken = reinterpret_cast<T*>(at);
    at += (count * static_cast<int64_t>(sizeof(T)) + alignment - 1) / alignment * alignment;
    return taken;
  }
};

int64_t work_bytes(int64_t most_bars) {
  Cursor cursor{nullptr};
  PairWork::take(cursor, most_bars, most_bars);
  return static_cast<int64_t>(cursor.at - static_cast<char*>(nullptr));
}

template <Ground ground, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarp)
    match_pairs(DeviceSet a, DeviceSet b, int64_t pairs, bool symmetric, int64_t most_bars, char* memory,
                int64_t bytes_a_block, double scale, double* distances) {
  __shared__ Nearest nearest[kWarps];
  __shared__ double sums[kWarps];
  Block<kWarps> team(nearest, sums);
  Cursor cursor{memory + blockIdx.x * bytes_a_block};
  const PairWork work = PairWork::take(cursor, most_bars, most_bars);
  for (int64_t p = blockIdx.x; p < pairs; p += gridDim.x) {
    const Pair pair = symmetric ? pair_above_diagonal(p) : Pair{p / b.count, p % b.count};
    double distance = match_endless(a, pair.i, b, pair.j);
    if (distance < __builtin_huge_val())
      distance = (distance + match_bars<ground>(a.bars(pair.i), b.bars(pair.j), work, team)) / scale;
    if (team.rank() == 0) {
      distances[pair.i * b.count + pair.j] = distance;
      if (symmetric) distances[pair.j * b.count + pair.i] = distance;
    }
  }
}

template <class T>
const T* upload(Arena& arena, std::span<const T> values, cudaStream_t stream) {
  T* const to = arena.take<T>(static_cast<int64_t>(values.size()));
  if (to != nullptr && !values.empty())
    check(cudaMemcpyAsync(to, values.data(), values.size_bytes(), cudaMemcpyHostToDevice, stream), "copying diagrams");
  return to;
}

DeviceSet upload(Arena& arena, const PackedDiagrams& from, cudaStream_t stream) {
  DeviceSet set{};
  set.birth = upload(arena, from.birth, stream);
  set.death = upload(arena, from.death, stream);
  set.endless = upload(arena, from.endless, stream);
  set.first = upload(arena, from.first, stream);
  set.endless_first = upload(arena, from.endless_first, stream);
  set.one_birth = upload(arena, from.one_birth, stream);
  set.count = from.count();
  return set;
}

int64_t most_bars(const PackedDiagrams& diagrams) {
  int64_t most = 0;
  for (int64_t k = 0; k < diagrams.count(); ++k) most = std::max(most, diagrams.first[k + 1] - diagrams.first[k]);
  return most;
}

// The two sets in device memory, and memory for so many blocks.
struct Memory {
  DeviceSet a, b;
  char* work;
};

Memory lay_out(Arena& arena, const WassersteinRequest& request, int64_t bytes_of_work) {
  const auto stream = static_cast<cudaStream_t>(request.stream);
  Memory memory{};
  memory.a = upload(arena, request.diagrams, stream);
  memory.b = request.symmetric ? memory.a : upload(arena, request.others, stream);
  memory.work = arena.take<char>(bytes_of_work);
  return memory;
}

template <Ground ground, int kWarps>
void run(const WassersteinRequest& request, int64_t pairs, int64_t most) {
  const auto stream = static_cast<cudaStream_t>(request.stream);
  const auto kernel = match_pairs<ground, kWarps>;
  const int64_t bytes = work_bytes(most);
  int multiprocessors = 0, blocks_at_once = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, request.device),
        "asking for the number of multiprocessors");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks_at_once, kernel, kWarps * kWarp, 0),
        "asking for the occupancy");
  const int64_t affordable = std::max<int64_t>(1, request.memory / kShareOfMemory / bytes);
  const int64_t blocks = std::min({pairs, static_cast<int64_t>(multiprocessors) * blocks_at_once, affordable});

  Arena sizes;
  lay_out(sizes, request, blocks * bytes);
  Arena arena(request.allocate(sizes.bytes()));
  const Memory memory = lay_out(arena, request, blocks * bytes);
  kernel<<<static_cast<unsigned>(blocks), kWarps * kWarp, 0, stream>>>(
      memory.a, memory.b, pairs, request.symmetric, most, memory.work, bytes, request.scale, request.distances);
  check(cudaGetLastError(), "starting the distances");
  check(cudaStreamSynchronize(stream), "computing the distances");
}

}  // namespace

void wasserstein_matrix(const WassersteinRequest& request) {
  const DeviceScope scope(request.device);
  const auto stream = static_cast<cudaStream_t>(request.stream);
  const PackedDiagrams& others = request.symmetric ? request.diagrams : request.others;
  const int64_t rows = request.diagrams.count(), columns = others.count();
  if (rows == 0 || columns == 0) return;
  check(cudaMemsetAsync(request.distances, 0, static_cast<size_t>(rows * columns) * sizeof(double), stream),
        "clearing the distances");
  const int64_t pairs = request.symmetric ? rows * (rows - 1) / 2 : rows * columns;
  if (pairs == 0) return;

  const int64_t most = std::max<int64_t>(1, std::max(most_bars(request.diagrams), most_bars(others)));
  const bool euclidean = request.ground == Ground::euclidean, small = most <= kBarsForOneWarp;
  const auto kind = euclidean ? (small ? run<Ground::euclidean, 1> : run<Ground::euclidean, kManyWarps>)
                              : (small ? run<Ground::maximum, 1> : run<Ground::maximum, kManyWarps>);
  kind(request, pairs, most);
}

}  // namespace mk::cuda
