// Atoms drawn into grids on a CUDA device, by the formulas of points/grid_atoms.cpp.
//
// Atoms are sorted by channel and get the box of grid points that they reach. A block has a brick of a channel: it
// picks the atoms whose boxes meet the brick, in their order, tabulates their squares and Gaussians along the axes of
// the brick in shared memory, and each thread sums a column of points in registers. So points are summed in the order
// of the atoms, with the numbers of the CPU, and each is written once. The gradient: a warp an atom, over its box.
// O(atoms + points + points within reach), and a look at each atom of a channel for each of its bricks; O(atoms)
// memory.
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <tuple>

#include "points/cells.cuh"
#include "points/exp.cuh"
#include "points/grid_atoms_cuda.h"
#include "points/sorted_runs.cuh"

namespace mk::cuda {

namespace {

constexpr int kSide = 16;                 // of a brick; a thread has a column of as many points
constexpr int kTabulated = 16;            // atoms whose tables are in shared memory at the same time
constexpr int kRowLanes = 8;              // lanes of a warp along z, as it goes over a box; the others are along y
constexpr double kFar = 1e6;              // radii, as on the CPU: offsets beyond are all the same
constexpr int64_t kMostBricks = 1 << 20;  // blocks

static_assert(kSide * kSide == kThreads);

// As in points/atom_loops.h.
struct Density {
  double squared_core, squared_reach, reach, parabola;
};

struct Frame {
  int64_t channels, points;
  double side, resolution;
  Density density;

  __device__ int64_t layer_size() const { return points * points * points; }
};

// Points [begin, end) of each axis that an atom may reach.
struct Box {
  int32_t begin[3], end[3];
};

// Where an atom lies: its first points of the axes, seen from it, and its radius.
struct Offsets {
  double first[3], radius;
};

template <class T>
struct Atoms {
  const T* coords;
  const int64_t* channels;
  const T* radii;
  const T* centers;
  const int64_t* starts;
  int64_t items, count;
};

// Sorted by the channel that they are drawn into; `absent` stands for none.
struct SortedAtoms {
  const uint32_t *layers, *numbers;
  const Box* boxes;
  const Offsets* offsets;
  int64_t count;
  uint32_t absent;
};

struct DrawnAtoms {
  SortedRuns<uint32_t> by_layer;
  Box* boxes;
  Offsets* offsets;

  DrawnAtoms(Arena& arena, int64_t atoms, int64_t layers)
      : by_layer(arena, atoms, layers), boxes(arena.take<Box>(atoms)), offsets(arena.take<Offsets>(atoms)) {}

  SortedAtoms sorted() const {
    return {
        by_layer.keys_of(), by_layer.numbers(), boxes, offsets, by_layer.count, static_cast<uint32_t>(by_layer.keys)};
  }
};

template <class T>
__device__ inline double origin(const Atoms<T>& atoms, const Frame& frame, int64_t item, int axis) {
  return static_cast<double>(atoms.centers[item * 3 + axis]) - frame.side / 2;
}

__device__ inline int32_t within(double place, const Frame& frame) {
  return static_cast<int32_t>(min(max(place, 0.0), static_cast<double>(frame.points)));
}

// With a point more than needed at either end, as these places are rounded.
template <class T>
__device__ inline Box box_of(const Atoms<T>& atoms, const Frame& frame, int64_t item, int64_t atom) {
  const double reach = frame.density.reach * static_cast<double>(atoms.radii[atom]);
  Box box;
  for (int axis = 0; axis < 3; ++axis) {
    const auto at = static_cast<double>(atoms.coords[atom * 3 + axis]);
    const double first = origin(atoms, frame, item, axis);
    box.begin[axis] = within(floor((at - reach - first) / frame.resolution), frame);
    box.end[axis] = within(ceil((at + reach - first) / frame.resolution) + 1, frame);
  }
  return box;
}

// The channel, in one numbering over the items, that each atom is drawn into; those that are not follow all channels.
template <class T>
__global__ void number_atoms(Atoms<T> atoms, Frame frame, uint32_t* layers, uint32_t* numbers) {
  for (int64_t atom = thread_index(); atom < atoms.count; atom += thread_count()) {
    const int64_t item = item_of(atoms.starts, atoms.items, atom), channel = atoms.channels[atom];
    const Box box = box_of(atoms, frame, item, atom);
    bool inside = channel >= 0 && channel < frame.channels;
    for (int axis = 0; axis < 3; ++axis) inside = inside && box.begin[axis] < box.end[axis];
    layers[atom] = static_cast<uint32_t>(inside ? item * frame.channels + channel : atoms.items * frame.channels);
    numbers[atom] = static_cast<uint32_t>(atom);
  }
}

template <class T>
__global__ void place_atoms(Atoms<T> atoms, Frame frame, const uint32_t* numbers, Box* boxes, Offsets* offsets) {
  for (int64_t i = thread_index(); i < atoms.count; i += thread_count()) {
    const int64_t atom = numbers[i], item = item_of(atoms.starts, atoms.items, atom);
    const Box box = box_of(atoms, frame, item, atom);
    Offsets found;
    for (int axis = 0; axis < 3; ++axis) {
      const double first = origin(atoms, frame, item, axis) + frame.resolution * box.begin[axis];
      found.first[axis] = first - static_cast<double>(atoms.coords[atom * 3 + axis]);
    }
    found.radius = static_cast<double>(atoms.radii[atom]);
    boxes[i] = box;
    offsets[i] = found;
  }
}

// A point of an axis as an atom sees it, in radii.
template <class T>
struct AxisPoint {
  T offset, square, gaussian;

