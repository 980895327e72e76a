#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "topology/vietoris_rips_cuda.h"

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
py::tuple vietoris_rips(const std::vector<DeviceCloud>& clouds, CloudKind kind, int max_dim, double threshold,
                        double largest, int device, uintptr_t stream) {
  RipsParts<T> parts;
  {
    const py::gil_scoped_release release;
    parts = mk::cuda::vietoris_rips<T>(
        {clouds, kind, max_dim, threshold, largest, device, reinterpret_cast<void*>(stream)});
  }
  return py::make_tuple(parts.done, parts.bad, own(std::move(parts.first), 1),
                        own(std::move(parts.edges), max_dim == 1 ? 2 : 4), own(std::move(parts.lengths), 1),
                        own(std::move(parts.ranks), 2), own(std::move(parts.open_first), 1),
                        own(std::move(parts.open), 1));
}

}  // namespace

void bind_topology_cuda(py::module_& m) {
  m.def(
      "vietoris_rips",
      [](const std::vector<std::tuple<uintptr_t, int64_t, int64_t>>& clouds, bool doubles, const std::string& kind,
         const std::string& metric, int max_dim, double threshold, double largest, int device, uintptr_t stream) {
        std::vector<DeviceCloud> items;
        for (const auto& [pointer, size, dim] : clouds)
          items.push_back({reinterpret_cast<const void*>(pointer), size, dim});
        return (doubles ? vietoris_rips<double> : vietoris_rips<float>)(items, kind_named(kind, metric), max_dim,
                                                                        threshold, largest, device, stream);
      },
      py::arg("clouds"), py::arg("doubles"), py::arg("kind"), py::arg("metric"), py::arg("max_dim"),
      py::arg("threshold"), py::arg("largest"), py::arg("device"), py::arg("stream"));
  m.def(
      "rips_memory",
      [](int64_t size, bool doubles) {
        return doubles ? mk::cuda::rips_memory<double>(size) : mk::cuda::rips_memory<float>(size);
      },
      py::arg("size"), py::arg("doubles"));
  m.attr("most_points") = mk::cuda::kMostPoints;
}
