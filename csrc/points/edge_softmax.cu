// Softmax over the k edges that enter a node, and its derivative, on a CUDA device.
//
// A block takes some rows into shared memory, reading and writing numbers side by side; in between a thread goes over
// the edges of a head of a row in their order, so that sums are those of the CPU. Where not even one row fits into
// shared memory, that thread does it all. O(M k H).
#include <algorithm>

#include "common/launch.cuh"
#include "points/edge_softmax_cuda.h"
#include "points/exp.cuh"

namespace mk::cuda {

namespace {

constexpr int64_t kSharedBytes = 1 << 15;
constexpr int64_t kPairs = kThreads;  // of rows and heads that a block takes at most, if it can

// Rows [first, first + rows) as a block sees them: where their numbers are, and a value for each head of each row.
template <class T>
struct Tile {
  SoftmaxShape shape;
  int64_t rows, stride;
  T *numbers, *row_values;

  __device__ int64_t size() const { return rows * shape.k * shape.heads; }
  __device__ int64_t pairs() const { return rows * shape.heads; }
  __device__ T* first_of(int64_t pair) const { return numbers + pair / shape.heads * stride + pair % shape.heads; }
};

// A number of a tile: its edge in the rows of the tile, the pair of row and head, and its place.
struct Number {
  int64_t edge, pair, place;
  template <class T>
  __device__ Number(const Tile<T>& tile, int64_t at) {
    const auto number = static_cast<uint32_t>(at), heads = static_cast<uint32_t>(tile.shape.heads);
    const auto row_edges = static_cast<uint32_t>(tile.shape.k);
    const uint32_t own_edge = number / heads, head = number - own_edge * heads, row = own_edge / row_edges;
    edge = own_edge;
    pair = int64_t{row} * heads + head;
    place = row * tile.stride + (number - int64_t{row} * row_edges * heads);
  }
};

// 0 where exp(x) would not be a normal number, NaN for NaN.
template <class T>
__device__ inline T exp_or_zero(T x) {
  return x < -ExpFormat<T>::limit ? T(0) : exp_within_limit(x);
}

template <class T>
__device__ inline T nothing() {
  return -static_cast<T>(INFINITY);
}

struct Layout {
  int64_t together, stride;  // rows of a tile, none if they do not fit, and numbers from one to the next
  size_t bytes;
};

template <class T>
Layout layout_of(const SoftmaxShape& shape) {
  const int64_t size = shape.k * shape.heads, stride = size | 1;  // odd, so that rows begin in different banks
  const auto width = static_cast<int64_t>(sizeof(T));
  const int64_t fitting = kSharedBytes / ((stride + shape.heads) * width);
  const int64_t together = std::min(fitting, std::max<int64_t>(1, kPairs / shape.heads));
  return {together, stride, static_cast<size_t>(together * (stride + shape.heads) * width)};
}

// Calls work(tile, first row) for the tiles of a block.
template <class T, class Work>
__device__ inline void for_tiles(const SoftmaxShape& shape, const Layout& layout, const Work& work) {
  extern __shared__ double shared_doubles[];
  T* const shared = reinterpret_cast<T*>(shared_doubles);
  const int64_t tiles = (shape.rows + layout.together - 1) / layout.together;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t first = tile * layout.together, rows = min(layout.together, shape.rows - first);
    work(Tile<T>{shape, rows, layout.stride, shared + layout.together * shape.heads, shared}, first);
    __syncthreads();  // the next tile takes the same memory
  }
}

template <class T>
__global__ void softmax_rows(SoftmaxShape shape, Layout layout, const T* scores, const int64_t* neighbours,
                             T* weights) {
  for_tiles<T>(shape, layout, [&](const Tile<T>& tile, int64_t first) {
    const int64_t first_edge = first * shape.k, first_number = first_edge * shape.heads;
    for (int64_t i = threadIdx.x; i < tile.size(); i += blockDim.x) {
      const Number number(tile, i);
      tile.numbers[number.place] = neighbours[first_edge + number.edge] >= 0 ? scores[first_number + i] : nothing<T>();
    }
    __syncthreads();
    for (int64_t pair = threadIdx.x; pair < tile.pairs(); pair += blockDim.x) {
      const T* const own = tile.first_of(pair);
      T greatest = nothing<T>();
      for (int64_t j = 0; j < shape.k; ++j) {
        const T score = own[j * shape.heads];
        greatest = greatest < score ? score : greatest;
      }
      tile.row_values[pair] = greatest == nothing<T>() ? T(0) : greatest;
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < tile.size(); i += blockDim.x) {
      const Number number(tile, i);
      tile.numbers[number.place] = exp_or_zero(tile.numbers[number.place] - tile.row_values[number.pair]);
    }
    __syncthreads();
    for (int64_t pair = threadIdx.x; pair < tile.pairs(); pair += blockDim.x) {
      const T* const own = tile.first_of(pair);
      T sum = 0;
      for (int64_t j = 0; j < shape.k; ++j) sum += own[j * shape.heads];
      tile.row_values[pair] = sum == 0 ? T(0) : 1 / sum;
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < tile.size(); i += blockDim.x) {
      const Number number(tile, i);
      weights[first_number + i] = tile.numbers[number.place] * tile.row_values[number.pair];
    }
  });
}

template <class T>
__global__ void pull_rows(SoftmaxShape shape, Layout layout, const T* grad, const T* weights, T* pulled) {
  for_tiles<T>(shape, layout, [&](const Tile<T>& tile, int64_t first) {
    const int64_t first_number = first * shape.k * shape.heads;
    for (int64_t i = threadIdx.x; i < tile.size(); i += blockDim.x)
      tile.numbers[Number(tile, i).place] = weights[first_number + i] * grad[first_number + i];
    __syncthreads();
    for (int64_t pair = threadIdx.x; pair < tile.pairs(); pair += blockDim.x) {
      const T* const own = tile.first_of(pair);
      T sum = 0;
      for (int64_t j = 0; j < shape.k; ++j) sum += own[j * shape.heads];
      tile.row_values[pair] = sum;
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < tile.size(); i += blockDim.x) {
      const T sum = tile.row_values[Number(tile, i).pair];
      pulled[first_number + i] = weights[first_number + i] * (grad[first_number + i] - sum);
    }
  });
}

template <class T>
__global__ void softmax_long_rows(SoftmaxShape shape, const T* scores, const int64_t* neighbours, T* weights) {
  for (int64_t pair = thread_index(); pair < shape.rows * shape.heads; pair += thread_count()) {
    const int64_t first_edge = pair / shape.heads * shape.k, first = first_edge * shape.heads + pair % shape.heads;
    const T* const own = scores + first;
    T* const out = weights + first;
    const auto score_of = [&](int64_t j) {
      return neighbours[first_edge + j] >= 0 ? own[j * shape.heads] : nothing<T>();
    };
    T greatest = nothing<T>(), sum = 0;
    for (int64_t j = 0; j < shape.k; ++j) {
      const T score = score_of(j);
      greatest = greatest < score ? score : greatest;
    }
    if (greatest == nothing<T>()) greatest = 0;
    for (int64_t j = 0; j < shape.k; ++j) {
      const T weight = exp_or_zero(score_of(j) - greatest);
      out[j * shape.heads] = weight;
      sum += weight;
    }
    const T inverse = sum == 0 ? T(0) : 1 / sum;
    for (int64_t j = 0; j < shape.k; ++j) out[j * shape.heads] *= inverse;
  }
}

template <class T>
__global__ void pull_long_rows(SoftmaxShape shape, const T* grad, const T* weights, T* pulled) {
  for (int64_t pair = thread_index(); pair < shape.rows * shape.heads; pair += thread_count()) {
    const int64_t first = pair / shape.heads * shape.k * shape.heads + pair % shape.heads;
    T sum = 0;
    for (int64_t j = 0; j < shape.k; ++j) sum += weights[first + j * shape.heads] * grad[first + j * shape.heads];
    for (int64_t j = 0; j < shape.k; ++j) {
      const int64_t at = first + j * shape.heads;
      pulled[at] = weights[at] * (grad[at] - sum);
    }
  }
}

int tiles_of(const SoftmaxShape& shape, const Layout& layout) {
  return static_cast<int>(std::min(kMostBlocks, (shape.rows + layout.together - 1) / layout.together));
}

}  // namespace

