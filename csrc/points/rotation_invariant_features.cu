// Rotation-invariant features on a CUDA device, by the formulas of points/rotation_invariant_features.cpp: neighbours
// are in the order of the CPU, features differ by rounding at most.
//
// A warp a centre, a lane a neighbour or some: keys are sorted in registers, by exchange between lanes (K. E. Batcher,
// "Sorting networks and their applications", 1968). For more than kMostInWarp neighbours a block a centre, whose keys
// are sorted in device memory. O(M k log^2 k).
#include <algorithm>
#include <bit>
#include <numbers>
#include <tuple>

#include "points/neighbourhoods.cuh"
#include "points/rotation_invariant_features_cuda.h"

namespace mk::cuda {

namespace {

constexpr int kInvariants = 8;
constexpr int kMostInWarp = 256;
constexpr int kWarpThreads = 128;      // of a block whose warps each have a centre
constexpr int64_t kMostGroups = 1024;  // blocks that each have a centre at the same time
constexpr double kUnitWithin = 1e-3;
// Keys are rounded to multiples of 2^-39, so that those equal but for rounding are equal: they and the places of
// neighbours are integers of 42 and 22 bits.
constexpr double kRoundKey = 3.0 * (1 << 12), kKeyOffset = 4, kKeySteps = 1.0 * (int64_t{1} << 39);
constexpr int kPlaceBits = 22;

using Code = unsigned long long;

struct AreAxes {
  static constexpr int kGroup = 3;
  template <class T>
  __device__ bool operator()(const T* axis) const {
    const Double3 n = double3_of(axis);
    const double length = sqrt(dot(n, n));
    return length == 0 || fabs(length - 1) <= kUnitWithin;  // not so for NaN
  }
};

template <class T>
struct Cloud {
  const T *points, *axes;
  const int64_t *centers, *neighbours;
  int64_t size, rows, k;
  T* features;
  int64_t* ordered;
};

template <class T>
struct Vector3 {
  T x, y, z;
};

template <class T>
__device__ inline Vector3<T> vector_of(const T* row) {
  return {row[0], row[1], row[2]};
}
template <class T>
__device__ inline Vector3<T> operator-(const Vector3<T>& a, const Vector3<T>& b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z};
}
template <class T>
__device__ inline T dot(const Vector3<T>& a, const Vector3<T>& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}

template <class T, int kTerms>
__device__ inline T polynomial(const T (&terms)[kTerms], T x) {
  T series = terms[kTerms - 1];
#pragma unroll
  for (int term = kTerms - 2; term >= 0; --term) series = terms[term] + x * series;
  return series;
}

// As in points/rotation_invariant_features.cpp: asin(x) / x in powers of x^2, for x^2 <= 1/2.
template <class T>
__device__ inline T arcsine_series(T square) {
  if constexpr (sizeof(T) == sizeof(float)) {
    constexpr float terms[]{1.0f,         0.166666069f,  0.0750307444f, 0.0440398399f, 0.0362279991f, -0.00881148472f,
                            0.111685587f, -0.141247548f, 0.126604223f};
    return polynomial(terms, square);
  } else {
    constexpr double terms[]{1,
                             0.16666666666667013,
                             0.074999999999091099,
                             0.044642857237233012,
                             0.030381939269829593,
                             0.022372332125967096,
                             0.017348920740304967,
                             0.014024786117637567,
                             0.010870488350221809,
                             0.015552297027080917,
                             -0.029050122587066223,
                             0.19339500225015105,
                             -0.70765501426140576,
                             2.1185503218296082,
                             -4.7747147527859264,
                             8.1325682724019686,
                             -10.071307779732635,
                             8.6270946601684582,
                             -4.5775398173981596,
                             1.155747740211758};
    return polynomial(terms, square);
  }
}

template <class T>
__device__ inline T angle_between(const Vector3<T>& a, const Vector3<T>& b) {
  constexpr T pi = std::numbers::pi_v<T>;
  const T cosine = dot(a, b), sign = cosine < 0 ? T(-1) : T(1);
  const Vector3<T> apart = a - Vector3<T>{sign * b.x, sign * b.y, sign * b.z};
  const T quarter = dot(apart, apart) / 4, least = quarter < T(0.5) ? quarter : T(0.5);
  const T square = cosine == 0 ? T(0.5) : least;
  const T angle = 2 * sqrt(square) * arcsine_series(square);
  return cosine < 0 ? pi - angle : angle;
}

template <class T>
__device__ inline T inverse_length(T squared) {
  return squared > 0 ? 1 / sqrt(squared) : T(0);
}

// The direction of an offset in the plane across the axis, and the squared length of what lies in it.
struct Flat {
  Double3 direction;
  double squared;
};

// What is the same for all neighbours of a centre.
template <class T>
struct Centre {
  const Cloud<T>& cloud;
  const int64_t* neighbours;
  Vector3<T> at, axis;
  Double3 n;
  Double3 start{}, sideways{};  // known once the neighbour that is farthest from the axis is

