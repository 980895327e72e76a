#include <pybind11/pybind11.h>

#include <cmath>
#include <string>
#include <type_traits>

#include "points/binding_arrays.h"
#include "points/devoxelize.h"
#include "points/grid_atoms.h"
#include "points/voxelize.h"

namespace py = pybind11;

namespace {

using mk::points::Array;
using mk::points::input;
using mk::points::output;

template <class T>
void check_places(std::span<const T> values, const char* name) {
  const char* wanted =
      std::is_same_v<T, float> ? "finite and at most 1e18 in size" : "finite and at most 1e150 in size";
  mk::check_values(values, name, wanted, [](T value) { return std::abs(value) <= mk::points::kMost<T>; });
}

template <class T>
void check_atoms(const mk::points::Atoms<T>& atoms, int64_t channels) {
  check_places(atoms.coords, "coords");
  check_places(atoms.centers, "center");
  mk::check_values(atoms.radii, "radii", "from 1e-18 to 1e18",
                   [](T value) { return value >= T(1e-18) && value <= T(1e18); });
  mk::check_values(atoms.channels, "channels", "from -1 to n_channels - 1 = " + std::to_string(channels - 1),
                   [=](int64_t value) { return value >= -1 && value < channels; });
}

template <class T>
void grid_atoms(const Array<T>& coords, const Array<int64_t>& channels, const Array<T>& radii, const Array<T>& centers,
                const Array<int64_t>& starts, double side, double resolution, double multiple, bool binary,
                Array<T> grids) {
  const mk::points::Atoms<T> atoms{input(coords), input(channels), input(radii), input(starts), input(centers)};
  const mk::points::AtomGrid grid{grids.shape(1), grids.shape(2), side, resolution, multiple, binary};
  const auto out = output(grids);
  const py::gil_scoped_release release;
  check_atoms(atoms, grid.channels);
  mk::points::grid_atoms(atoms, grid, out);
}

template <class T>
void grid_atoms_backward(const Array<T>& grad, const Array<T>& coords, const Array<int64_t>& channels,
                         const Array<T>& radii, const Array<T>& centers, const Array<int64_t>& starts, double side,
                         double resolution, double multiple, Array<T> d_coords, Array<T> d_radii, Array<T> d_centers) {
  const mk::points::Atoms<T> atoms{input(coords), input(channels), input(radii), input(starts), input(centers)};
  const mk::points::AtomGrid grid{grad.shape(1), grad.shape(2), side, resolution, multiple, false};
  const auto grads = input(grad);
  const auto of_coords = output(d_coords), of_radii = output(d_radii), of_centers = output(d_centers);
  const py::gil_scoped_release release;
  check_atoms(atoms, grid.channels);
  mk::points::grid_atoms_backward(grads, atoms, grid, of_coords, of_radii, of_centers);
}

template <class T>
void voxelize(const Array<T>& points, const Array<T>& features, const Array<int64_t>& starts, bool subtract_mean,
              Array<T> grids) {
  const mk::points::PointItems<T> items{input(points), input(starts)};
  const mk::points::CellGrid grid{grids.shape(2), subtract_mean};
  const auto values = input(features);
  const auto out = output(grids);
  const int64_t channels = grids.shape(1);
  const py::gil_scoped_release release;
  check_places(items.points, "points");
  mk::points::voxelize(items, values, grid, channels, out);
}

template <class T>
void voxelize_backward(const Array<T>& grad, const Array<T>& points, const Array<int64_t>& starts, bool subtract_mean,
                       Array<T> d_features) {
  const mk::points::PointItems<T> items{input(points), input(starts)};
  const mk::points::CellGrid grid{grad.shape(2), subtract_mean};
  const auto grads = input(grad);
  const auto out = output(d_features);
  const int64_t channels = grad.shape(1);
  const py::gil_scoped_release release;
  check_places(items.points, "points");
  mk::points::voxelize_backward(grads, items, grid, channels, out);
}

template <class T>
void devoxelize(const Array<T>& grids, const Array<T>& points, const Array<int64_t>& starts, bool subtract_mean,
                Array<T> features) {
  const mk::points::PointItems<T> items{input(points), input(starts)};
  const mk::points::CellGrid grid{grids.shape(2), subtract_mean};
  const auto values = input(grids);
  const auto out = output(features);
  const int64_t channels = grids.shape(1);
  const py::gil_scoped_release release;
  check_places(items.points, "points");
  mk::points::devoxelize(values, items, grid, channels, out);
}

template <class T>
void devoxelize_backward(const Array<T>& grad, const Array<T>& grids, const Array<T>& points,
                         const Array<int64_t>& starts, bool subtract_mean, Array<T> d_grids, Array<T> d_points) {
  const mk::points::PointItems<T> items{input(points), input(starts)};
  const mk::points::CellGrid grid{grids.shape(2), subtract_mean};
  const auto grads = input(grad), values = input(grids);
  const auto of_grids = output(d_grids), of_points = output(d_points);
  const int64_t channels = grids.shape(1);
  const py::gil_scoped_release release;
  check_places(items.points, "points");
  mk::points::devoxelize_backward(grads, values, items, grid, channels, of_grids, of_points);
}

template <class T>
void bind_type(py::module_& m) {
  m.def("grid_atoms", &grid_atoms<T>, py::arg("coords").noconvert(), py::arg("channels").noconvert(),
        py::arg("radii").noconvert(), py::arg("centers").noconvert(), py::arg("starts").noconvert(), py::arg("side"),
        py::arg("resolution"), py::arg("multiple"), py::arg("binary"), py::arg("grids").noconvert());
  m.def("grid_atoms_backward", &grid_atoms_backward<T>, py::arg("grad").noconvert(), py::arg("coords").noconvert(),
        py::arg("channels").noconvert(), py::arg("radii").noconvert(), py::arg("centers").noconvert(),
        py::arg("starts").noconvert(), py::arg("side"), py::arg("resolution"), py::arg("multiple"),
        py::arg("d_coords").noconvert(), py::arg("d_radii").noconvert(), py::arg("d_centers").noconvert());
  m.def("voxelize", &voxelize<T>, py::arg("points").noconvert(), py::arg("features").noconvert(),
        py::arg("starts").noconvert(), py::arg("subtract_mean"), py::arg("grids").noconvert());
  m.def("voxelize_backward", &voxelize_backward<T>, py::arg("grad").noconvert(), py::arg("points").noconvert(),
        py::arg("starts").noconvert(), py::arg("subtract_mean"), py::arg("d_features").noconvert());
  m.def("devoxelize", &devoxelize<T>, py::arg("grids").noconvert(), py::arg("points").noconvert(),
        py::arg("starts").noconvert(), py::arg("subtract_mean"), py::arg("features").noconvert());
  m.def("devoxelize_backward", &devoxelize_backward<T>, py::arg("grad").noconvert(), py::arg("grids").noconvert(),
        py::arg("points").noconvert(), py::arg("starts").noconvert(), py::arg("subtract_mean"),
        py::arg("d_grids").noconvert(), py::arg("d_points").noconvert());
}

}  // namespace

void bind_points_grids(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
}
