#include "points/grid_atoms.h"

#include <array>

#include "common/parallel.h"
#include "points/atom_loops.h"

namespace mk::points {

namespace {

// Slabs of fewer planes mean that an atom is tabulated more often, but that more threads find work.
constexpr int64_t kPlanes = 16, kFewPlanes = 4, kManySlabs = 64;
// Atoms that a thread takes at a time in the backward pass.
constexpr int64_t kAtoms = 16;

using Ranges = std::array<AxisRange, 3>;

// The atoms that reach the grid of their channel, in their order within each channel of each item.
struct Drawn {
  std::vector<Ranges> ranges;   // of all atoms
  std::vector<int64_t> atoms;   // sorted by channel
  std::vector<int64_t> starts;  // [items * channels + 1]
};

Density density_of(const AtomGrid& grid) {
  const double square = grid.multiple * grid.multiple, reach = (1 + 2 * square) / (2 * grid.multiple);
  return {square, reach * reach, reach, 4 * square * std::exp(-2 * square), grid.binary};
}

template <class T>
double origin(const Atoms<T>& atoms, const AtomGrid& grid, int64_t item, int64_t axis) {
  return static_cast<double>(atoms.centers[item * 3 + axis]) - grid.side / 2;
}

// With a point more than needed at either end, as these places are rounded.
AxisRange axis_range(double place, double reach, double first, const AtomGrid& grid) {
  const double last = static_cast<double>(grid.points);
  const double begin = std::floor((place - reach - first) / grid.resolution);
  const double end = std::ceil((place + reach - first) / grid.resolution) + 1;
  return {static_cast<int32_t>(std::clamp(begin, 0.0, last)), static_cast<int32_t>(std::clamp(end, 0.0, last))};
}

template <class T>
Drawn sort_atoms(const Atoms<T>& atoms, const AtomGrid& grid, const Density& density) {
  const int64_t items = static_cast<int64_t>(atoms.starts.size()) - 1, count = atoms.starts[items];
  Drawn drawn{std::vector<Ranges>(count), {}, std::vector<int64_t>(items * grid.channels + 1)};
  const double reach = density.binary ? 1 : density.reach;
  std::vector<int64_t> places(count, -1);
  for (int64_t item = 0; item < items; ++item)
    parallel_blocks(atoms.starts[item + 1] - atoms.starts[item], [&](int64_t begin, int64_t end) {
      for (int64_t a = atoms.starts[item] + begin; a < atoms.starts[item] + end; ++a) {
        bool inside = atoms.channels[a] >= 0;
        for (int64_t axis = 0; axis < 3; ++axis) {
          AxisRange& range = drawn.ranges[a][axis];
          range = axis_range(atoms.coords[a * 3 + axis], reach * atoms.radii[a], origin(atoms, grid, item, axis), grid);
          inside = inside && range.count() > 0;
        }
        if (inside) places[a] = item * grid.channels + atoms.channels[a];
      }
    });
  for (const int64_t place : places)
    if (place >= 0) ++drawn.starts[place + 1];
  for (size_t i = 1; i < drawn.starts.size(); ++i) drawn.starts[i] += drawn.starts[i - 1];
  drawn.atoms.resize(drawn.starts.back());
  std::vector<int64_t> next(drawn.starts.begin(), drawn.starts.end() - 1);
  for (int64_t a = 0; a < count; ++a)
    if (places[a] >= 0) drawn.atoms[next[places[a]]++] = a;
  return drawn;
}

template <class T>
[[gnu::always_inline]] inline void tabulate_atom(const Atoms<T>& atoms, const AtomGrid& grid, int64_t item,
                                                 int64_t atom, const Ranges& ranges, AtomTables<T>& tables) {
  AxisTable<T>* const axes[] = {&tables.x, &tables.y, &tables.z};
  for (int64_t axis = 0; axis < 3; ++axis) {
    const double first = origin(atoms, grid, item, axis) + grid.resolution * ranges[axis].begin;
    tabulate(ranges[axis], first - static_cast<double>(atoms.coords[atom * 3 + axis]), grid.resolution,
             static_cast<double>(atoms.radii[atom]), grid.binary, *axes[axis]);
  }
}

}  // namespace

template <class T>
void grid_atoms(const Atoms<T>& atoms, const AtomGrid& grid, std::span<T> grids) {
  const Density density = density_of(grid);
  const Drawn drawn = sort_atoms(atoms, grid, density);
  const int64_t layers = static_cast<int64_t>(drawn.starts.size()) - 1, n = grid.points;
  const int64_t planes = layers * ((n + kPlanes - 1) / kPlanes) < kManySlabs ? kFewPlanes : kPlanes;
  const int64_t slabs = (n + planes - 1) / planes;
  parallel_for(layers * slabs, [&](int64_t task) {
    const int64_t layer = task / slabs, first = task % slabs * planes, last = std::min(n, first + planes);
    const Slab<T> slab{grids.data() + (layer * n + first) * n * n, n, first, last - first};
    std::fill(slab.values, slab.end(), T(0));
    AtomTables<T> tables(n);
    for (int64_t at = drawn.starts[layer]; at < drawn.starts[layer + 1]; ++at) {
      const int64_t atom = drawn.atoms[at];
      Ranges ranges = drawn.ranges[atom];
      ranges[0].begin = std::max(ranges[0].begin, static_cast<int32_t>(first));
      ranges[0].end = std::min(ranges[0].end, static_cast<int32_t>(last));
      if (ranges[0].begin >= ranges[0].end) continue;
      const double radius = atoms.radii[atom];
      simd::with_widest([&]() __attribute__((always_inline)) {
        tabulate_atom(atoms, grid, layer / grid.channels, atom, ranges, tables);
        if (grid.binary)
          mark_atom(slab, ranges.data(), tables, radius * radius);
        else
          add_atom(slab, ranges.data(), tables, density);
      });
    }
  });
}

template <class T>
void grid_atoms_backward(std::span<const T> grad_grids, const Atoms<T>& atoms, const AtomGrid& grid,
                         std::span<T> coords, std::span<T> radii, std::span<T> centers) {
  const Density density = density_of(grid);
  const Drawn drawn = sort_atoms(atoms, grid, density);
  const int64_t n = grid.points, count = static_cast<int64_t>(drawn.atoms.size());
  std::vector<double> moves(coords.size());
  std::fill(radii.begin(), radii.end(), T(0));
  parallel_for((count + kAtoms - 1) / kAtoms, [&](int64_t block) {
    AtomTables<T> tables(n);
    for (int64_t at = block * kAtoms; at < std::min(count, (block + 1) * kAtoms); ++at) {
      const int64_t atom = drawn.atoms[at];
      const int64_t layer = std::upper_bound(drawn.starts.begin(), drawn.starts.end(), at) - drawn.starts.begin() - 1;
      const Slab<const T> slab{grad_grids.data() + layer * n * n * n, n, 0, n};
      const Ranges& ranges = drawn.ranges[atom];
      AtomSums sums;
      simd::with_widest([&]() __attribute__((always_inline)) {
        tabulate_atom(atoms, grid, layer / grid.channels, atom, ranges, tables);
        sums = gather_atom(slab, ranges.data(), tables, density);
      });
      const double radius = atoms.radii[atom];
      const double offsets[] = {sums.x, sums.y, sums.z};
      for (int64_t axis = 0; axis < 3; ++axis) moves[atom * 3 + axis] = -offsets[axis] / radius;
      radii[atom] = static_cast<T>(-sums.squared / radius);
    }
  });
  std::fill(centers.begin(), centers.end(), T(0));
  for (size_t item = 0; item + 1 < atoms.starts.size(); ++item)
    for (int64_t axis = 0; axis < 3; ++axis) {
      double sum = 0;
      for (int64_t a = atoms.starts[item]; a < atoms.starts[item + 1]; ++a) sum -= moves[a * 3 + axis];
      centers[item * 3 + axis] = static_cast<T>(sum);
    }
  std::transform(moves.begin(), moves.end(), coords.begin(), [](double move) { return static_cast<T>(move); });
}

template void grid_atoms(const Atoms<float>&, const AtomGrid&, std::span<float>);
template void grid_atoms(const Atoms<double>&, const AtomGrid&, std::span<double>);
template void grid_atoms_backward(std::span<const float>, const Atoms<float>&, const AtomGrid&, std::span<float>,
                                  std::span<float>, std::span<float>);
template void grid_atoms_backward(std::span<const double>, const Atoms<double>&, const AtomGrid&, std::span<double>,
                                  std::span<double>, std::span<double>);

}  // namespace mk::points