  __device__ AxisPoint(const Box& box, const Offsets& atom, double step, int axis, int64_t point) {
    const double away = atom.first[axis] + step * static_cast<double>(point - box.begin[axis]);
    offset = static_cast<T>(min(max(away / atom.radius, -kFar), kFar));
    square = offset * offset;
    const T x = T(-2) * square;
    gaussian = exp_within_limit(x > -ExpFormat<T>::limit ? x : -ExpFormat<T>::limit);
  }
};

// A point in a table of a brick. In binary grids the square is that of the distance itself.
template <class T>
struct Entry {
  T square, gaussian;
};

template <class T, bool kBinary>
struct TableType {
  using Square = T;
};
template <class T>
struct TableType<T, true> {
  using Square = double;
};

template <class Square, class T, bool kBinary>
__device__ inline Entry<Square> entry_of(const Box& box, const Offsets& atom, double step, int axis, int64_t point) {
  if (point < box.begin[axis] || point >= box.end[axis]) return {static_cast<Square>(INFINITY), 0};
  if constexpr (kBinary) {
    const double away = atom.first[axis] + step * static_cast<double>(point - box.begin[axis]);
    return {away * away, 0};
  } else {
    const AxisPoint<T> found(box, atom, step, axis, point);
    return {found.square, found.gaussian};
  }
}

// Picks those of the atoms [first, first + kThreads) before `end` whose boxes meet a brick, in their order.
__device__ inline int pick_atoms(const Box* boxes, uint32_t first, uint32_t end, const int64_t (&low)[3],
                                 uint32_t* picked) {
  __shared__ int of_warps[kThreads / kWarp];
  const uint32_t i = first + threadIdx.x;
  bool near = i < end;
  if (near) {
    const Box box = boxes[i];
    for (int axis = 0; axis < 3; ++axis)
      near = near && box.begin[axis] < low[axis] + kSide && box.end[axis] > low[axis];
  }
  const unsigned votes = __ballot_sync(kAllLanes, near);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (lane == 0) of_warps[warp] = __popc(votes);
  __syncthreads();
  int before = 0, all = 0;
  for (int w = 0; w < kThreads / kWarp; ++w) {
    before += w < warp ? of_warps[w] : 0;
    all += of_warps[w];
  }
  if (near) picked[before + __popc(votes & ((1u << lane) - 1))] = i;
  __syncthreads();
  return all;
}

template <class T, bool kBinary>
__global__ void __launch_bounds__(kThreads)
    draw(Frame frame, const Run* runs, const Box* boxes, const Offsets* offsets, int64_t bricks, T* grids) {
  using Square = typename TableType<T, kBinary>::Square;
  __shared__ Entry<Square> tables[kTabulated][3][kSide];
  __shared__ double squared_radii[kTabulated];
  __shared__ uint32_t picked[kThreads];
  const int row = threadIdx.x / kSide, column = threadIdx.x % kSide;
  const int64_t n = frame.points, along = (n + kSide - 1) / kSide;
  const T core = static_cast<T>(frame.density.squared_core);
  const T squared_reach = static_cast<T>(frame.density.squared_reach);
  const T reach = static_cast<T>(frame.density.reach), parabola = static_cast<T>(frame.density.parabola);
  for (int64_t brick = blockIdx.x; brick < bricks; brick += gridDim.x) {
    const int64_t layer = brick / (along * along * along), in_layer = brick - layer * along * along * along;
    const int64_t low[3]{in_layer / (along * along) * kSide, in_layer / along % along * kSide,
                         in_layer % along * kSide};
    const Run run = runs[layer];
    T sums[kSide] = {};
    for (uint32_t first = run.begin; first < run.end; first += kThreads) {
      const int count = pick_atoms(boxes, first, run.end, low, picked);
      for (int begin = 0; begin < count; begin += kTabulated) {
        const int tabulated = min(kTabulated, count - begin);
        for (int e = threadIdx.x; e < tabulated * 3 * kSide; e += kThreads) {
          const int atom = e / (3 * kSide), axis = e / kSide % 3, k = e % kSide;
          const uint32_t i = picked[begin + atom];
          tables[atom][axis][k] =
              entry_of<Square, T, kBinary>(boxes[i], offsets[i], frame.resolution, axis, low[axis] + k);
          if (axis == 0 && k == 0) squared_radii[atom] = offsets[i].radius * offsets[i].radius;
        }
        __syncthreads();
        for (int atom = 0; atom < tabulated; ++atom) {
          const Entry<Square> y = tables[atom][1][row], z = tables[atom][2][column];
          if constexpr (kBinary) {
            const double squared_radius = squared_radii[atom];
#pragma unroll
            for (int i = 0; i < kSide; ++i)
              if (tables[atom][0][i].square + y.square + z.square < squared_radius) sums[i] = 1;
          } else {
            if (y.square >= squared_reach || z.square >= squared_reach) continue;
#pragma unroll
            for (int i = 0; i < kSide; ++i) {
              const Entry<Square> x = tables[atom][0][i];
              const T square = x.square + y.square;
              if (square >= squared_reach) continue;
              const T squared = square + z.square, left = reach - sqrt(squared);
              const T tail = left > T(0) ? parabola * left * left : T(0);
              sums[i] += squared <= core ? x.gaussian * y.gaussian * z.gaussian : tail;
            }
          }
        }
        __syncthreads();  // the next tables take the same memory
      }
    }
    const int64_t y = low[1] + row, z = low[2] + column;
    if (y < n && z < n) {
      T* const out = grids + layer * frame.layer_size() + y * n + z;
#pragma unroll
      for (int i = 0; i < kSide; ++i)
        if (low[0] + i < n) out[(low[0] + i) * n * n] = sums[i];
    }
  }
}

// The derivatives by the place and the radius of an atom, by all lanes of a warp.
template <class T>
__global__ void gather(Frame frame, SortedAtoms drawn, const T* grads, double* moves, T* radii) {
  const int lane = threadIdx.x % kWarp;
  const T core = static_cast<T>(frame.density.squared_core);
  const T squared_reach = static_cast<T>(frame.density.squared_reach);
  const T reach = static_cast<T>(frame.density.reach), twice = static_cast<T>(-2 * frame.density.parabola);
  constexpr int rows = kWarp / kRowLanes;
  const int64_t n = frame.points;
  for (int64_t i = thread_index() / kWarp; i < drawn.count; i += thread_count() / kWarp) {
    const uint32_t layer = drawn.layers[i], atom = drawn.numbers[i];
    T sums[4] = {};
    const Box box = drawn.boxes[i];
    const Offsets own = drawn.offsets[i];
    const T* const grid = grads + int64_t{layer} * frame.layer_size();
    // Of atoms that are not drawn the box is not looked at.
    for (int32_t first_x = layer < drawn.absent ? box.begin[0] : box.end[0]; first_x < box.end[0]; first_x += kWarp) {
      const AxisPoint<T> of_lane(box, own, frame.resolution, 0, first_x + lane);
      const int planes = min(kWarp, box.end[0] - first_x);
      for (int32_t first_y = box.begin[1]; first_y < box.end[1]; first_y += rows)
        for (int32_t first_z = box.begin[2]; first_z < box.end[2]; first_z += kRowLanes) {
          const int32_t y = first_y + lane / kRowLanes, z = first_z + lane % kRowLanes;
          const bool inside = y < box.end[1] && z < box.end[2];
          const AxisPoint<T> in_y(box, own, frame.resolution, 1, y), in_z(box, own, frame.resolution, 2, z);
          for (int plane = 0; plane < planes; ++plane) {
            const T x = __shfl_sync(kAllLanes, of_lane.offset, plane);
            const T square = __shfl_sync(kAllLanes, of_lane.square, plane) + in_y.square;
            const T gaussian = T(-4) * (__shfl_sync(kAllLanes, of_lane.gaussian, plane) * in_y.gaussian);
            const T squared = square + in_z.square;
            if (!inside || squared >= squared_reach) continue;
            const T distance = sqrt(squared);
            const T slope = squared <= core ? gaussian * in_z.gaussian : twice * ((reach - distance) / distance);
            const T w = grid[((first_x + plane) * n + y) * n + z] * slope;
            sums[0] += w * x;
            sums[1] += w * in_y.offset;
            sums[2] += w * in_z.offset;
            sums[3] += w * squared;
          }
        }
    }
    double totals[4];
    for (int s = 0; s < 4; ++s) {
      totals[s] = static_cast<double>(sums[s]);
      for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) totals[s] += __shfl_xor_sync(kAllLanes, totals[s], lanes);
    }
    if (lane == 0) {
      for (int axis = 0; axis < 3; ++axis) moves[int64_t{atom} * 3 + axis] = 0.0 - totals[axis] / own.radius;
      radii[atom] = static_cast<T>(0.0 - totals[3] / own.radius);
    }
  }
}

template <class T>
__global__ void write_moves(const double* moves, int64_t count, T* coords) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) coords[i] = static_cast<T>(moves[i]);
}

