#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/parallel.h"
#include "features/affine_covariant.h"
#include "features/match.h"
#include "features/scale_space.h"

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
void check_rows(const mk::features::Rows<T>& rows, const std::string& name) {
  if constexpr (std::is_same_v<T, float>)
    mk::check_finite(rows.values, name);
  else if constexpr (std::is_same_v<T, double>)
    mk::check_values(rows.values, name, "finite and at most 1e150 in size",
                     [](double value) { return std::abs(value) <= 1e150; });
}

// What messages call an argument: its name, with a number where there is a batch of them.
std::string item_name(const char* name, size_t i, bool many) {
  return many ? name + ("[" + std::to_string(i) + "]") : name;
}

template <class T>
py::list match(const std::vector<std::pair<Array<T>, Array<T>>>& sets, bool many, double ratio, bool mutual) {
  std::vector<std::vector<mk::features::Match>> found(sets.size());
  {
    const py::gil_scoped_release release;
    for (size_t i = 0; i < sets.size(); ++i) {
      check_rows(rows(sets[i].first), item_name("d1", i, many));
      check_rows(rows(sets[i].second), item_name("d2", i, many));
    }
    mk::parallel_for(std::ssize(sets), [&](int64_t i) {
      found[i] = mk::features::match(rows(sets[i].first), rows(sets[i].second), ratio, mutual);
    });
  }
  py::list results;
  for (const auto& matches : found) {
    const auto count = std::ssize(matches);
    Array<int64_t> pairs({count, py::ssize_t{2}});
    Array<double> distances(count);
    for (py::ssize_t k = 0; k < count; ++k) {
      pairs.mutable_at(k, 0) = matches[k].query;
      pairs.mutable_at(k, 1) = matches[k].target;
      distances.mutable_at(k) = std::sqrt(matches[k].squared);
    }
    results.append(py::make_tuple(pairs, distances));
  }
  return results;
}

py::tuple arrays_of(const mk::features::Features& found) {
  const auto count = std::ssize(found.frames);
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

py::list affine_covariant(const std::vector<Array<float>>& images, bool many, int levels, bool doubled,
                          double peak_threshold, double edge_threshold, bool adapt, bool orient, int64_t max_features) {
  const mk::features::FeatureOptions options{
      {peak_threshold, edge_threshold}, levels, doubled, adapt, orient, max_features};
  std::vector<mk::features::Features> found(images.size());
  {
    const py::gil_scoped_release release;
    for (size_t i = 0; i < images.size(); ++i)
      mk::check_values(std::span{images[i].data(), static_cast<size_t>(images[i].size())}, item_name("image", i, many),
                       "finite and at most 1e15 in size",
                       [](float value) { return std::abs(value) <= mk::features::kMostGrey; });
    mk::parallel_for(std::ssize(images), [&](int64_t i) {
      const mk::features::Pixels pixels{images[i].data(), static_cast<int32_t>(images[i].shape(1)),
                                        static_cast<int32_t>(images[i].shape(0))};
      found[i] = mk::features::affine_covariant(pixels, options);
    });
  }
  py::list results;
  for (const auto& each : found) results.append(arrays_of(each));
  return results;
}

template <class T>
void bind_type(py::module_& m) {
  m.def("match", &match<T>, py::arg("sets").noconvert(), py::arg("many"), py::arg("ratio"), py::arg("mutual"));
}

}  // namespace

void bind_features(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
  bind_type<uint8_t>(m);
  m.def("affine_covariant", &affine_covariant, py::arg("images").noconvert(), py::arg("many"), py::arg("levels"),
        py::arg("doubled"), py::arg("peak_threshold"), py::arg("edge_threshold"), py::arg("adapt"), py::arg("orient"),
        py::arg("max_features"));
}