  // Of centres that are no index the first point takes the place; the caller is told of them by the checks.
  __device__ Centre(const Cloud<T>& own, int64_t row) : cloud(own), neighbours(own.neighbours + row * own.k) {
    const int64_t center = is_index(cloud.centers[row]) ? cloud.centers[row] : 0;
    at = vector_of(cloud.points + center * 3);
    axis = vector_of(cloud.axes + center * 3);
    n = double3_of(cloud.axes + center * 3);
  }

  __device__ bool is_index(int64_t index) const {
    return static_cast<uint64_t>(index) < static_cast<uint64_t>(cloud.size);
  }
  __device__ bool has(int64_t j) const { return is_index(neighbours[j]); }
  __device__ Vector3<T> offset(int64_t j) const { return vector_of(cloud.points + neighbours[j] * 3) - at; }
  __device__ Vector3<T> axis_of(int64_t j) const { return vector_of(cloud.axes + neighbours[j] * 3); }

  __device__ Flat flat(int64_t j) const {
    const Vector3<T> y = offset(j);
    const double x = y.x, v = y.y, z = y.z, height = x * n.x + v * n.y + z * n.z;
    const double a = x - height * n.x, b = v - height * n.y, c = z - height * n.z;
    const double squared = a * a + b * b + c * c, whole = x * x + v * v + z * z;
    const double in_plane = squared > kNearly<T> * kNearly<T> * whole ? squared : 0;
    const double inverse = inverse_length(in_plane);
    return {{a * inverse, b * inverse, c * inverse}, in_plane};
  }

  __device__ void start_at(int64_t j) {
    start = flat(j).direction;
    sideways = mk::cuda::cross(start, n);
  }

  __device__ double key(int64_t j) const {
    const Double3 u = flat(j).direction;
    const double along = mk::cuda::dot(u, start), side = mk::cuda::dot(u, sideways);
    const double low = along < -1 ? -1 : along, cosine = low > 1 ? 1 : low;
    return side < -kNearly<T> ? -cosine - 2 : cosine;
  }

  // Codes ascend with the key; of equal keys, against the places in the row. That of no neighbour is 0.
  __device__ Code code(int64_t j) const {
    if (j >= cloud.k || !has(j)) return 0;
    const double rounded = (key(j) + kRoundKey) - kRoundKey;
    return static_cast<Code>((rounded + kKeyOffset) * kKeySteps) << kPlaceBits | static_cast<Code>(kMostNeighbours - j);
  }
};

__device__ inline int64_t place_in(Code code) { return kMostNeighbours - static_cast<int64_t>(code & kMostNeighbours); }

// The neighbour that is farthest from the axis, of several the first; -1 before there is one.
struct Farthest {
  double squared = -1;
  int64_t place = -1;
  __device__ void take(const Farthest& other) {
    if (other.squared > squared || (other.squared == squared && other.place < place)) *this = other;
  }
};

template <class T>
__device__ inline Farthest farthest_of(const Centre<T>& centre, int64_t first, int64_t step) {
  Farthest most;
  for (int64_t j = first; j < centre.cloud.k; j += step)
    if (centre.has(j)) most.take({centre.flat(j).squared, j});
  return most;
}

__device__ inline Farthest farthest_in_warp(Farthest most) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2)
    most.take({__shfl_xor_sync(kAllLanes, most.squared, lanes), __shfl_xor_sync(kAllLanes, most.place, lanes)});
  return most;
}

