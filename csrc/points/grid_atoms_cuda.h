// Atoms drawn into a cubic grid for each channel, and the gradient, on a CUDA device, as on the CPU.
#pragma once

#include <cstdint>
#include <span>

#include "points/clouds_cuda.h"

namespace mk::cuda {

// As points/grid_atoms.h has them; all but `starts` in device memory.
template <class T>
struct DeviceAtoms {
  const T* coords;
  const int64_t* channels;
  const T* radii;
  const T* centers;
  std::span<const int64_t> starts;  // [items + 1]

  int64_t items() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t count() const { return starts.back(); }
};

struct DeviceAtomGrid {
  int64_t channels, points;
  double side, resolution, multiple;
  bool binary;
};

// Of the arrays coords, centers, radii and channels the number of the first with a bad value, or -1; waits for the
// device to know that.
template <class T>
int64_t grid_atoms(const DeviceAtoms<T>& atoms, const DeviceAtomGrid& grid, T* grids, const Workplace& place);

// Does not wait.
template <class T>
void grid_atoms_backward(const T* grad_grids, const DeviceAtoms<T>& atoms, const DeviceAtomGrid& grid, T* coords,
                         T* radii, T* centers, const Workplace& place);

// Bytes of device memory that atoms take, at most.
int64_t atoms_memory(int64_t items, int64_t atoms, int64_t channels);

}  // namespace mk::cuda
