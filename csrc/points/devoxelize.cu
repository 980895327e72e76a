// Features of a grid at points on a CUDA device, a thread some channels of a point, in the order of the CPU. For the
// gradient of the grid points are sorted by the cell before them, and a thread sums some channels of a cell, in
// float64, over the points around it: nothing is added by several threads. O(points * channels), and O(cells *
// channels) for the gradient, with 48 bytes a point and 8 a cell of memory.
#include "points/cells.cuh"
#include "points/devoxelize_cuda.h"
#include "points/sorted_runs.cuh"

namespace mk::cuda {

namespace {

using Key = unsigned long long;
using PointsByCell = SortedRuns<Key>;

constexpr int kCorners = 8;     // of a cube
constexpr int kSlopeLanes = 8;  // threads that share the channels of a point

// The eight cells around a point; bit 2 of a corner tells whether it is the farther one along x, bit 0 along z.
struct Corners {
  int64_t first;     // the cell of corner 0, within its item
  int64_t steps[3];  // to the next cell along an axis
  double parts[3];   // of the way to it
  bool within[3];    // whether the point was within the grid, so that parts change with it

  template <class T>
  __device__ Corners(const PlacedPoints<T>& placed, int64_t point, int64_t item) : first(0) {
    const int64_t n = placed.resolution, strides[3]{n * n, n, 1};
    double place[3];
    placed.find(point, item, place);
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
      const double at = placed.held(place[axis]);
      const int64_t low = max(int64_t{0}, min(static_cast<int64_t>(at), n - 2));
      first += low * strides[axis];
      steps[axis] = n > 1 ? strides[axis] : 0;
      parts[axis] = at - static_cast<double>(low);
      within[axis] = n > 1 && at == place[axis];
    }
  }

  __device__ int64_t cell(int corner) const {
    return first + (corner & 4 ? steps[0] : 0) + (corner & 2 ? steps[1] : 0) + (corner & 1 ? steps[2] : 0);
  }
  __device__ double share(int corner, int axis) const { return corner & (4 >> axis) ? parts[axis] : 1 - parts[axis]; }
  __device__ double weight(int corner) const { return share(corner, 0) * share(corner, 1) * share(corner, 2); }
};

template <class T>
__global__ void interpolate(PlacedPoints<T> placed, const T* grids, int64_t channels, int64_t blocks, T* features) {
  const int64_t size = placed.cells();
  for (int64_t at = thread_index(); at < placed.count * blocks; at += thread_count()) {
    const int64_t p = at / blocks, first = (at - p * blocks) * kChannelsTogether, item = placed.item(p);
    const Corners corners(placed, p, item);
    const T* const values = grids + item * channels * size;
    for (int64_t c = first; c < min(channels, first + kChannelsTogether); ++c) {
      double sum = 0;
#pragma unroll
      for (int corner = 0; corner < kCorners; ++corner)
        sum += corners.weight(corner) * static_cast<double>(values[c * size + corners.cell(corner)]);
      features[p * channels + c] = static_cast<T>(sum);
    }
  }
}

template <class T>
__global__ void number_points(PlacedPoints<T> placed, Key* cells, uint32_t* numbers) {
  for (int64_t p = thread_index(); p < placed.count; p += thread_count()) {
    const int64_t item = placed.item(p);
    cells[p] = static_cast<Key>(item * placed.cells() + Corners(placed, p, item).first);
    numbers[p] = static_cast<uint32_t>(p);
  }
}

// Sums over sorted points of their gradients times their weights at a corner, some channels at a time.
template <class T>
struct CornerSums {
  const PlacedPoints<T>& placed;
  const uint32_t* numbers;
  const T* grads;
  int64_t channels, first;
  double of[kChannelsTogether] = {};