// The features of the neighbour that comes i-th around the axis; code_at(i) are the sorted codes.
template <class T, class CodeAt>
__device__ inline void write_features(const Centre<T>& centre, int64_t row, int64_t i, int64_t count,
                                      const CodeAt& code_at) {
  const int64_t at = row * centre.cloud.k + i;
  T* const out = centre.cloud.features + at * kInvariants;
  if (i >= count) {
    for (int f = 0; f < kInvariants; ++f) out[f] = 0;
    centre.cloud.ordered[at] = -1;
    return;
  }
  const int64_t j = place_in(code_at(i)), before = place_in(code_at(i > 0 ? i - 1 : count - 1));
  const Vector3<T> y = centre.offset(j), step = y - centre.offset(before);
  const Vector3<T> own_axis = centre.axis_of(j), axis_before = centre.axis_of(before);
  const T key = static_cast<T>(centre.key(j)), key_before = static_cast<T>(centre.key(before));
  const T squared = dot(y, y), inverse = inverse_length(squared), step_inverse = inverse_length(dot(step, step));
  const T own = dot(y, centre.axis) * inverse, other = dot(y, own_axis) * inverse;
  const T step_own = dot(step, own_axis) * step_inverse, step_other = dot(step, axis_before) * step_inverse;
  const T turned = angle_between(own_axis, centre.axis), step_turned = angle_between(own_axis, axis_before);
  constexpr T margin = static_cast<T>(kNearly<T>);
  out[0] = sqrt(squared);
  out[1] = i > 0 ? key - key_before : -3 - key_before;
  out[2] = own;
  out[3] = other;
  out[4] = own + margin < other ? turned : -turned;
  out[5] = step_own;
  out[6] = step_other;
  out[7] = step_own + margin < step_other ? step_turned : -step_turned;
  centre.cloud.ordered[at] = centre.neighbours[j];
}

// Puts kEach codes a lane, lane after lane, in descending order.
template <int kEach>
__device__ inline void sort_in_warp(Code (&codes)[kEach], int lane) {
  constexpr int all = kEach * kWarp;
#pragma unroll
  for (int size = 2; size <= all; size *= 2) {
#pragma unroll
    for (int apart = size / 2; apart > 0; apart /= 2) {
      if (apart >= kEach) {
        const bool lower = (lane & (apart / kEach)) == 0;
#pragma unroll
        for (int e = 0; e < kEach; ++e) {
          const bool descending = ((lane * kEach + e) & size) == 0;
          const Code other = __shfl_xor_sync(kAllLanes, codes[e], apart / kEach);
          codes[e] = lower == descending ? max(codes[e], other) : min(codes[e], other);
        }
      } else {
#pragma unroll
        for (int e = 0; e < kEach; ++e) {
          if ((e & apart) != 0) continue;
          const bool descending = ((lane * kEach + e) & size) == 0;
          const Code a = codes[e], b = codes[e | apart];
          codes[e] = descending ? max(a, b) : min(a, b);
          codes[e | apart] = descending ? min(a, b) : max(a, b);
        }
      }
    }
  }
}

// Rows of up to 32 kEach neighbours.
template <class T, int kEach>
__global__ void __launch_bounds__(kWarpThreads) describe_in_warps(const Cloud<T>* clouds, int64_t count) {
  __shared__ Code sorted[kWarpThreads / kWarp][kEach * kWarp];
  const int lane = threadIdx.x % kWarp;
  Code* const own = sorted[threadIdx.x / kWarp];
  for (int64_t item = blockIdx.y; item < count; item += gridDim.y) {
    const Cloud<T> cloud = clouds[item];
    for (int64_t row = thread_index() / kWarp; row < cloud.rows; row += thread_count() / kWarp) {
      Centre<T> centre(cloud, row);
      const Farthest most = farthest_in_warp(farthest_of(centre, lane, kWarp));
      if (most.place >= 0) centre.start_at(most.place);
      Code codes[kEach];
      int present = 0;
#pragma unroll
      for (int e = 0; e < kEach; ++e) {
        codes[e] = centre.code(e * kWarp + lane);
        present += __popc(__ballot_sync(kAllLanes, codes[e] != 0));
      }
      sort_in_warp(codes, lane);
      __syncwarp();  // all lanes are done with the row before
#pragma unroll
      for (int e = 0; e < kEach; ++e) own[lane * kEach + e] = codes[e];
      __syncwarp();
      for (int64_t i = lane; i < cloud.k; i += kWarp)
        write_features(centre, row, i, present, [&](int64_t at) { return own[at]; });
    }
  }
}

// A block sorts 2^n codes in device memory, in descending order.
__device__ inline void sort_in_block(Code* codes, int64_t all) {
  for (int64_t size = 2; size <= all; size *= 2)
    for (int64_t apart = size / 2; apart > 0; apart /= 2) {
      for (int64_t pair = threadIdx.x; pair < all / 2; pair += blockDim.x) {
        const int64_t i = pair / apart * apart * 2 + pair % apart;
        const Code a = codes[i], b = codes[i + apart];
        if ((a < b) == ((i & size) == 0)) {
          codes[i] = b;
          codes[i + apart] = a;
        }
      }
      __syncthreads();
    }
}

