// Farthest point sampling of a batch of clouds on a CUDA device: every pick goes over all points, O(N m D).
//
// Here clouds are divided among launches, and launches given their blocks and memory.
#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "points/farthest_point_sampling_cuda.h"
#include "points/sampling_teams.cuh"

namespace mk::cuda {

namespace {

using namespace clouds;

template <class T>
using HeldKernel = void (*)(const Sampled<T>*, int, int, int32_t, int64_t*, Post*, bool);

// Clouds that are sampled by one launch.
template <class T>
struct Launch {
  std::vector<Sampled<T>> items;
  HeldKernel<T> held = nullptr;  // otherwise points are stored
  int threads = kTeamThreads, blocks = 1, teams = 1;
  size_t shared = 0;  // bytes of a block
  int64_t bytes = 0;  // of device memory for each block
  Sampled<T>* on_device = nullptr;
  Post* posts = nullptr;
  char* memory = nullptr;

  int64_t grid() const { return int64_t{teams} * blocks; }
};

template <class T>
class Sampler {
 public:
  explicit Sampler(const SamplingRequest& request) : request_(request) {
    const int device = request.place.device;
    check(cudaDeviceGetAttribute(&processors_, cudaDevAttrMultiProcessorCount, device), "asking for multiprocessors");
    check(cudaDeviceGetAttribute(&most_shared_, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "asking for shared memory");
    most_shared_ -= kReserved;
    divide();
  }

  int64_t memory() const {
    Sampler counted = *this;
    Arena sizes;
    counted.lay_out(sizes);
    return static_cast<int64_t>(sizes.bytes());
  }

  int64_t run() {
    const auto stream = static_cast<cudaStream_t>(request_.place.stream);
    take_arrays(request_.place.allocate, [&](Arena& arena) { return lay_out(arena); });
    std::vector<Rows<T>> clouds;
    for (const DevicePoints& cloud : request_.clouds) clouds.push_back(rows_of<T>(cloud));
    start_check(clouds, rows_, bad_, stream);
    for (const Launch<T>& launch : launches_) start(launch, stream);
    return found_bad(bad_, stream);
  }

 private:
  static constexpr int kReserved = 2048;  // bytes of shared memory that kernels declare, and the driver's
  static constexpr int64_t kAligned = 16;

  // Clouds that the registers of one block hold, those that the registers of a team hold, and others.
  void divide() {
    Launch<T> alone, together, stored;
    int64_t first = 0;
    for (size_t i = 0; i < request_.clouds.size(); ++i) {
      const Rows<T> cloud = rows_of<T>(request_.clouds[i]);
      const int64_t blocks = blocks_to_hold<kMostHeld<T>>(cloud.size);
      Launch<T>& launch = cloud.dimensions > kAxes || blocks > processors_ ? stored : blocks == 1 ? alone : together;
      launch.items.push_back({cloud, static_cast<int32_t>(request_.counts[i]), first});
      first += request_.counts[i];
    }
    if (!alone.items.empty()) plan_alone(alone);
    if (!together.items.empty()) plan_together(together);
    if (!stored.items.empty()) plan_stored(stored);
  }

  // The longest work first.
  void add(Launch<T>& launch) {
    std::stable_sort(launch.items.begin(), launch.items.end(), [](const Sampled<T>& a, const Sampled<T>& b) {
      return int64_t{a.cloud.size} * a.count > int64_t{b.cloud.size} * b.count;
    });
    launches_.push_back(std::move(launch));
  }

  static int64_t largest(const Launch<T>& launch) {
    int64_t size = 1;
    for (const Sampled<T>& item : launch.items) size = std::max<int64_t>(size, item.cloud.size);
    return size;
  }

  template <int kMost>
  static int64_t blocks_to_hold(int64_t size) {
    return (size + kTeamThreads * kMost - 1) / (kTeamThreads * kMost);
  }

  void plan_alone(Launch<T>& launch) {
    const int64_t size = largest(launch);
    launch.held = size <= kTeamThreads * kFewHeld       ? sample_held<T, kFewHeld>
                  : size <= kTeamThreads * 2 * kFewHeld ? sample_held<T, 2 * kFewHeld>
                                                        : sample_held<T, kMostHeld<T>>;
    const int64_t warps = (size + kFewHeld * kWarp - 1) / (kFewHeld * kWarp);
    launch.threads = static_cast<int>(std::min<int64_t>(warps * kWarp, kTeamThreads));
    launch.teams = static_cast<int>(launch.items.size());
    for (const Sampled<T>& item : launch.items)
      launch.shared = std::max(launch.shared, item.cloud.size * item.cloud.dimensions * sizeof(T));
    add(launch);
  }

  // As few points a thread as there are blocks for, but no more posts than are read at once.
  void plan_together(Launch<T>& launch) {
    const int64_t size = largest(launch), clouds = std::ssize(launch.items);
    const auto choose = [&]<int kMost>(std::integral_constant<int, kMost>) {
      const int64_t blocks = blocks_to_hold<kMost>(size);
      launch.held = sample_held<T, kMost>;
      launch.blocks = static_cast<int>(blocks);
      launch.teams = static_cast<int>(std::clamp<int64_t>(processors_ / blocks, 1, clouds));
      return blocks <= kMostPosts && blocks * clouds <= processors_;
    };
    if (!choose(std::integral_constant<int, kFewHeld>{}) && !choose(std::integral_constant<int, 2 * kFewHeld>{}))
      choose(std::integral_constant<int, kMostHeld<T>>{});
    add(launch);
  }

  // Shared memory, divided among more blocks if need be; if those of all multiprocessors are too few, device memory.
  void plan_stored(Launch<T>& launch) {
    const int64_t size = largest(launch), clouds = std::ssize(launch.items);
    const int64_t worth = (size + kFewStored - 1) / kFewStored;
    const auto bytes_with = [&](int64_t blocks) {
      int64_t most = 0;
      for (const Sampled<T>& item : launch.items) {
        const int64_t stretch = (item.cloud.size + blocks - 1) / blocks;
        most = std::max<int64_t>(most, stretch * (sizeof(double) + item.cloud.dimensions * sizeof(T)));
      }
      return (most + kAligned - 1) / kAligned * kAligned;
    };
    int64_t blocks = std::clamp<int64_t>(processors_ / clouds, 1, worth);
    while (blocks < processors_ && bytes_with(blocks) > most_shared_) ++blocks;
    const int64_t bytes = bytes_with(blocks);
    const bool fits = bytes <= most_shared_;
    launch.blocks = static_cast<int>(blocks);
    launch.teams =
        static_cast<int>(fits && blocks == 1 ? clouds : std::clamp<int64_t>(processors_ / blocks, 1, clouds));
    if (fits)
      launch.shared = static_cast<size_t>(bytes);
    else
      launch.bytes = bytes;
    add(launch);
  }

  int lay_out(Arena& arena) {
    rows_ = arena.take<Rows<T>>(std::ssize(request_.clouds));
    bad_ = arena.take<int>(1);
    for (Launch<T>& launch : launches_) {
      launch.on_device = arena.take<Sampled<T>>(std::ssize(launch.items));
      if (launch.blocks > 1) launch.posts = arena.take<Post>(2 * launch.grid());
      if (launch.bytes > 0) launch.memory = arena.take<char>(launch.grid() * launch.bytes);
    }
    return 0;
  }

  void start(const Launch<T>& launch, cudaStream_t stream) const {
    upload(launch.on_device, launch.items, stream);
    if (launch.blocks > 1) {
      const size_t bytes = 2 * launch.grid() * sizeof(Post);
      check(cudaMemsetAsync(launch.posts, 0, bytes, stream), "clearing posts");
    }
    const auto with = [&](auto kernel, auto... own) {
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(launch.shared)),
            "asking for shared memory");
      const Sampled<T>* items = launch.on_device;
      auto count = static_cast<int>(launch.items.size());
      int blocks = launch.blocks;
      auto start = static_cast<int32_t>(request_.start);
      int64_t* picks = request_.picks;
      Post* posts = launch.posts;
      if (blocks == 1) {
        kernel<<<static_cast<unsigned>(launch.grid()), launch.threads, launch.shared, stream>>>(
            items, count, blocks, start, picks, posts, own...);
        launched("sampling");
        return;
      }
      void* arguments[] = {&items, &count, &blocks, &start, &picks, &posts, &own...};
      check(cudaLaunchCooperativeKernel(kernel, dim3(static_cast<unsigned>(launch.grid())), dim3(launch.threads),
                                        arguments, launch.shared, stream),
            "sampling");
    };
    if (launch.held)
      with(launch.held, launch.shared > 0);
    else
      with(sample_stored<T>, launch.memory, launch.bytes);
  }

  const SamplingRequest& request_;
  int processors_ = 0, most_shared_ = 0;
  std::vector<Launch<T>> launches_;
  Rows<T>* rows_ = nullptr;
  int* bad_ = nullptr;
};

}  // namespace

int64_t farthest_point_sampling(const SamplingRequest& request) {
  const DeviceScope scope(request.place.device);
  return request.doubles ? Sampler<double>(request).run() : Sampler<float>(request).run();
}

int64_t sampling_memory(const SamplingRequest& request) {
  return request.doubles ? Sampler<double>(request).memory() : Sampler<float>(request).memory();
}

}  // namespace mk::cuda