  template <class Do>
  __device__ void for_channels(const Do& run) {
#pragma unroll  // so that sums stay in registers
    for (int c = 0; c < kChannelsTogether; ++c)
      if (first + c < channels) run(of[c], c);
  }
  __device__ void add(uint32_t begin, uint32_t end, int64_t item, int corner) {
#pragma unroll 4
    for (uint32_t i = begin; i < end; ++i) {
      const int64_t p = numbers[i];
      const double weight = Corners(placed, p, item).weight(corner);
      const T* const grad = grads + p * channels + first;
      for_channels([&](double& sum, int c) { sum += weight * static_cast<double>(grad[c]); });
    }
  }
};

// partial: [parts, corners, channels].
template <class T>
__global__ void add_parts(PlacedPoints<T> placed, PointsByCell sorted, const T* grads, int64_t channels, int64_t blocks,
                          double* partial) {
  const int64_t in_part = kCorners * blocks;
  for (int64_t at = thread_index(); at < sorted.count / kPart * in_part; at += thread_count()) {
    const auto part = static_cast<uint32_t>(at / in_part);
    const auto corner = static_cast<int>(at % in_part / blocks);
    const Run run =
        long_run_of(sorted.key_buffers[0], part, static_cast<Key>(sorted.keys), static_cast<const Run*>(sorted.runs));
    if (run.count() == 0) continue;
    CornerSums<T> sums{placed, sorted.number_buffers[0], grads, channels, at % blocks * kChannelsTogether};
    const int64_t item = static_cast<int64_t>(sorted.key_buffers[0][part * kPart]) / placed.cells();
    sums.add(part * kPart, (part + 1) * kPart, item, corner);
    double* const out = partial + (int64_t{part} * kCorners + corner) * channels + sums.first;
    sums.for_channels([&](double sum, int c) { out[c] = sum; });
  }
}

template <class T>
__global__ void spread(PlacedPoints<T> placed, PointsByCell sorted, const T* grads, const double* partial,
                       int64_t channels, int64_t blocks, T* grad_grids) {
  const int64_t n = placed.resolution, size = placed.cells(), all = placed.items * size;
  for (int64_t at = thread_index(); at < all * blocks; at += thread_count()) {
    const int64_t block = at / all, cell = at - block * all, item = cell / size, own = cell - item * size;
    const int64_t first = block * kChannelsTogether, place[3]{own / (n * n), own / n % n, own % n};
    CornerSums<T> sums{placed, sorted.number_buffers[0], grads, channels, first};
    for (int corner = 0; corner < kCorners; ++corner) {
      // The cell of whose points this one is that corner.
      int64_t from = item;
      bool inside = true;
#pragma unroll
      for (int axis = 0; axis < 3; ++axis) {
        const int64_t low = place[axis] - (corner & (4 >> axis) ? 1 : 0);
        inside = inside && low >= 0;
        from = from * n + low;
      }
      if (!inside) continue;
      for_parts(
          sorted.runs[from], [&](uint32_t begin, uint32_t end) { sums.add(begin, end, item, corner); },
          [&](uint32_t part) {
            const double* const row = partial + (int64_t{part} * kCorners + corner) * channels + first;
            sums.for_channels([&](double& sum, int c) { sum += row[c]; });
          });
    }
    T* const out = grad_grids + (item * channels + first) * size + own;
    sums.for_channels([&](double sum, int c) { out[c * size] = static_cast<T>(sum); });
  }
}

// How the result changes with the place of each point, in cells: slopes [points, 3].
template <class T>
__global__ void find_slopes(PlacedPoints<T> placed, const T* grids, const T* grads, int64_t channels, double* slopes) {
  const int64_t size = placed.cells();
  const int lane = threadIdx.x % kSlopeLanes, in_warp = kWarp / kSlopeLanes;
  // All lanes of a warp stay in the loop, as they exchange sums.
  for (int64_t first = thread_index() / kWarp * in_warp; first < placed.count;
       first += thread_count() / kWarp * in_warp) {
    const int64_t p = first + threadIdx.x % kWarp / kSlopeLanes;
    double slope[3] = {0, 0, 0};
    if (p < placed.count) {
      const int64_t item = placed.item(p);
      const Corners corners(placed, p, item);
      const T* const values = grids + item * channels * size;
      for (int corner = 0; corner < kCorners; ++corner) {
        double sum = 0;
        for (int64_t c = lane; c < channels; c += kSlopeLanes)
          sum += static_cast<double>(values[c * size + corners.cell(corner)]) *
                 static_cast<double>(grads[p * channels + c]);
        for (int axis = 0; axis < 3; ++axis) {
          const double others = corners.share(corner, (axis + 1) % 3) * corners.share(corner, (axis + 2) % 3);
          slope[axis] += corner & (4 >> axis) ? sum * others : -sum * others;
        }
      }
      for (int axis = 0; axis < 3; ++axis) slope[axis] = corners.within[axis] ? slope[axis] : 0;
    }
    for (int lanes = kSlopeLanes / 2; lanes > 0; lanes /= 2)
      for (double& along : slope) along += __shfl_xor_sync(kAllLanes, along, lanes);
    if (p < placed.count && lane < 3) slopes[p * 3 + lane] = lane == 0 ? slope[0] : lane == 1 ? slope[1] : slope[2];
  }
}

// `sums` are those of the slopes, none where means are not subtracted: each point moves the mean, and so all others.
template <class T>
__global__ void differentiate(PlacedPoints<T> placed, const double* slopes, const RowSums* sums, T* grad_points) {
  const double scale = static_cast<double>(placed.resolution) / 2;
  for (int64_t p = thread_index(); p < placed.count; p += thread_count()) {
    double mean[3] = {0, 0, 0};
    if (sums != nullptr) {
      const int64_t item = placed.item(p);
      const auto share = static_cast<double>(placed.starts[item + 1] - placed.starts[item]);
      mean[0] = sums[item].x / share;
      mean[1] = sums[item].y / share;
      mean[2] = sums[item].z / share;
    }
    for (int axis = 0; axis < 3; ++axis)
      grad_points[p * 3 + axis] = static_cast<T>((slopes[p * 3 + axis] - mean[axis]) * scale);
  }
}

}  // namespace