// Rows of any length; `codes` holds `all`, a power of two that is no less than the longest row, for each block.
template <class T>
__global__ void __launch_bounds__(kThreads)
    describe_in_blocks(const Cloud<T>* clouds, int64_t count, Code* codes, int64_t all) {
  __shared__ Farthest of_warps[kThreads / kWarp];
  Code* const own = codes + int64_t{blockIdx.x} * all;
  for (int64_t item = 0; item < count; ++item) {
    const Cloud<T> cloud = clouds[item];
    for (int64_t row = blockIdx.x; row < cloud.rows; row += gridDim.x) {
      Centre<T> centre(cloud, row);
      Farthest most = farthest_in_warp(farthest_of(centre, threadIdx.x, kThreads));
      if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = most;
      __syncthreads();
      for (const Farthest& other : of_warps)
        if (other.place >= 0) most.take(other);
      if (most.place >= 0) centre.start_at(most.place);
      int present = 0;
      for (int64_t first = 0; first < all; first += kThreads) {
        const int64_t j = first + threadIdx.x;
        const Code code = j < all ? centre.code(j) : 0;
        if (j < all) own[j] = code;
        present += __syncthreads_count(code != 0);
      }
      sort_in_block(own, all);
      for (int64_t i = threadIdx.x; i < cloud.k; i += kThreads)
        write_features(centre, row, i, present, [&](int64_t at) { return own[at]; });
      __syncthreads();  // the next row takes the same memory
    }
  }
}

}  // namespace

template <class T>
int64_t rotation_invariant_features(const std::vector<DeviceNeighbourhoods>& clouds,
                                    const std::vector<DeviceFeatures<T>>& features, const Workplace& place) {
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const auto count = static_cast<int64_t>(clouds.size());
  const auto first_of = [&](int kind) { return static_cast<int>(kind * count); };
  std::vector<Cloud<T>> described;
  std::vector<CheckedArray<T, AreAxes>> axes;
  std::vector<CheckedArray<int64_t, AreIndices>> centers;
  int64_t most_k = 0, most_points = 0;
  for (int64_t i = 0; i < count; ++i) {
    const DeviceNeighbourhoods& cloud = clouds[i];
    const DeviceFeatures<T>& own = features[i];
    described.push_back({static_cast<const T*>(cloud.points), own.axes, own.centers, cloud.neighbours, cloud.size,
                         cloud.rows, cloud.k, own.features, own.ordered});
    axes.push_back({own.axes, cloud.size * 3, first_of(1) + static_cast<int>(i), {}});
    centers.push_back({own.centers, cloud.rows, first_of(2) + static_cast<int>(i), {0, cloud.size}});
    if (cloud.size == 0) described.back().rows = 0;  // no index is right
    most_k = std::max(most_k, cloud.k);
    most_points = std::max(most_points, cloud.size);
  }
  const int64_t most = most_rows(clouds);
  if (most == 0 && most_points == 0) return -1;
  const Checks checks(place);
  check_neighbourhoods<T>(checks, clouds, 0, first_of(3));
  checks.start(axes);
  checks.start(centers);
  if (most * most_k > 0) {
    const bool in_warps = most_k <= kMostInWarp;
    const auto all = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(most_k)));
    const int64_t groups = std::min(most, kMostGroups);
    const auto [on_device, codes] = take_arrays(place.allocate, [&](Arena& arena) {
      return std::tuple(arena.take<Cloud<T>>(count), arena.take<Code>(in_warps ? 0 : groups * all));
    });
    upload(on_device, described, stream);
    const auto run = [&]<int kEach>() {
      const dim3 blocks = blocks_over(clouds.size(), (most * kWarp + kWarpThreads - 1) / kWarpThreads, kThreads);
      describe_in_warps<T, kEach><<<blocks, kWarpThreads, 0, stream>>>(on_device, count);
    };
    if (!in_warps)
      describe_in_blocks<<<static_cast<int>(groups), kThreads, 0, stream>>>(on_device, count, codes, all);
    else if (most_k <= kWarp)
      run.template operator()<1>();
    else if (most_k <= 2 * kWarp)
      run.template operator()<2>();
    else if (most_k <= 4 * kWarp)
      run.template operator()<4>();
    else
      run.template operator()<8>();
    launched("describing neighbourhoods");
  }
  return checks.found();
}

template int64_t rotation_invariant_features(const std::vector<DeviceNeighbourhoods>&,
                                             const std::vector<DeviceFeatures<float>>&, const Workplace&);
template int64_t rotation_invariant_features(const std::vector<DeviceNeighbourhoods>&,
                                             const std::vector<DeviceFeatures<double>>&, const Workplace&);

}  // namespace mk::cuda