// The grid moves against the sum of its atoms.
template <class T>
__global__ void write_centers(const RowSums* sums, int64_t items, T* centers) {
  for (int64_t item = thread_index(); item < items; item += thread_count()) {
    centers[item * 3] = static_cast<T>(0.0 - sums[item].x);
    centers[item * 3 + 1] = static_cast<T>(0.0 - sums[item].y);
    centers[item * 3 + 2] = static_cast<T>(0.0 - sums[item].z);
  }
}

Frame frame_of(const DeviceAtomGrid& grid) {
  const double square = grid.multiple * grid.multiple, reach = (1 + 2 * square) / (2 * grid.multiple);
  const Density density{square, grid.binary ? 1 : reach * reach, grid.binary ? 1 : reach,
                        4 * square * std::exp(-2 * square)};
  return {grid.channels, grid.points, grid.side, grid.resolution, density};
}

template <class T>
Atoms<T> upload_atoms(const DeviceAtoms<T>& atoms, const Workplace& place) {
  auto* const starts = static_cast<int64_t*>(place.allocate(atoms.starts.size() * sizeof(int64_t)));
  upload(starts, std::vector<int64_t>(atoms.starts.begin(), atoms.starts.end()),
         static_cast<cudaStream_t>(place.stream));
  return {atoms.coords, atoms.channels, atoms.radii, atoms.centers, starts, atoms.items(), atoms.count()};
}

