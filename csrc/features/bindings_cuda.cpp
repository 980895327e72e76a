#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <vector>

#include "features/affine_covariant_cuda.h"

namespace py = pybind11;

namespace {

using mk::cuda::PixelType;

PixelType type_named(const std::string& name) {
  if (name == "uint8") return PixelType::bytes;
  if (name == "uint16") return PixelType::words;
  return name == "float32" ? PixelType::floats : PixelType::doubles;
}

// Images are (address, height, width, channels). `allocate` maps bytes to an address, `results` a number of features to
// the addresses of their frames, descriptors and responses.
py::tuple affine_covariant(const std::vector<std::tuple<uintptr_t, int32_t, int32_t, int>>& images,
                           const std::string& type, int levels, bool doubled, double peak_threshold,
                           double edge_threshold, bool adapt, bool orient, int64_t max_features, int device,
                           uintptr_t stream, int64_t memory, const py::function& allocate,
                           const py::function& results) {
  std::vector<mk::cuda::DeviceImage> items;
  for (const auto& [pointer, height, width, channels] : images)
    items.push_back({reinterpret_cast<const void*>(pointer), width, height, channels});
  const mk::cuda::AffineRequest request{
      .images = items,
      .type = type_named(type),
      .options = {{peak_threshold, edge_threshold}, levels, doubled, adapt, orient, max_features},
      .device = device,
      .stream = reinterpret_cast<void*>(stream),
      .memory = memory,
      .allocate =
          [&allocate](size_t bytes) {
            const py::gil_scoped_acquire gil;
            return reinterpret_cast<void*>(allocate(bytes).cast<uintptr_t>());
          },
      .results =
          [&results](int64_t count) {
            const py::gil_scoped_acquire gil;
            const auto [frames, descriptors, responses] =
                results(count).cast<std::tuple<uintptr_t, uintptr_t, uintptr_t>>();
            return mk::cuda::FeatureArrays{reinterpret_cast<float*>(frames), reinterpret_cast<float*>(descriptors),
                                           reinterpret_cast<float*>(responses)};
          }};
  mk::cuda::AffineCounts counts;
  {
    const py::gil_scoped_release release;
    counts = mk::cuda::affine_covariant(request);
  }
  return py::make_tuple(counts.features, counts.bad);
}

}  // namespace

void bind_features_cuda(py::module_& m) {
  m.def("affine_covariant", &affine_covariant, py::arg("images"), py::arg("type"), py::arg("levels"),
        py::arg("doubled"), py::arg("peak_threshold"), py::arg("edge_threshold"), py::arg("adapt"), py::arg("orient"),
        py::arg("max_features"), py::arg("device"), py::arg("stream"), py::arg("memory"), py::arg("allocate"),
        py::arg("results"));
  m.def("affine_memory", &mk::cuda::affine_memory, py::arg("width"), py::arg("height"), py::arg("levels"),
        py::arg("doubled"));
}