template <class T>
bool devoxelize(const T* grids, const DevicePointItems<T>& items, int64_t channels, T* features,
                const Workplace& place) {
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  if (items.count() == 0) return true;
  const Checks checks(place);
  checks.start(items.points, items.count() * 3, 0, AreCoordinates<T>{});
  if (const int64_t blocks = channel_blocks(channels); blocks > 0) {
    const PlacedPoints<T> placed = place_points(items, place);
    interpolate<<<blocks_for(placed.count * blocks), kThreads, 0, stream>>>(placed, grids, channels, blocks, features);
    launched("interpolating features");
  }
  return checks.found() < 0;
}

template <class T>
void devoxelize_backward(const T* grads, const T* grids, const DevicePointItems<T>& items, int64_t channels,
                         T* grad_grids, T* grad_points, const Workplace& place) {
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  if (items.items() == 0) return;
  const PlacedPoints<T> placed = place_points(items, place);
  const int64_t cells = placed.items * placed.cells(), blocks = channel_blocks(channels);
  if (blocks > 0) {
    auto [sorted, partial] = take_arrays(place.allocate, [&](Arena& arena) {
      const PointsByCell by_cell(arena, placed.count, cells);
      return std::pair(by_cell, arena.take<double>(by_cell.parts() * kCorners * channels));
    });
    number_points<<<blocks_for(placed.count), kThreads, 0, stream>>>(placed, sorted.keys_of(), sorted.numbers());
    launched("finding the cells of points");
    sorted.sort(stream);
    if (sorted.parts() > 0) {
      add_parts<<<blocks_for(sorted.parts() * kCorners * blocks), kThreads, 0, stream>>>(placed, sorted, grads,
                                                                                         channels, blocks, partial);
      launched("adding up gradients of many points");
    }
    spread<<<blocks_for(cells * blocks), kThreads, 0, stream>>>(placed, sorted, grads, partial, channels, blocks,
                                                                grad_grids);
    launched("spreading gradients");
  }
  if (placed.count == 0) return;
  auto* const slopes = static_cast<double*>(place.allocate(placed.count * 3 * sizeof(double)));
  find_slopes<<<blocks_for(placed.count, kSlopeLanes), kThreads, 0, stream>>>(placed, grids, grads, channels, slopes);
  launched("finding slopes");
  const RowSums* const sums =
      items.subtract_mean ? add_items(static_cast<const double*>(slopes), items.starts, place) : nullptr;
  differentiate<<<blocks_for(placed.count), kThreads, 0, stream>>>(placed, slopes, sums, grad_points);
  launched("gradients of points");
}

template bool devoxelize(const float*, const DevicePointItems<float>&, int64_t, float*, const Workplace&);
template bool devoxelize(const double*, const DevicePointItems<double>&, int64_t, double*, const Workplace&);
template void devoxelize_backward(const float*, const float*, const DevicePointItems<float>&, int64_t, float*, float*,
                                  const Workplace&);
template void devoxelize_backward(const double*, const double*, const DevicePointItems<double>&, int64_t, double*,
                                  double*, const Workplace&);

}  // namespace mk::cuda