template <class T>
DrawnAtoms sort_atoms(const Atoms<T>& atoms, const Frame& frame, const Workplace& place) {
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const int64_t layers = atoms.items * frame.channels;
  if (layers >= int64_t{UINT32_MAX}) throw std::invalid_argument("a GPU takes fewer than 2^32 - 1 grids of a channel");
  DrawnAtoms drawn = take_arrays(place.allocate, [&](Arena& arena) { return DrawnAtoms(arena, atoms.count, layers); });
  const int blocks = blocks_for(atoms.count);
  number_atoms<<<blocks, kThreads, 0, stream>>>(atoms, frame, drawn.by_layer.keys_of(), drawn.by_layer.numbers());
  launched("finding the channels of atoms");
  drawn.by_layer.sort(stream);
  place_atoms<<<blocks, kThreads, 0, stream>>>(atoms, frame, drawn.by_layer.numbers(), drawn.boxes, drawn.offsets);
  launched("placing atoms");
  return drawn;
}

template <class T>
struct AreRadii {
  static constexpr int kGroup = 1;
  __device__ bool operator()(const T* radius) const { return *radius >= T(1e-18) && *radius <= T(1e18); }
};

}  // namespace

int64_t atoms_memory(int64_t items, int64_t atoms, int64_t channels) {
  Arena arena;
  const DrawnAtoms drawn(arena, atoms, items * channels);
  const int64_t of_items = items * static_cast<int64_t>((kMostPieces + 1) * sizeof(RowSums) + 64) + (1 << 16);
  return static_cast<int64_t>(arena.bytes()) + of_items + atoms * static_cast<int64_t>(3 * sizeof(double));
}

