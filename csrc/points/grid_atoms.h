// Atoms drawn into a cubic grid for each channel, and the gradient, as libmolgrid does (J. Sunseri and D. R. Koes 2020,
// "libmolgrid: Graphics Processing Unit Accelerated Molecular Gridding for Deep Learning Applications"). At u radii
// from its centre an atom has the density exp(-2 u^2) up to u = G, then the parabola 4 G^2 exp(-2 G^2) (F - u)^2, which
// meets it with one slope, and nothing from F = (1 + 2 G^2) / (2 G) on; or 1 where u < 1.
// Threads go over slabs of a channel, and a voxel is summed in the order of the atoms. Along a row the Gaussian is the
// product of three that are tabulated. O(atoms + voxels + voxels within reach) time, O(atoms) memory.
#pragma once

#include <cstdint>
#include <span>

namespace mk::points {

// Those of all items, one item after the other. Coordinates and radii are so small that their squares are finite.
template <class T>
struct Atoms {
  std::span<const T> coords;          // [atoms, 3]
  std::span<const int64_t> channels;  // [atoms]; those of -1 are not drawn
  std::span<const T> radii;           // [atoms], positive
  std::span<const int64_t> starts;    // [items + 1]: the first atom of each item, and the number of atoms
  std::span<const T> centers;         // [items, 3]: the middle of each grid
};

struct AtomGrid {
  int64_t channels, points;  // points along each edge
  double side, resolution;   // the first point lies side / 2 before the middle
  double multiple;           // G
  bool binary;
};

// grids: [items, channels, points, points, points], x first.
template <class T>
void grid_atoms(const Atoms<T>& atoms, const AtomGrid& grid, std::span<T> grids);

// Derivatives with respect to coords, radii and centers; not of binary grids.
template <class T>
void grid_atoms_backward(std::span<const T> grad_grids, const Atoms<T>& atoms, const AtomGrid& grid,
                         std::span<T> coords, std::span<T> radii, std::span<T> centers);

}  // namespace mk::points
