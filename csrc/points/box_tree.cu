#include <algorithm>
#include <bit>
#include <limits>

#include "common/primitives.h"
#include "points/box_tree.cuh"

namespace mk::cuda::clouds {

namespace {

constexpr int kMostCurveBits = 21;  // of an axis, so that three make a key
using Key = unsigned long long;

// Integers in the order of numbers, and back.
__device__ inline Key ordered(double value) {
  const auto bits = static_cast<Key>(__double_as_longlong(value));
  return bits >> 63 != 0 ? ~bits : bits | Key{1} << 63;
}
__device__ inline double number_of(Key ordered) {
  return __longlong_as_double(static_cast<long long>(ordered >> 63 != 0 ? ordered & ~(Key{1} << 63) : ~ordered));
}

template <class V, class Choose>
__device__ V chosen_of_warp(V value, const Choose& choose) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) value = choose(value, __shfl_xor_sync(kAllLanes, value, apart));
  return value;
}

// The least coordinates of each cloud, and the complements of the greatest: [clouds, 2, kAxes].
template <class T>
__global__ void find_ends(const Rows<T>* clouds, int count, Key* ends) {
  const auto lesser = [](Key a, Key b) { return a < b ? a : b; };
  for (int i = blockIdx.y; i < count; i += gridDim.y) {
    const Rows<T> cloud = clouds[i];
    Key least[2 * kAxes];
    for (Key& end : least) end = ~Key{0};
    for (int64_t p = thread_index(); p < cloud.size; p += thread_count()) {
#pragma unroll
      for (int axis = 0; axis < kAxes; ++axis) {
        const Key value = ordered(static_cast<double>(cloud.coordinate(p, axis)));
        least[axis] = lesser(least[axis], value);
        least[kAxes + axis] = lesser(least[kAxes + axis], ~value);
      }
    }
#pragma unroll
    for (int end = 0; end < 2 * kAxes; ++end) {
      const Key found = chosen_of_warp(least[end], lesser);
      if (threadIdx.x % kWarp == 0) atomicMin(ends + i * 2 * kAxes + end, found);
    }
  }
}

// The place of a cell along Hilbert's curve through a cube of 2^bits cells along each axis; the steps are those of
// J. Skilling (2004), "Programming the Hilbert curve".
__device__ Key place_on_curve(uint32_t (&cell)[kAxes], int axes, int bits) {
  for (uint32_t half = uint32_t{1} << (bits - 1); half > 1; half /= 2) {
    const uint32_t below = half - 1;
    for (int axis = 0; axis < axes; ++axis) {
      const bool turned = (cell[axis] & half) != 0;
      const uint32_t swapped = turned ? 0 : (cell[0] ^ cell[axis]) & below;
      cell[0] ^= turned ? below : swapped;
      cell[axis] ^= swapped;
    }
  }
  for (int axis = 1; axis < axes; ++axis) cell[axis] ^= cell[axis - 1];
  uint32_t flips = 0;
  for (uint32_t half = uint32_t{1} << (bits - 1); half > 1; half /= 2)
    if ((cell[axes - 1] & half) != 0) flips ^= half - 1;
  Key place = 0;
  for (int bit = bits - 1; bit >= 0; --bit)
    for (int axis = 0; axis < axes; ++axis) place = place << 1 | ((cell[axis] ^ flips) >> bit & 1);
  return place;
}

