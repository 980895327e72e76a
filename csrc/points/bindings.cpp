#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "common/parallel.h"
#include "points/ball_query.h"
#include "points/binding_arrays.h"
#include "points/farthest_point_sampling.h"
#include "points/knn.h"

namespace py = pybind11;

void bind_points_features(py::module_& m);
void bind_points_grids(py::module_& m);

namespace {

using mk::points::Arrays;
using mk::points::check_clouds;
using mk::points::clouds;
using mk::points::outputs;

template <class T>
void farthest_point_sampling(const Arrays<T>& points, const std::vector<std::string>& names, int64_t start,
                             Arrays<int64_t> picks) {
  const auto items = clouds(points);
  const auto out = outputs(picks);
  const py::gil_scoped_release release;
  check_clouds(items, names);
  mk::parallel_for(static_cast<int64_t>(items.size()),
                   [&](int64_t i) { mk::points::farthest_point_sampling(items[i], start, out[i]); });
}

// Without queries the points are their own.
template <class T>
void knn(const Arrays<T>& points, const std::vector<std::string>& names, const Arrays<T>& queries,
         const std::vector<std::string>& query_names, int64_t k, bool include_self, Arrays<int64_t> indices,
         Arrays<T> squared) {
  const auto items = clouds(points), asking = clouds(queries);
  const auto out_indices = outputs(indices);
  const auto out_squared = outputs(squared);
  const py::gil_scoped_release release;
  check_clouds(items, names);
  check_clouds(asking, query_names);
  const bool itself = asking.empty();
  mk::parallel_for(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const mk::points::Neighbours<T> found{k, out_indices[i], out_squared[i]};
    mk::points::knn(items[i], itself ? items[i] : asking[i], itself, include_self, found);
  });
}

template <class T>
void ball_query(const Arrays<T>& points, const std::vector<std::string>& names, const Arrays<T>& queries,
                const std::vector<std::string>& query_names, double radius, int64_t k, Arrays<int64_t> indices,
                Arrays<T> squared) {
  const auto items = clouds(points), asking = clouds(queries);
  const auto out_indices = outputs(indices);
  const auto out_squared = outputs(squared);
  const py::gil_scoped_release release;
  check_clouds(items, names);
  check_clouds(asking, query_names);
  mk::parallel_for(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const mk::points::Neighbours<T> found{k, out_indices[i], out_squared[i]};
    mk::points::ball_query(items[i], asking[i], radius, found);
  });
}

template <class T>
void bind_type(py::module_& m) {
  m.def("farthest_point_sampling", &farthest_point_sampling<T>, py::arg("points").noconvert(), py::arg("names"),
        py::arg("start"), py::arg("picks").noconvert());
  m.def("knn", &knn<T>, py::arg("points").noconvert(), py::arg("names"), py::arg("queries").noconvert(),
        py::arg("query_names"), py::arg("k"), py::arg("include_self"), py::arg("indices").noconvert(),
        py::arg("squared").noconvert());
  m.def("ball_query", &ball_query<T>, py::arg("points").noconvert(), py::arg("names"), py::arg("queries").noconvert(),
        py::arg("query_names"), py::arg("radius"), py::arg("k"), py::arg("indices").noconvert(),
        py::arg("squared").noconvert());
}

}  // namespace

void bind_points(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
  bind_points_features(m);
  bind_points_grids(m);
}
