#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "topology/vietoris_rips_cuda.h"
#include "topology/wasserstein_matrix_cuda.h"

namespace py = pybind11;

namespace {

using mk::cuda::CloudKind;
using mk::cuda::DeviceCloud;
using mk::cuda::RipsParts;

// An array on the memory of `values`, which lives as long as the array.
template <class V>
py::array_t<V> own(std::vector<V>&& values, py::ssize_t columns) {
  auto kept = std::make_unique<std::vector<V>>(std::move(values));
  const py::ssize_t rows = static_cast<py::ssize_t>(kept->size()) / columns;
  V* const data = kept->data();
  const py::capsule owner(kept.release(), [](void* held) { delete static_cast<std::vector<V>*>(held); });
  if (columns == 1) return py::array_t<V>(rows, data, owner);
  return py::array_t<V>({rows, columns}, data, owner);
}

CloudKind kind_named(const std::string& kind, const std::string& metric) {
  if (kind == "distances") return CloudKind::distances;
  if (metric == "manhattan") return CloudKind::manhattan;
  return metric == "chebyshev" ? CloudKind::chebyshev : CloudKind::euclidean;
}

template <class T>
py::tuple vietoris_rips_parts(const mk::cuda::RipsRequest& request) {
  RipsParts<T> parts;
  {
    const py::gil_scoped_release release;
    parts = mk::cuda::vietoris_rips<T>(request);
  }
  const int max_dim = request.max_dim;
  return py::make_tuple(parts.done, parts.bad, own(std::move(parts.first), 1),
                        own(std::move(parts.edges), max_dim == 1 ? 2 : 4), own(std::move(parts.lengths), 1),
                        own(std::move(parts.ranks), 2), own(std::move(parts.open_first), 1),
                        own(std::move(parts.open), 1));
}

template <class T>
std::span<const T> in(const py::array_t<T, py::array::c_style>& array) {
  return {array.data(), static_cast<size_t>(array.size())};
}

// Arrays as `pack_bars` of the CPU module returns them.
struct PackedArrays {
  py::array_t<double, py::array::c_style> birth, death, endless;
  py::array_t<int64_t, py::array::c_style> first, endless_first;
  py::array_t<uint8_t, py::array::c_style> one_birth;

  explicit PackedArrays(const py::tuple& arrays)
      : birth(arrays[0]),
        death(arrays[1]),
        endless(arrays[4]),
        first(arrays[2]),
        endless_first(arrays[5]),
        one_birth(arrays[3]) {}

  mk::cuda::PackedDiagrams views() const {
    return {in(birth), in(death), in(first), in(one_birth), in(endless), in(endless_first)};
  }
};

void wasserstein_matrix(double scale, const py::tuple& diagrams, const py::tuple& others, bool symmetric, double ground,
                        uintptr_t distances, int device, uintptr_t stream, int64_t memory,
                        const py::function& allocate) {
  const PackedArrays first(diagrams), second(others);
  const mk::cuda::WassersteinRequest request{
      .diagrams = first.views(),
      .others = second.views(),
      .symmetric = symmetric,
      .ground = ground == 2 ? mk::topology::Ground::euclidean : mk::topology::Ground::maximum,
      .scale = scale,
      .distances = reinterpret_cast<double*>(distances),
      .device = device,
      .stream = reinterpret_cast<void*>(stream),
      .memory = memory,
      .allocate = [&allocate](size_t bytes) {
        const py::gil_scoped_acquire gil;
        return reinterpret_cast<void*>(allocate(bytes).cast<uintptr_t>());
      }};
  const py::gil_scoped_release release;
  mk::cuda::wasserstein_matrix(request);
}

}  // namespace

void bind_topology_cuda(py::module_& m) {
  m.def(
      "vietoris_rips",
      [](const std::vector<std::tuple<uintptr_t, int64_t, int64_t>>& clouds, bool doubles, const std::string& kind,
         const std::string& metric, int max_dim, double threshold, double largest, int device, uintptr_t stream,
         int64_t memory, const py::function& allocate) {
        std::vector<DeviceCloud> items;
        for (const auto& [pointer, size, dim] : clouds)
          items.push_back({reinterpret_cast<const void*>(pointer), size, dim});
        const mk::cuda::RipsRequest request{.clouds = items,
                                            .kind = kind_named(kind, metric),
                                            .max_dim = max_dim,
                                            .threshold = threshold,
                                            .largest = largest,
                                            .device = device,
                                            .stream = reinterpret_cast<void*>(stream),
                                            .memory = memory,
                                            .allocate = [&allocate](size_t bytes) {
                                              const py::gil_scoped_acquire gil;
                                              return reinterpret_cast<void*>(allocate(bytes).cast<uintptr_t>());
                                            }};
        return doubles ? vietoris_rips_parts<double>(request) : vietoris_rips_parts<float>(request);
      },
      py::arg("clouds"), py::arg("doubles"), py::arg("kind"), py::arg("metric"), py::arg("max_dim"),
      py::arg("threshold"), py::arg("largest"), py::arg("device"), py::arg("stream"), py::arg("memory"),
      py::arg("allocate"));
  m.def(
      "rips_memory",
      [](int64_t size, bool doubles) {
        return doubles ? mk::cuda::rips_memory<double>(size) : mk::cuda::rips_memory<float>(size);
      },
      py::arg("size"), py::arg("doubles"));
  m.def("wasserstein_matrix", &wasserstein_matrix, py::arg("scale"), py::arg("diagrams"), py::arg("others"),
        py::arg("symmetric"), py::arg("ground"), py::arg("distances"), py::arg("device"), py::arg("stream"),
        py::arg("memory"), py::arg("allocate"));
  m.attr("most_points") = mk::cuda::kMostPoints;
}