// Keys that sort points by cloud and along a curve through the cube around it.
template <class T>
__global__ void place_points(const Rows<T>* clouds, const TreeShape* shapes, int count, const Key* ends, int bits,
                             Key* keys, uint32_t* numbers) {
  for (int i = blockIdx.y; i < count; i += gridDim.y) {
    const Rows<T> cloud = clouds[i];
    double low[kAxes], edge = 0;
    for (int axis = 0; axis < kAxes; ++axis) {
      low[axis] = number_of(ends[i * 2 * kAxes + axis]);
      edge = max(edge, number_of(~ends[i * 2 * kAxes + kAxes + axis]) - low[axis]);
    }
    const double cells = static_cast<double>(int64_t{1} << bits), scale = edge > 0 ? cells / edge : 0;
    for (int64_t p = thread_index(); p < cloud.size; p += thread_count()) {
      uint32_t cell[kAxes];
      for (int axis = 0; axis < kAxes; ++axis) {
        const double place = (static_cast<double>(cloud.coordinate(p, axis)) - low[axis]) * scale;
        cell[axis] = static_cast<uint32_t>(min(max(place, 0.0), cells - 1));
      }
      const int64_t number = shapes[i].first_point + p;
      keys[number] = static_cast<Key>(i) << (kAxes * bits) | place_on_curve(cell, cloud.dimensions, bits);
      numbers[number] = static_cast<uint32_t>(number);
    }
  }
}

// Lanes that hold a point or box hand over its ends; the box around them is written.
template <class T>
__device__ void write_box(T* boxes, int64_t nodes, int64_t node, bool here, const T (&low)[kAxes],
                          const T (&high)[kAxes]) {
#pragma unroll
  for (int axis = 0; axis < kAxes; ++axis) {
    const T least = chosen_of_warp(here ? low[axis] : static_cast<T>(kInfinity), [](T a, T b) { return min(a, b); });
    const T most = chosen_of_warp(here ? high[axis] : static_cast<T>(-kInfinity), [](T a, T b) { return max(a, b); });
    if (threadIdx.x % kWarp != 0) continue;
    boxes[axis * nodes + node] = least;
    boxes[(kAxes + axis) * nodes + node] = most;
  }
}

// A warp a leaf.
template <class T>
__global__ void fill_leaves(const Rows<T>* clouds, const TreeShape* shapes, int count, const uint32_t* numbers,
                            T* values, int32_t* order, T* boxes, int64_t nodes) {
  const int lane = threadIdx.x % kWarp;
  for (int i = blockIdx.y; i < count; i += gridDim.y) {
    const Rows<T> cloud = clouds[i];
    const TreeShape& shape = shapes[i];
    for (int64_t leaf = thread_index() / kWarp; leaf < shape.counts[0]; leaf += thread_count() / kWarp) {
      const int64_t place = leaf * kWarp + lane, node = shape.nodes[0] + leaf;
      const bool here = place < cloud.size;
      const int64_t point = here ? numbers[shape.first_point + place] - shape.first_point : 0;
      order[node * kWarp + lane] = here ? static_cast<int32_t>(point) : -1;
      T own[kAxes];
      for (int axis = 0; axis < kAxes; ++axis) {
        own[axis] = cloud.coordinate(point, axis);
        values[(node * kAxes + axis) * kWarp + lane] = own[axis];
      }
      write_box(boxes, nodes, node, here, own, own);
    }
  }
}

// A warp a box of a level.
template <class T>
__global__ void join_boxes(const TreeShape* shapes, int count, int level, T* boxes, int64_t nodes) {
  const int lane = threadIdx.x % kWarp;
  for (int i = blockIdx.y; i < count; i += gridDim.y) {
    const TreeShape& shape = shapes[i];
    if (level > shape.top) continue;
    for (int64_t box = thread_index() / kWarp; box < shape.counts[level]; box += thread_count() / kWarp) {
      const int64_t child = box * kWarp + lane;
      const bool here = child < shape.counts[level - 1];
      const int64_t below = shape.nodes[level - 1] + (here ? child : 0);
      T low[kAxes], high[kAxes];
      for (int axis = 0; axis < kAxes; ++axis) {
        low[axis] = boxes[axis * nodes + below];
        high[axis] = boxes[(kAxes + axis) * nodes + below];
      }
      write_box(boxes, nodes, shape.nodes[level] + box, here, low, high);
    }
  }
}

