// Means of the features of points in the cells of a grid on a CUDA device: points are sorted by cells, and a thread
// sums some channels of a cell over its points, in their order as on the CPU. Threads side by side write cells side by
// side. O(points * channels + cells * channels); 24 bytes a point and 8 a cell of memory.
#include "points/cells.cuh"
#include "points/sorted_runs.cuh"
#include "points/voxelize_cuda.h"

namespace mk::cuda {

namespace {

using Key = unsigned long long;
using PointsByCell = SortedRuns<Key>;

// The nearest cell, the even one of two that are equally near, in one numbering over all items.
template <class T>
__device__ inline int64_t cell_of(const PlacedPoints<T>& placed, int64_t point, int64_t item) {
  double place[3];
  placed.find(point, item, place);
  int64_t cell = item;
  for (const double along : place) cell = cell * placed.resolution + static_cast<int64_t>(rint(placed.held(along)));
  return cell;
}

template <class T>
__global__ void number_points(PlacedPoints<T> placed, Key* cells, uint32_t* numbers) {
  for (int64_t p = thread_index(); p < placed.count; p += thread_count()) {
    cells[p] = static_cast<Key>(cell_of(placed, p, placed.item(p)));
    numbers[p] = static_cast<uint32_t>(p);
  }
}

// Sums of features over sorted points, some channels at a time.
template <class T>
struct Sums {
  const uint32_t* numbers;
  const T* features;
  int64_t channels, first;
  T of[kChannelsTogether] = {};

