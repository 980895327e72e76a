#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <span>
#include <tuple>
#include <vector>

#include "points/devoxelize_cuda.h"
#include "points/edge_softmax_cuda.h"
#include "points/gather_sum_cuda.h"
#include "points/grid_atoms_cuda.h"
#include "points/local_reference_axis_cuda.h"
#include "points/rotation_invariant_features_cuda.h"
#include "points/voxelize_cuda.h"

namespace py = pybind11;

namespace {

using mk::cuda::Workplace;
using Address = uintptr_t;
using Starts = py::array_t<int64_t, py::array::c_style>;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// Memory from a function of Python that takes a number of bytes and returns an address.
Workplace workplace(int device, Address stream, const py::function& allocate) {
  return {device, at<void>(stream), [&allocate](size_t bytes) {
            const py::gil_scoped_acquire gil;
            return at<void>(allocate(bytes).cast<Address>());
          }};
}

std::span<const int64_t> view(const Starts& starts) { return {starts.data(), static_cast<size_t>(starts.size())}; }

// Calls run(float{}) or run(double{}) without Python's lock.
template <class Run>
auto of_type(bool doubles, const Run& run) {
  const py::gil_scoped_release release;
  return doubles ? run(double{}) : run(float{});
}

// (address of the points, their number, address of the neighbours, rows, k) of each cloud.
using Clouds = std::vector<std::tuple<Address, int64_t, Address, int64_t, int64_t>>;

std::vector<mk::cuda::DeviceNeighbourhoods> neighbourhoods(const Clouds& clouds) {
  std::vector<mk::cuda::DeviceNeighbourhoods> result;
  for (const auto& [points, size, neighbours, rows, k] : clouds)
    result.push_back({at<void>(points), size, at<int64_t>(neighbours), rows, k});
  return result;
}

int64_t local_reference_axis(bool doubles, const Clouds& clouds, bool weighted, const std::vector<Address>& axes,
                             int device, Address stream, const py::function& allocate) {
  const auto items = neighbourhoods(clouds);
  const Workplace place = workplace(device, stream, allocate);
  return of_type(doubles, [&]<class T>(T) {
    std::vector<T*> results;
    for (const Address each : axes) results.push_back(at<T>(each));
    return mk::cuda::local_reference_axis<T>(items, weighted, results, place);
  });
}

// others: addresses of axes, centres, features and indices of each cloud.
int64_t rotation_invariant_features(bool doubles, const Clouds& clouds,
                                    const std::vector<std::array<Address, 4>>& others, int device, Address stream,
                                    const py::function& allocate) {
  const auto items = neighbourhoods(clouds);
  const Workplace place = workplace(device, stream, allocate);
  return of_type(doubles, [&]<class T>(T) {
    std::vector<mk::cuda::DeviceFeatures<T>> features;
    for (const auto& [axes, centers, values, ordered] : others)
      features.push_back({at<T>(axes), at<int64_t>(centers), at<T>(values), at<int64_t>(ordered)});
    return mk::cuda::rotation_invariant_features<T>(items, features, place);
  });
}

// shape: batch, rows, k, sources, heads, channels.
mk::cuda::DeviceGraph graph_of(Address neighbours, const std::array<int64_t, 6>& shape) {
  return {at<int64_t>(neighbours), shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
}

bool gather_sum(bool doubles, Address neighbours, const std::array<int64_t, 6>& shape, Address features,
                Address weights, Address sums, int device, Address stream, const py::function& allocate) {
  const Workplace place = workplace(device, stream, allocate);
  return of_type(doubles, [&]<class T>(T) {
    return mk::cuda::gather_sum<T>(graph_of(neighbours, shape), at<T>(features), at<T>(weights), at<T>(sums), place);
  });
}

void gather_sum_transposed(bool doubles, Address neighbours, const std::array<int64_t, 6>& shape, Address sums,
                           Address weights, Address features, int device, Address stream,
                           const py::function& allocate) {
  const Workplace place = workplace(device, stream, allocate);
  of_type(doubles, [&]<class T>(T) {
    mk::cuda::gather_sum_transposed<T>(graph_of(neighbours, shape), at<T>(sums), at<T>(weights), at<T>(features),
                                       place);
  });
}

void gather_sum_products(bool doubles, Address neighbours, const std::array<int64_t, 6>& shape, Address features,
                         Address sums, Address weights, int device, Address stream, const py::function& allocate) {
  const Workplace place = workplace(device, stream, allocate);
  of_type(doubles, [&]<class T>(T) {
    mk::cuda::gather_sum_products<T>(graph_of(neighbours, shape), at<T>(features), at<T>(sums), at<T>(weights), place);
  });
}

// shape: rows, k, heads.
void edge_softmax(bool doubles, const std::array<int64_t, 3>& shape, Address scores, Address neighbours,
                  Address weights, int device, Address stream, const py::function& allocate) {
  const Workplace place = workplace(device, stream, allocate);
  of_type(doubles, [&]<class T>(T) {
    mk::cuda::edge_softmax<T>({shape[0], shape[1], shape[2]}, at<T>(scores), at<int64_t>(neighbours), at<T>(weights),
                              place);
  });
}

void edge_softmax_backward(bool doubles, const std::array<int64_t, 3>& shape, Address grad, Address weights,
                           Address pulled, int device, Address stream, const py::function& allocate) {
  const Workplace place = workplace(device, stream, allocate);
  of_type(doubles, [&]<class T>(T) {
    mk::cuda::edge_softmax_backward<T>({shape[0], shape[1], shape[2]}, at<T>(grad), at<T>(weights), at<T>(pulled),
                                       place);
  });
}

// Addresses of coords, channels, radii and centers.
template <class T>
mk::cuda::DeviceAtoms<T> atoms_of(const std::array<Address, 4>& arrays, std::span<const int64_t> starts) {
  return {at<T>(arrays[0]), at<int64_t>(arrays[1]), at<T>(arrays[2]), at<T>(arrays[3]), starts};
}

int64_t grid_atoms(bool doubles, const std::array<Address, 4>& atoms, const Starts& starts, int64_t channels,
                   int64_t points, double side, double resolution, double multiple, bool binary, Address grids,
                   int device, Address stream, const py::function& allocate) {
  const mk::cuda::DeviceAtomGrid grid{channels, points, side, resolution, multiple, binary};
  const auto first = view(starts);
  const Workplace place = workplace(device, stream, allocate);
  return of_type(doubles, [&]<class T>(T) {
    return mk::cuda::grid_atoms<T>(atoms_of<T>(atoms, first), grid, at<T>(grids), place);
  });
}

// results: addresses of the gradients of coords, radii and centers.
void grid_atoms_backward(bool doubles, Address grad, const std::array<Address, 4>& atoms, const Starts& starts,
                         int64_t channels, int64_t points, double side, double resolution, double multiple,
                         const std::array<Address, 3>& results, int device, Address stream,
                         const py::function& allocate) {
  const mk::cuda::DeviceAtomGrid grid{channels, points, side, resolution, multiple, false};
  const auto first = view(starts);
  const Workplace place = workplace(device, stream, allocate);
  of_type(doubles, [&]<class T>(T) {
    mk::cuda::grid_atoms_backward<T>(at<T>(grad), atoms_of<T>(atoms, first), grid, at<T>(results[0]), at<T>(results[1]),
                                     at<T>(results[2]), place);
  });
}

// Points and the grid that they are placed in.
struct Placing {
  Address points;
  std::span<const int64_t> starts;
  int64_t resolution;
  bool subtract_mean;

  template <class T>
  mk::cuda::DevicePointItems<T> items() const {
    return {at<T>(points), starts, resolution, subtract_mean};
  }
};

bool voxelize(bool doubles, Address points, const Starts& starts, int64_t resolution, bool subtract_mean,
              Address features, int64_t channels, Address grids, int device, Address stream,
              const py::function& allocate) {
  const Placing placing{points, view(starts), resolution, subtract_mean};
  const Workplace place = workplace(device, stream, allocate);
  return of_type(doubles, [&]<class T>(T) {
    return mk::cuda::voxelize<T>(placing.items<T>(), at<T>(features), channels, at<T>(grids), place);
  });
}

void voxelize_backward(bool doubles, Address grad, Address points, const Starts& starts, int64_t resolution,
                       bool subtract_mean, int64_t channels, Address features, int device, Address stream,
                       const py::function& allocate) {
  const Placing placing{points, view(starts), resolution, subtract_mean};
  const Workplace place = workplace(device, stream, allocate);
  of_type(doubles, [&]<class T>(T) {
    mk::cuda::voxelize_backward<T>(at<T>(grad), placing.items<T>(), channels, at<T>(features), place);
  });
}

bool devoxelize(bool doubles, Address grids, Address points, const Starts& starts, int64_t resolution,
                bool subtract_mean, int64_t channels, Address features, int device, Address stream,
                const py::function& allocate) {
  const Placing placing{points, view(starts), resolution, subtract_mean};
  const Workplace place = workplace(device, stream, allocate);
  return of_type(doubles, [&]<class T>(T) {
    return mk::cuda::devoxelize<T>(at<T>(grids), placing.items<T>(), channels, at<T>(features), place);
  });
}

void devoxelize_backward(bool doubles, Address grad, Address grids, Address points, const Starts& starts,
                         int64_t resolution, bool subtract_mean, int64_t channels, Address grad_grids,
                         Address grad_points, int device, Address stream, const py::function& allocate) {
  const Placing placing{points, view(starts), resolution, subtract_mean};
  const Workplace place = workplace(device, stream, allocate);
  of_type(doubles, [&]<class T>(T) {
    mk::cuda::devoxelize_backward<T>(at<T>(grad), at<T>(grids), placing.items<T>(), channels, at<T>(grad_grids),
                                     at<T>(grad_points), place);
  });
}

}  // namespace

void bind_points_features_cuda(py::module_& m) {
  const py::arg doubles("doubles"), device("device"), stream("stream"), allocate("allocate");
  m.def("local_reference_axis", &local_reference_axis, doubles, py::arg("clouds"), py::arg("weighted"), py::arg("axes"),
        device, stream, allocate);
  m.def("rotation_invariant_features", &rotation_invariant_features, doubles, py::arg("clouds"), py::arg("others"),
        device, stream, allocate);
  m.attr("most_neighbours") = mk::cuda::kMostNeighbours;
  m.def("gather_sum", &gather_sum, doubles, py::arg("neighbours"), py::arg("shape"), py::arg("features"),
        py::arg("weights"), py::arg("sums"), device, stream, allocate);
  m.def("gather_sum_transposed", &gather_sum_transposed, doubles, py::arg("neighbours"), py::arg("shape"),
        py::arg("sums"), py::arg("weights"), py::arg("features"), device, stream, allocate);
  m.def("gather_sum_products", &gather_sum_products, doubles, py::arg("neighbours"), py::arg("shape"),
        py::arg("features"), py::arg("sums"), py::arg("weights"), device, stream, allocate);
  m.def("edge_softmax", &edge_softmax, doubles, py::arg("shape"), py::arg("scores"), py::arg("neighbours"),
        py::arg("weights"), device, stream, allocate);
  m.def("edge_softmax_backward", &edge_softmax_backward, doubles, py::arg("shape"), py::arg("grad"), py::arg("weights"),
        py::arg("pulled"), device, stream, allocate);
  m.def("grid_atoms", &grid_atoms, doubles, py::arg("atoms"), py::arg("starts"), py::arg("channels"), py::arg("points"),
        py::arg("side"), py::arg("resolution"), py::arg("multiple"), py::arg("binary"), py::arg("grids"), device,
        stream, allocate);
  m.def("grid_atoms_backward", &grid_atoms_backward, doubles, py::arg("grad"), py::arg("atoms"), py::arg("starts"),
        py::arg("channels"), py::arg("points"), py::arg("side"), py::arg("resolution"), py::arg("multiple"),
        py::arg("results"), device, stream, allocate);
  m.def("atoms_memory", &mk::cuda::atoms_memory, py::arg("items"), py::arg("atoms"), py::arg("channels"));
  m.def("cells_memory", &mk::cuda::cells_memory, py::arg("items"), py::arg("points"), py::arg("resolution"));
  m.def("voxelize", &voxelize, doubles, py::arg("points"), py::arg("starts"), py::arg("resolution"),
        py::arg("subtract_mean"), py::arg("features"), py::arg("channels"), py::arg("grids"), device, stream, allocate);
  m.def("voxelize_backward", &voxelize_backward, doubles, py::arg("grad"), py::arg("points"), py::arg("starts"),
        py::arg("resolution"), py::arg("subtract_mean"), py::arg("channels"), py::arg("features"), device, stream,
        allocate);
  m.def("devoxelize", &devoxelize, doubles, py::arg("grids"), py::arg("points"), py::arg("starts"),
        py::arg("resolution"), py::arg("subtract_mean"), py::arg("channels"), py::arg("features"), device, stream,
        allocate);
  m.def("devoxelize_backward", &devoxelize_backward, doubles, py::arg("grad"), py::arg("grids"), py::arg("points"),
        py::arg("starts"), py::arg("resolution"), py::arg("subtract_mean"), py::arg("channels"), py::arg("grad_grids"),
        py::arg("grad_points"), device, stream, allocate);
}