int64_t groups_of(int64_t count) { return (count + kWarp - 1) / kWarp; }

}  // namespace

template <class T>
BoxTrees<T>::BoxTrees(std::vector<Rows<T>> clouds) : clouds_(std::move(clouds)) {
  for (const Rows<T>& cloud : clouds_) {
    TreeShape shape{};
    shape.first_point = points_;
    int64_t count = groups_of(cloud.size);
    shape.counts[0] = static_cast<int32_t>(count);
    while (count > kWarp) {
      count = groups_of(count);
      shape.counts[++shape.top] = static_cast<int32_t>(count);
    }
    points_ += cloud.size;
    levels_ = std::max(levels_, shape.top + 1);
    largest_ = std::max<int64_t>(largest_, cloud.size);
    shapes_.push_back(shape);
  }
  for (int level = 0; level < levels_; ++level)
    for (TreeShape& shape : shapes_) {
      shape.nodes[level] = nodes_;
      nodes_ += shape.counts[level];
      if (level == 0) leaves_ += shape.counts[0];
    }
}

template <class T>
void BoxTrees<T>::lay_out(Arena& arena) {
  const int64_t clouds = std::ssize(clouds_);
  rows_ = arena.take<Rows<T>>(clouds);
  shapes_there_ = arena.take<TreeShape>(clouds);
  ends_ = arena.take<Key>(clouds * 2 * kAxes);
  for (int side = 0; side < 2; ++side) {
    keys_[side] = arena.take<Key>(points_);
    numbers_[side] = arena.take<uint32_t>(points_);
  }
  sort_pairs<Key>(nullptr, space_bytes_, keys_, numbers_, points_, 64, nullptr);
  space_ = arena.take<char>(static_cast<int64_t>(space_bytes_));
  values_ = arena.take<T>(leaves_ * kAxes * kWarp);
  order_ = arena.take<int32_t>(leaves_ * kWarp);
  boxes_ = arena.take<T>(nodes_ * 2 * kAxes);
  tree_ = {shapes_there_, values_, order_, boxes_, nodes_};
}

template <class T>
void BoxTrees<T>::build(cudaStream_t stream) {
  const auto clouds = static_cast<int>(clouds_.size());
  const int cloud_bits = std::bit_width(static_cast<unsigned>(clouds - 1));
  const int bits = std::min(kMostCurveBits, (64 - cloud_bits) / kAxes);
  upload(rows_, clouds_, stream);
  upload(shapes_there_, shapes_, stream);
  check(cudaMemsetAsync(ends_, 0xff, clouds * 2 * kAxes * sizeof(Key), stream), "clearing ends");
  const dim3 points = grid_over(clouds, largest_);
  find_ends<T><<<points, kThreads, 0, stream>>>(rows_, clouds, ends_);
  launched("finding the ends of clouds");
  place_points<T><<<points, kThreads, 0, stream>>>(rows_, shapes_there_, clouds, ends_, bits, keys_[0], numbers_[0]);
  launched("placing points on a curve");
  sort_pairs<Key>(space_, space_bytes_, keys_, numbers_, points_, kAxes * bits + cloud_bits, stream);
  fill_leaves<T><<<grid_over(clouds, groups_of(largest_), kWarp), kThreads, 0, stream>>>(
      rows_, shapes_there_, clouds, numbers_[0], values_, order_, boxes_, nodes_);
  launched("filling leaves");
  int64_t boxes = groups_of(largest_);
  for (int level = 1; level < levels_; ++level) {
    boxes = groups_of(boxes);
    join_boxes<T>
        <<<grid_over(clouds, boxes, kWarp), kThreads, 0, stream>>>(shapes_there_, clouds, level, boxes_, nodes_);
    launched("joining boxes");
  }
}

template class BoxTrees<float>;
template class BoxTrees<double>;

}  // namespace mk::cuda::clouds
