#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <limits>
#include <vector>

#include "common/check.h"
#include "features/affine_covariant.h"
#include "features/match.h"

namespace py = pybind11;

namespace {

// C-contiguous and of the exact type: the Python layer has already converted.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
mk::features::Rows<T> rows(const Array<T>& array) {
  return {{array.data(), static_cast<size_t>(array.size())}, array.shape(0), array.shape(1)};
}

// Values up to here keep sums of their squares finite.
template <class T>
void check_rows(const mk::features::Rows<T>& rows, const char* name) {
  if constexpr (std::is_same_v<T, float>)
    mk::check_finite(rows.values, name);
  else if constexpr (std::is_same_v<T, double>)
    mk::check_values(rows.values, name, "finite and at most 1e150 in size",
                     [](double value) { return std::abs(value) <= 1e150; });
}

template <class T>
py::tuple match(const Array<T>& d1, const Array<T>& d2, double ratio, bool mutual) {
  std::vector<mk::features::Match> found;
  {
    const py::gil_scoped_release release;
    const auto queries = rows(d1), targets = rows(d2);
    check_rows(queries, "d1");
    check_rows(targets, "d2");
    found = mk::features::match(queries, targets, ratio, mutual);
  }
  const auto count = static_cast<py::ssize_t>(found.size());
  Array<int64_t> pairs({count, py::ssize_t{2}});
  Array<double> distances(count);
  for (py::ssize_t i = 0; i < count; ++i) {
    pairs.mutable_at(i, 0) = found[i].query;
    pairs.mutable_at(i, 1) = found[i].target;
    distances.mutable_at(i) = std::sqrt(found[i].squared);
  }
  return py::make_tuple(pairs, distances);
}

py::tuple affine_covariant(const Array<float>& image, int levels, bool doubled, double peak_threshold,
                           double edge_threshold, bool adapt, bool orient, int64_t max_features) {
  mk::features::Features found;
  {
    const py::gil_scoped_release release;
    const std::span<const float> values{image.data(), static_cast<size_t>(image.size())};
    mk::check_finite(values, "image");
    const mk::features::Pixels pixels{values.data(), static_cast<int32_t>(image.shape(1)),
                                      static_cast<int32_t>(image.shape(0))};
    found = mk::features::affine_covariant(
        pixels, {{peak_threshold, edge_threshold}, levels, doubled, adapt, orient, max_features});
  }
  const auto count = static_cast<py::ssize_t>(found.frames.size());
  Array<float> frames({count, py::ssize_t{2}, py::ssize_t{3}}), responses(count);
  Array<float> descriptors({count, py::ssize_t{mk::features::kDescriptorLength}});
  for (py::ssize_t i = 0; i < count; ++i) {
    const auto& [a, b, c, d, x, y] = found.frames[i];
    float* frame = frames.mutable_data(i, 0, 0);
    for (const double entry : {a, b, x, c, d, y}) *frame++ = static_cast<float>(entry);
    responses.mutable_at(i) = static_cast<float>(found.responses[i]);
  }
  std::copy(found.descriptors.begin(), found.descriptors.end(), descriptors.mutable_data());
  return py::make_tuple(frames, descriptors, responses);
}

template <class T>
void bind_type(py::module_& m) {
  m.def("match", &match<T>, py::arg("d1").noconvert(), py::arg("d2").noconvert(), py::arg("ratio"), py::arg("mutual"));
}

}  // namespace

void bind_features(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
  bind_type<uint8_t>(m);
  m.def("affine_covariant", &affine_covariant, py::arg("image").noconvert(), py::arg("levels"), py::arg("doubled"),
        py::arg("peak_threshold"), py::arg("edge_threshold"), py::arg("adapt"), py::arg("orient"),
        py::arg("max_features"));
}
