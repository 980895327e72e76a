#include <pybind11/pybind11.h>

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/parallel.h"
#include "points/binding_arrays.h"
#include "points/edge_softmax.h"
#include "points/gather_sum.h"
#include "points/local_reference_axis.h"
#include "points/rotation_invariant_features.h"

namespace py = pybind11;

namespace {

using mk::points::Array;
using mk::points::Arrays;
using mk::points::Table;

using Names = std::vector<std::string>;

// Axes that are longer or shorter than 1 by more than this are not what local_reference_axis returned.
constexpr double kUnitWithin = 1e-3;

std::vector<Table> tables(const Arrays<int64_t>& arrays) {
  std::vector<Table> result;
  for (const auto& array : arrays) result.push_back({mk::points::input(array), array.shape(0), array.shape(1)});
  return result;
}

template <class T>
void check_axes(std::span<const T> axes, const std::string& name) {
  mk::check_finite(axes, name);
  for (size_t i = 0; i < axes.size(); i += 3) {
    const auto axis = mk::points::coordinates(axes.data() + i);
    const double length = std::sqrt(mk::points::dot(axis, axis));
    if (length == 0 || std::abs(length - 1) <= kUnitWithin) continue;
    std::ostringstream message;
    message << name << " must hold vectors of length 1 or 0, but that of point " << i / 3 << " has length " << length;
    throw std::invalid_argument(message.str());
  }
}

template <class T>
void local_reference_axis(const Arrays<T>& points, const Names& names, const Arrays<int64_t>& neighbours,
                          const Names& neighbour_names, bool weighted, Arrays<T> axes) {
  const auto items = mk::points::clouds(points);
  const auto rows = tables(neighbours);
  const auto out = mk::points::outputs(axes);
  const py::gil_scoped_release release;
  mk::points::check_clouds(items, names);
  for (size_t i = 0; i < items.size(); ++i)
    mk::points::check_indices(rows[i].indices, neighbour_names[i], items[i].size, true);
  mk::parallel_for(static_cast<int64_t>(items.size()),
                   [&](int64_t i) { mk::points::local_reference_axis(items[i], rows[i], weighted, out[i]); });
}

// names: of points, axes, centers and neighbours of each item.
template <class T>
void rotation_invariant_features(const Arrays<T>& points, const Arrays<T>& axes, const Arrays<int64_t>& centers,
                                 const Arrays<int64_t>& neighbours, const std::vector<Names>& names, Arrays<T> features,
                                 Arrays<int64_t> ordered) {
  const auto items = mk::points::clouds(points);
  const auto directions = mk::points::inputs(axes);
  const auto middles = mk::points::inputs(centers);
  const auto rows = tables(neighbours);
  const auto out_features = mk::points::outputs(features);
  const auto out_ordered = mk::points::outputs(ordered);
  const py::gil_scoped_release release;
  mk::points::check_clouds(items, names[0]);
  for (size_t i = 0; i < items.size(); ++i) {
    check_axes(directions[i], names[1][i]);
    mk::points::check_indices(middles[i], names[2][i], items[i].size, false);
    mk::points::check_indices(rows[i].indices, names[3][i], items[i].size, true);
  }
  mk::parallel_for(static_cast<int64_t>(items.size()), [&](int64_t i) {
    mk::points::rotation_invariant_features(items[i], directions[i], middles[i], rows[i], out_features[i],
                                            out_ordered[i]);
  });
}

// features [B, N, H, C] and neighbours [B, M, k].
template <class T>
mk::points::Graph graph_of(const Array<int64_t>& neighbours, const Array<T>& features) {
  return {mk::points::input(neighbours),
          neighbours.shape(0),
          neighbours.shape(1),
          neighbours.shape(2),
          features.shape(1),
          features.shape(2),
          features.shape(3)};
}

template <class T>
void gather_sum(const Array<T>& features, const Array<int64_t>& neighbours, const Array<T>& weights, Array<T> sums) {
  const auto graph = graph_of(neighbours, features);
  const auto values = mk::points::input(features), factors = mk::points::input(weights);
  const auto out = mk::points::output(sums);
  const py::gil_scoped_release release;
  mk::points::check_indices(graph.neighbours, "neighbours", graph.sources, true);
  mk::points::gather_sum(graph, values, factors, out);
}

template <class T>
void gather_sum_transposed(const Array<T>& sums, const Array<int64_t>& neighbours, const Array<T>& weights,
                           Array<T> features) {
  const auto graph = graph_of(neighbours, features);
  const auto values = mk::points::input(sums), factors = mk::points::input(weights);
  const auto out = mk::points::output(features);
  const py::gil_scoped_release release;
  mk::points::check_indices(graph.neighbours, "neighbours", graph.sources, true);
  mk::points::gather_sum_transposed(graph, values, factors, out);
}

template <class T>
void gather_sum_products(const Array<T>& features, const Array<T>& sums, const Array<int64_t>& neighbours,
                         Array<T> weights) {
  const auto graph = graph_of(neighbours, features);
  const auto values = mk::points::input(features), others = mk::points::input(sums);
  const auto out = mk::points::output(weights);
  const py::gil_scoped_release release;
  mk::points::check_indices(graph.neighbours, "neighbours", graph.sources, true);
  mk::points::gather_sum_products(graph, values, others, out);
}

template <class T>
void edge_softmax(const Array<T>& scores, const Array<int64_t>& neighbours, Array<T> weights) {
  const auto values = mk::points::input(scores);
  const auto present = mk::points::input(neighbours);
  const auto out = mk::points::output(weights);
  const int64_t k = scores.shape(1), heads = scores.shape(2);
  const py::gil_scoped_release release;
  mk::points::edge_softmax(values, present, k, heads, out);
}

template <class T>
void edge_softmax_backward(const Array<T>& grad, const Array<T>& weights, Array<T> pulled) {
  const auto values = mk::points::input(grad), factors = mk::points::input(weights);
  const auto out = mk::points::output(pulled);
  const int64_t k = grad.shape(1), heads = grad.shape(2);
  const py::gil_scoped_release release;
  mk::points::edge_softmax_backward(values, factors, k, heads, out);
}

template <class T>
void bind_type(py::module_& m) {
  m.def("local_reference_axis", &local_reference_axis<T>, py::arg("points").noconvert(), py::arg("names"),
        py::arg("neighbours").noconvert(), py::arg("neighbour_names"), py::arg("weighted"),
        py::arg("axes").noconvert());
  m.def("rotation_invariant_features", &rotation_invariant_features<T>, py::arg("points").noconvert(),
        py::arg("axes").noconvert(), py::arg("centers").noconvert(), py::arg("neighbours").noconvert(),
        py::arg("names"), py::arg("features").noconvert(), py::arg("ordered").noconvert());
  m.def("gather_sum", &gather_sum<T>, py::arg("features").noconvert(), py::arg("neighbours").noconvert(),
        py::arg("weights").noconvert(), py::arg("sums").noconvert());
  m.def("gather_sum_transposed", &gather_sum_transposed<T>, py::arg("sums").noconvert(),
        py::arg("neighbours").noconvert(), py::arg("weights").noconvert(), py::arg("features").noconvert());
  m.def("gather_sum_products", &gather_sum_products<T>, py::arg("features").noconvert(), py::arg("sums").noconvert(),
        py::arg("neighbours").noconvert(), py::arg("weights").noconvert());
  m.def("edge_softmax", &edge_softmax<T>, py::arg("scores").noconvert(), py::arg("neighbours").noconvert(),
        py::arg("weights").noconvert());
  m.def("edge_softmax_backward", &edge_softmax_backward<T>, py::arg("grad").noconvert(), py::arg("weights").noconvert(),
        py::arg("pulled").noconvert());
}

}  // namespace

void bind_points_features(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
}