template <class T>
int64_t grid_atoms(const DeviceAtoms<T>& given, const DeviceAtomGrid& grid, T* grids, const Workplace& place) {
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const Checks checks(place);
  checks.start(given.coords, given.count() * 3, 0, AreCoordinates<T>{});
  checks.start(given.centers, given.items() * 3, 1, AreCoordinates<T>{});
  checks.start(given.radii, given.count(), 2, AreRadii<T>{});
  checks.start(given.channels, given.count(), 3, AreIndices{-1, grid.channels});
  const int64_t along = (grid.points + kSide - 1) / kSide;
  const int64_t bricks = given.items() * grid.channels * along * along * along;
  if (bricks > 0) {
    const Frame frame = frame_of(grid);
    const DrawnAtoms drawn = sort_atoms(upload_atoms(given, place), frame, place);
    const auto run = [&]<bool kBinary>() {
      draw<T, kBinary><<<static_cast<int>(std::min(bricks, kMostBricks)), kThreads, 0, stream>>>(
          frame, drawn.by_layer.runs, drawn.boxes, drawn.offsets, bricks, grids);
    };
    grid.binary ? run.template operator()<true>() : run.template operator()<false>();
    launched("drawing atoms");
  }
  return checks.found();
}

template <class T>
void grid_atoms_backward(const T* grad_grids, const DeviceAtoms<T>& given, const DeviceAtomGrid& grid, T* coords,
                         T* radii, T* centers, const Workplace& place) {
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  if (given.items() == 0) return;
  const int64_t count = given.count();
  auto* const moves = static_cast<double*>(place.allocate(count * 3 * sizeof(double)));
  if (count > 0) {
    const Frame frame = frame_of(grid);
    const DrawnAtoms drawn = sort_atoms(upload_atoms(given, place), frame, place);
    gather<<<blocks_for(count, kWarp), kThreads, 0, stream>>>(frame, drawn.sorted(), grad_grids, moves, radii);
    launched("gradients of atoms");
    write_moves<<<blocks_for(count * 3), kThreads, 0, stream>>>(moves, count * 3, coords);
    launched("writing gradients of atoms");
  }
  const RowSums* const sums = add_items(static_cast<const double*>(moves), given.starts, place);
  write_centers<<<blocks_for(given.items()), kThreads, 0, stream>>>(sums, given.items(), centers);
  launched("writing gradients of centers");
}

template int64_t grid_atoms(const DeviceAtoms<float>&, const DeviceAtomGrid&, float*, const Workplace&);
template int64_t grid_atoms(const DeviceAtoms<double>&, const DeviceAtomGrid&, double*, const Workplace&);
template void grid_atoms_backward(const float*, const DeviceAtoms<float>&, const DeviceAtomGrid&, float*, float*,
                                  float*, const Workplace&);
template void grid_atoms_backward(const double*, const DeviceAtoms<double>&, const DeviceAtomGrid&, double*, double*,
                                  double*, const Workplace&);

}  // namespace mk::cuda
