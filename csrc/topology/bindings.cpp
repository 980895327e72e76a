#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "common/check.h"
#include "topology/vietoris_rips.h"

namespace py = pybind11;

namespace {

using mk::topology::Cloud;
using mk::topology::Diagram;
using mk::topology::Graph;
using mk::topology::Metric;
using mk::topology::RipsOptions;

// C-contiguous and of the exact type: the Python layer has already converted.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
std::span<const T> in(const Array<T>& array) {
  return {array.data(), static_cast<size_t>(array.size())};
}

template <class T>
Array<T> rows(const std::vector<T>& values, py::ssize_t columns) {
  Array<T> result({static_cast<py::ssize_t>(values.size()) / columns, columns});
  std::copy(values.begin(), values.end(), result.mutable_data());
  return result;
}

template <class T>
py::list diagrams(const std::vector<Diagram<T>>& found) {
  py::list result;
  for (const Diagram<T>& d : found) result.append(py::make_tuple(rows(d.intervals, 2), rows(d.edges, 4)));
  return result;
}

template <class T>
py::list vietoris_rips(const std::vector<Array<T>>& clouds, const std::string& kind, const std::string& metric,
                       int max_dim, double threshold) {
  std::vector<Cloud<T>> items;
  for (const Array<T>& cloud : clouds) items.push_back({in(cloud), cloud.shape(0), cloud.shape(1)});
  const RipsOptions options{max_dim, threshold};
  std::vector<std::vector<Diagram<T>>> found;
  {
    const py::gil_scoped_release release;
    if (kind == "points") {
      const Metric named = metric == "manhattan"   ? Metric::manhattan
                           : metric == "chebyshev" ? Metric::chebyshev
                                                   : Metric::euclidean;
      found = mk::topology::rips_of_points<T>(items, named, options);
    } else {
      found = mk::topology::rips_of_distances<T>(items, options);
    }
  }
  py::list result;
  for (const auto& item : found) result.append(diagrams(item));
  return result;
}

template <class T>
void bind_type(py::module_& m) {
  m.def("vietoris_rips", &vietoris_rips<T>, py::arg("clouds").noconvert(), py::arg("kind"), py::arg("metric"),
        py::arg("max_dim"), py::arg("threshold"));
  m.def(
      "vietoris_rips_graph",
      [](int64_t size, const Array<int32_t>& rows, const Array<int32_t>& cols, const Array<T>& lengths, int max_dim,
         double threshold) {
        std::vector<Diagram<T>> found;
        {
          const py::gil_scoped_release release;
          found = mk::topology::rips_of_graph<T>({size, in(rows), in(cols), in(lengths)}, {max_dim, threshold});
        }
        return diagrams(found);
      },
      py::arg("size"), py::arg("rows"), py::arg("cols"), py::arg("lengths").noconvert(), py::arg("max_dim"),
      py::arg("threshold"));
}

}  // namespace

void bind_topology(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
}
