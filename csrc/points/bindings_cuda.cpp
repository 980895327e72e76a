#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <tuple>
#include <vector>

#include "points/ball_query_cuda.h"
#include "points/farthest_point_sampling_cuda.h"
#include "points/knn_cuda.h"

namespace py = pybind11;

namespace {

using mk::cuda::DevicePoints;
using mk::cuda::NeighbourRequest;
using mk::cuda::SamplingRequest;
using mk::cuda::Workplace;
using Address = uintptr_t;

// (address, points, coordinates of a point) of each cloud.
using Clouds = std::vector<std::tuple<Address, int64_t, int64_t>>;

std::vector<DevicePoints> points_of(const Clouds& clouds) {
  std::vector<DevicePoints> result;
  for (const auto& [address, size, dimensions] : clouds)
    result.push_back({reinterpret_cast<const void*>(address), size, dimensions});
  return result;
}

// Memory from a function of Python that takes a number of bytes and returns an address.
Workplace workplace(int device, Address stream, const py::function& allocate) {
  return {device, reinterpret_cast<void*>(stream), [&allocate](size_t bytes) {
            const py::gil_scoped_acquire gil;
            return reinterpret_cast<void*>(allocate(bytes).cast<Address>());
          }};
}

int64_t farthest_point_sampling(const Clouds& clouds, bool doubles, int64_t start, const std::vector<int64_t>& counts,
                                Address picks, int device, Address stream, const py::function& allocate) {
  const auto items = points_of(clouds);
  const SamplingRequest request{
      items, doubles, start, counts, reinterpret_cast<int64_t*>(picks), workplace(device, stream, allocate)};
  const py::gil_scoped_release release;
  return mk::cuda::farthest_point_sampling(request);
}

int64_t sampling_memory(const Clouds& clouds, bool doubles, int device) {
  const auto items = points_of(clouds);
  const std::vector<int64_t> counts(items.size(), 1);
  return mk::cuda::sampling_memory({items, doubles, 0, counts, nullptr, {device, nullptr, nullptr}});
}

// Without queries the points are their own.
int64_t knn(const Clouds& points, const Clouds& queries, bool doubles, int64_t k, bool include_self, Address indices,
            Address squared, int device, Address stream, const py::function& allocate) {
  const auto items = points_of(points), asking = points_of(queries);
  const NeighbourRequest request{items,
                                 asking,
                                 doubles,
                                 k,
                                 reinterpret_cast<int64_t*>(indices),
                                 reinterpret_cast<void*>(squared),
                                 workplace(device, stream, allocate)};
  const py::gil_scoped_release release;
  return mk::cuda::knn(request, include_self);
}

int64_t ball_query(const Clouds& points, const Clouds& queries, bool doubles, int64_t k, double radius, Address indices,
                   Address squared, int device, Address stream, const py::function& allocate) {
  const auto items = points_of(points), asking = points_of(queries);
  const NeighbourRequest request{items,
                                 asking,
                                 doubles,
                                 k,
                                 reinterpret_cast<int64_t*>(indices),
                                 reinterpret_cast<void*>(squared),
                                 workplace(device, stream, allocate)};
  const py::gil_scoped_release release;
  return mk::cuda::ball_query(request, radius);
}

int64_t neighbour_memory(const Clouds& points, const Clouds& queries, bool doubles, int64_t k, int device) {
  const auto items = points_of(points), asking = points_of(queries);
  return mk::cuda::neighbour_memory({items, asking, doubles, k, nullptr, nullptr, {device, nullptr, nullptr}});
}

}  // namespace

void bind_points_cuda(py::module_& m) {
  m.def("farthest_point_sampling", &farthest_point_sampling, py::arg("clouds"), py::arg("doubles"), py::arg("start"),
        py::arg("counts"), py::arg("picks"), py::arg("device"), py::arg("stream"), py::arg("allocate"));
  m.def("sampling_memory", &sampling_memory, py::arg("clouds"), py::arg("doubles"), py::arg("device"));
  m.def("knn", &knn, py::arg("points"), py::arg("queries"), py::arg("doubles"), py::arg("k"), py::arg("include_self"),
        py::arg("indices"), py::arg("squared"), py::arg("device"), py::arg("stream"), py::arg("allocate"));
  m.def("ball_query", &ball_query, py::arg("points"), py::arg("queries"), py::arg("doubles"), py::arg("k"),
        py::arg("radius"), py::arg("indices"), py::arg("squared"), py::arg("device"), py::arg("stream"),
        py::arg("allocate"));
  m.def("neighbour_memory", &neighbour_memory, py::arg("points"), py::arg("queries"), py::arg("doubles"), py::arg("k"),
        py::arg("device"));
}