  template <class Do>
  __device__ void for_channels(const Do& run) {
#pragma unroll  // so that sums stay in registers
    for (int c = 0; c < kChannelsTogether; ++c)
      if (first + c < channels) run(of[c], c);
  }
  __device__ void add_row(const T* row) {
    for_channels([&](T& sum, int c) { sum += row[first + c]; });
  }
  __device__ void add(uint32_t begin, uint32_t end) {
#pragma unroll 4
    for (uint32_t i = begin; i < end; ++i) add_row(features + int64_t{numbers[i]} * channels);
  }
};

// partial: [parts, channels].
template <class T>
__global__ void add_parts(PointsByCell sorted, const T* features, int64_t channels, int64_t blocks, T* partial) {
  for (int64_t at = thread_index(); at < sorted.count / kPart * blocks; at += thread_count()) {
    const auto part = static_cast<uint32_t>(at / blocks);
    const Run run =
        long_run_of(sorted.key_buffers[0], part, static_cast<Key>(sorted.keys), static_cast<const Run*>(sorted.runs));
    if (run.count() == 0) continue;
    Sums<T> sums{sorted.number_buffers[0], features, channels, (at - part * blocks) * kChannelsTogether};
    sums.add(part * kPart, (part + 1) * kPart);
    sums.for_channels([&](T sum, int c) { partial[part * channels + sums.first + c] = sum; });
  }
}

template <class T>
__global__ void average(PlacedPoints<T> placed, PointsByCell sorted, const T* features, const T* partial,
                        int64_t channels, int64_t blocks, T* grids) {
  const int64_t size = placed.cells(), all = placed.items * size;
  for (int64_t at = thread_index(); at < all * blocks; at += thread_count()) {
    const int64_t block = at / all, cell = at - block * all, item = cell / size, first = block * kChannelsTogether;
    const Run run = sorted.runs[cell];
    Sums<T> sums{sorted.number_buffers[0], features, channels, first};
    for_parts(
        run, [&](uint32_t begin, uint32_t end) { sums.add(begin, end); },
        [&](uint32_t part) { sums.add_row(partial + part * channels); });
    const T points = static_cast<T>(max(run.count(), 1u));
    T* const out = grids + (item * channels + first) * size + (cell - item * size);
    sums.for_channels([&](T sum, int c) { out[c * size] = sum / points; });
  }
}

template <class T>
__global__ void count_points(PlacedPoints<T> placed, uint32_t* counts) {
  for (int64_t p = thread_index(); p < placed.count; p += thread_count())
    atomicAdd(&counts[cell_of(placed, p, placed.item(p))], 1u);
}

template <class T>
__global__ void pull(PlacedPoints<T> placed, const uint32_t* counts, const T* grads, int64_t channels, int64_t blocks,
                     T* features) {
  const int64_t size = placed.cells();
  for (int64_t at = thread_index(); at < placed.count * blocks; at += thread_count()) {
    const int64_t p = at / blocks, first = (at - p * blocks) * kChannelsTogether;
    const int64_t item = placed.item(p), cell = cell_of(placed, p, item);
    const T points = static_cast<T>(counts[cell]);
    const T* const own = grads + item * channels * size + (cell - item * size);
    for (int64_t c = first; c < min(channels, first + kChannelsTogether); ++c)
      features[p * channels + c] = own[c * size] / points;
  }
}

}  // namespace

int64_t cells_memory(int64_t items, int64_t points, int64_t resolution) {
  Arena arena;
  const PointsByCell sorted(arena, points, items * resolution * resolution * resolution);
  const int64_t of_items = items * static_cast<int64_t>(kMostPieces * sizeof(RowSums)) + (1 << 16);
  return static_cast<int64_t>(arena.bytes()) + 2 * of_items + points * static_cast<int64_t>(3 * sizeof(double));
}

template <class T>
bool voxelize(const DevicePointItems<T>& items, const T* features, int64_t channels, T* grids, const Workplace& place) {
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const Checks checks(place);
  checks.start(items.points, items.count() * 3, 0, AreCoordinates<T>{});
  const PlacedPoints<T> placed = place_points(items, place);
  const int64_t cells = placed.items * placed.cells(), blocks = channel_blocks(channels);
  if (cells * channels > 0) {
    auto [sorted, partial] = take_arrays(place.allocate, [&](Arena& arena) {
      const PointsByCell by_cell(arena, placed.count, cells);
      return std::pair(by_cell, arena.take<T>(by_cell.parts() * channels));
    });
    number_points<<<blocks_for(placed.count), kThreads, 0, stream>>>(placed, sorted.keys_of(), sorted.numbers());
    launched("finding the cells of points");
    sorted.sort(stream);
    if (sorted.parts() > 0) {
      add_parts<<<blocks_for(sorted.parts() * blocks), kThreads, 0, stream>>>(sorted, features, channels, blocks,
                                                                              partial);
      launched("adding up features of many points");
    }
    average<<<blocks_for(cells * blocks), kThreads, 0, stream>>>(placed, sorted, features, partial, channels, blocks,
                                                                 grids);
    launched("averaging features");
  }
  return checks.found() < 0;
}

template <class T>
void voxelize_backward(const T* grad_grids, const DevicePointItems<T>& items, int64_t channels, T* features,
                       const Workplace& place) {
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const int64_t blocks = channel_blocks(channels);
  if (items.count() * channels == 0) return;
  const PlacedPoints<T> placed = place_points(items, place);
  const int64_t cells = placed.items * placed.cells();
  auto* const counts = static_cast<uint32_t*>(place.allocate(cells * sizeof(uint32_t)));
  check(cudaMemsetAsync(counts, 0, cells * sizeof(uint32_t), stream), "clearing counts");
  count_points<<<blocks_for(placed.count), kThreads, 0, stream>>>(placed, counts);
  launched("counting points");
  pull<<<blocks_for(placed.count * blocks), kThreads, 0, stream>>>(placed, counts, grad_grids, channels, blocks,
                                                                   features);
  launched("gradients of averages");
}

template bool voxelize(const DevicePointItems<float>&, const float*, int64_t, float*, const Workplace&);
template bool voxelize(const DevicePointItems<double>&, const double*, int64_t, double*, const Workplace&);
template void voxelize_backward(const float*, const DevicePointItems<float>&, int64_t, float*, const Workplace&);
template void voxelize_backward(const double*, const DevicePointItems<double>&, int64_t, double*, const Workplace&);

}  // namespace mk::cuda
