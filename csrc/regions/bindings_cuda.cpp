#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <string>

#include "regions/label_cuda.h"
#include "regions/max_tree_cuda.h"

namespace py = pybind11;

namespace {

template <class T>
T* address(uintptr_t number) {
  return reinterpret_cast<T*>(number);
}

// Memory from a function of Python that takes a number of bytes and returns an address.
auto allocator(const py::function& allocate) {
  return [&allocate](size_t bytes) {
    const py::gil_scoped_acquire gil;
    return address<void>(allocate(bytes).cast<uintptr_t>());
  };
}

// shape: [items, depth, height, width]. allocate_measures takes a number of components and returns the addresses of
// area, box, centroid, perimeter and moments; with None components are not measured.
std::vector<int64_t> label(uintptr_t mask, int bytes, const std::array<int64_t, 4>& shape, int connectivity,
                           uintptr_t labels, int device, uintptr_t stream, const py::function& allocate,
                           const py::object& allocate_measures) {
  mk::cuda::LabelRequest request{.mask = address<void>(mask),
                                 .bytes = bytes,
                                 .items = shape[0],
                                 .depth = shape[1],
                                 .height = shape[2],
                                 .width = shape[3],
                                 .connectivity = connectivity,
                                 .labels = address<int32_t>(labels),
                                 .device = device,
                                 .stream = address<void>(stream),
                                 .allocate = allocator(allocate),
                                 .allocate_measures = nullptr};
  if (!allocate_measures.is_none())
    request.allocate_measures = [&](int64_t count) {
      const py::gil_scoped_acquire gil;
      const auto at = allocate_measures(count).cast<std::array<uintptr_t, 5>>();
      return mk::cuda::MeasureArrays{address<int64_t>(at[0]), address<int64_t>(at[1]), address<double>(at[2]),
                                     address<int64_t>(at[3]), address<double>(at[4])};
    };
  const py::gil_scoped_release release;
  return mk::cuda::label(request);
}

mk::cuda::PixelType type_named(const std::string& name) {
  using mk::cuda::PixelType;
  if (name == "uint8") return PixelType::uint8;
  if (name == "uint16") return PixelType::uint16;
  if (name == "int16") return PixelType::int16;
  if (name == "float32") return PixelType::float32;
  if (name == "float64") return PixelType::float64;
  throw std::invalid_argument("there is no max-tree of " + name);
}

void max_tree(uintptr_t image, const std::string& type, const std::array<int64_t, 4>& shape, int connectivity,
              const std::array<uintptr_t, 3>& results, int device, uintptr_t stream, const py::function& allocate) {
  const mk::cuda::MaxTreeRequest request{.image = address<void>(image),
                                         .type = type_named(type),
                                         .items = shape[0],
                                         .depth = shape[1],
                                         .height = shape[2],
                                         .width = shape[3],
                                         .connectivity = connectivity,
                                         .parent = address<int32_t>(results[0]),
                                         .order = address<int32_t>(results[1]),
                                         .area = address<int32_t>(results[2]),
                                         .device = device,
                                         .stream = address<void>(stream),
                                         .allocate = allocator(allocate)};
  const py::gil_scoped_release release;
  mk::cuda::max_tree(request);
}

}  // namespace

void bind_regions_cuda(py::module_& m) {
  m.def("label", &label, py::arg("mask"), py::arg("bytes"), py::arg("shape"), py::arg("connectivity"),
        py::arg("labels"), py::arg("device"), py::arg("stream"), py::arg("allocate"), py::arg("allocate_measures"));
  m.def("label_memory", &mk::cuda::label_memory, py::arg("items"), py::arg("rows"), py::arg("width"));
  m.def("measure_memory", &mk::cuda::measure_memory, py::arg("dims"));
  m.def("max_tree", &max_tree, py::arg("image"), py::arg("type"), py::arg("shape"), py::arg("connectivity"),
        py::arg("results"), py::arg("device"), py::arg("stream"), py::arg("allocate"));
  m.def("max_tree_memory", &mk::cuda::max_tree_memory, py::arg("items"), py::arg("size"));
}