template <class T>
void edge_softmax(const SoftmaxShape& shape, const T* scores, const int64_t* neighbours, T* weights,
                  const Workplace& place) {
  if (shape.rows * shape.k * shape.heads == 0) return;
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const Layout layout = layout_of<T>(shape);
  if (layout.together > 0) {
    const int blocks = tiles_of(shape, layout);
    softmax_rows<<<blocks, kThreads, layout.bytes, stream>>>(shape, layout, scores, neighbours, weights);
  } else {
    const int blocks = blocks_for(shape.rows * shape.heads);
    softmax_long_rows<<<blocks, kThreads, 0, stream>>>(shape, scores, neighbours, weights);
  }
  launched("softmax over edges");
}

template <class T>
void edge_softmax_backward(const SoftmaxShape& shape, const T* grad, const T* weights, T* pulled,
                           const Workplace& place) {
  if (shape.rows * shape.k * shape.heads == 0) return;
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const Layout layout = layout_of<T>(shape);
  if (layout.together > 0) {
    const int blocks = tiles_of(shape, layout);
    pull_rows<<<blocks, kThreads, layout.bytes, stream>>>(shape, layout, grad, weights, pulled);
  } else {
    const int blocks = blocks_for(shape.rows * shape.heads);
    pull_long_rows<<<blocks, kThreads, 0, stream>>>(shape, grad, weights, pulled);
  }
  launched("gradients of a softmax over edges");
}

template void edge_softmax(const SoftmaxShape&, const float*, const int64_t*, float*, const Workplace&);
template void edge_softmax(const SoftmaxShape&, const double*, const int64_t*, double*, const Workplace&);
template void edge_softmax_backward(const SoftmaxShape&, const float*, const float*, float*, const Workplace&);
template void edge_softmax_backward(const SoftmaxShape&, const double*, const double*, double*, const Workplace&);

}  // namespace mk::cuda
