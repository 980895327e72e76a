#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <string>

#include "common/check.h"
#include "topology/vietoris_rips.h"
#include "topology/wasserstein.h"
#include "topology/wasserstein_matrix.h"

namespace py = pybind11;

namespace {

using mk::topology::Cloud;
using mk::topology::Diagram;
using mk::topology::Graph;
using mk::topology::Metric;
using mk::topology::RipsCore;
using mk::topology::RipsOptions;
using mk::topology::SortedRips;

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
py::list diagrams_of_items(const std::vector<std::vector<Diagram<T>>>& found) {
  py::list result;
  for (const auto& item : found) result.append(diagrams(item));
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
  return diagrams_of_items(found);
}

// The values of one item, `width` in each of the rows first[item] .. first[item + 1].
template <class V>
std::span<const V> part(const Array<V>& values, const Array<int64_t>& first, size_t item, int64_t width) {
  const int64_t begin = first.at(item), end = first.at(item + 1);
  return in(values).subspan(begin * width, (end - begin) * width);
}

template <class T>
py::list vietoris_rips_cores(const std::vector<int64_t>& sizes, const Array<int64_t>& first, const Array<int32_t>& ends,
                             const Array<uint32_t>& ranks, const Array<T>& lengths, int max_dim) {
  std::vector<RipsCore<T>> items;
  for (size_t i = 0; i < sizes.size(); ++i)
    items.push_back({sizes[i], part(ends, first, i, 4), part(ranks, first, i, 2), part(lengths, first, i, 1)});
  std::vector<std::vector<Diagram<T>>> found;
  {
    const py::gil_scoped_release release;
    found = mk::topology::rips_of_cores<T>(items, max_dim);
  }
  return diagrams_of_items(found);
}

template <class T>
py::list vietoris_rips_sorted(const std::vector<int64_t>& sizes, const Array<int64_t>& first,
                              const Array<int32_t>& ends, const Array<T>& lengths, const Array<int64_t>& open_first,
                              const Array<uint32_t>& open, int max_dim) {
  std::vector<SortedRips<T>> items;
  for (size_t i = 0; i < sizes.size(); ++i)
    items.push_back({sizes[i], part(ends, first, i, 2), part(lengths, first, i, 1), part(open, open_first, i, 1)});
  std::vector<std::vector<Diagram<T>>> found;
  {
    const py::gil_scoped_release release;
    found = mk::topology::rips_of_sorted<T>(items, max_dim);
  }
  return diagrams_of_items(found);
}

template <class T>
void bind_type(py::module_& m) {
  m.def("vietoris_rips", &vietoris_rips<T>, py::arg("clouds").noconvert(), py::arg("kind"), py::arg("metric"),
        py::arg("max_dim"), py::arg("threshold"));
  m.def("vietoris_rips_cores", &vietoris_rips_cores<T>, py::arg("sizes"), py::arg("first"), py::arg("ends"),
        py::arg("ranks"), py::arg("lengths").noconvert(), py::arg("max_dim"));
  m.def("vietoris_rips_sorted", &vietoris_rips_sorted<T>, py::arg("sizes"), py::arg("first"), py::arg("ends"),
        py::arg("lengths").noconvert(), py::arg("open_first"), py::arg("open"), py::arg("max_dim"));
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

mk::topology::Ground ground_named(double ground) {
  return ground == 2 ? mk::topology::Ground::euclidean : mk::topology::Ground::maximum;
}

py::tuple wasserstein(const Array<double>& a, const Array<double>& b, double order, double ground, bool drop_endless,
                      int64_t memory) {
  Array<int64_t> partner(a.shape(0));
  const std::span<int64_t> partner_rows{partner.mutable_data(), static_cast<size_t>(partner.size())};
  const std::span<const double> both[2] = {in(a), in(b)};
  double distance;
  {
    const py::gil_scoped_release release;
    const double scale = mk::topology::common_scale(both);
    const mk::topology::Bars bars_a = mk::topology::prepare_bars(both[0], scale, drop_endless, "a");
    const mk::topology::Bars bars_b = mk::topology::prepare_bars(both[1], scale, drop_endless, "b");
    mk::topology::PairSolver solver;
    distance = solver.distance(bars_a, bars_b, {order, ground_named(ground), memory}) / scale;
    solver.partners(bars_a, bars_b, partner_rows);
  }
  return py::make_tuple(distance, partner);
}

py::tuple wasserstein_backward(const Array<double>& a, const Array<double>& b, const Array<int64_t>& partner,
                               double distance, double order, double ground, double upstream) {
  Array<double> grad_a({a.shape(0), py::ssize_t{2}}), grad_b({b.shape(0), py::ssize_t{2}});
  mk::topology::differentiate_wasserstein({in(a), in(b), in(partner), distance}, order, ground_named(ground), upstream,
                                          {grad_a.mutable_data(), static_cast<size_t>(grad_a.size())},
                                          {grad_b.mutable_data(), static_cast<size_t>(grad_b.size())});
  return py::make_tuple(grad_a, grad_b);
}

template <class T>
Array<T> copied(const std::vector<T>& values) {
  return Array<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::tuple arrays_of(const mk::topology::PackedBars& bars) {
  return py::make_tuple(copied(bars.birth), copied(bars.death), copied(bars.first), copied(bars.one_birth),
                        copied(bars.endless), copied(bars.endless_first));
}

py::tuple pack_bars(const Array<double>& rows, const Array<int64_t>& offsets, const Array<double>& other_rows,
                    const Array<int64_t>& other_offsets, bool symmetric, bool drop_endless) {
  const mk::topology::Diagrams sets[2] = {{in(rows), in(offsets)}, {in(other_rows), in(other_offsets)}};
  const size_t count = symmetric ? 1 : 2;
  mk::topology::PackedBars packed[2];
  double scale;
  {
    const py::gil_scoped_release release;
    scale = mk::topology::pack_bars({sets, count}, drop_endless, {packed, count});
  }
  return py::make_tuple(scale, arrays_of(packed[0]), arrays_of(packed[count - 1]));
}

Array<double> wasserstein_matrix(const Array<double>& rows, const Array<int64_t>& offsets,
                                 const Array<double>& other_rows, const Array<int64_t>& other_offsets, bool symmetric,
                                 double order, double ground, bool drop_endless, int64_t memory) {
  const mk::topology::Diagrams diagrams{in(rows), in(offsets)}, others{in(other_rows), in(other_offsets)};
  const mk::topology::WassersteinOptions options{order, ground_named(ground), memory};
  Array<double> distances({diagrams.count(), others.count()});
  const std::span<double> out{distances.mutable_data(), static_cast<size_t>(distances.size())};
  {
    const py::gil_scoped_release release;
    if (symmetric)
      mk::topology::wasserstein_matrix(diagrams, options, drop_endless, out);
    else
      mk::topology::wasserstein_matrix(diagrams, others, options, drop_endless, out);
  }
  return distances;
}

}  // namespace

void bind_topology(py::module_& m) {
  // NumPy has none.
  m.def("erf", py::vectorize([](double value) { return std::erf(value); }));
  bind_type<float>(m);
  bind_type<double>(m);
  m.def("wasserstein", &wasserstein, py::arg("a"), py::arg("b"), py::arg("order"), py::arg("ground"),
        py::arg("drop_endless"), py::arg("memory"));
  m.def("wasserstein_backward", &wasserstein_backward, py::arg("a"), py::arg("b"), py::arg("partner"),
        py::arg("distance"), py::arg("order"), py::arg("ground"), py::arg("upstream"));
  m.def("wasserstein_matrix", &wasserstein_matrix, py::arg("rows"), py::arg("offsets"), py::arg("other_rows"),
        py::arg("other_offsets"), py::arg("symmetric"), py::arg("order"), py::arg("ground"), py::arg("drop_endless"),
        py::arg("memory"));
  m.def("pack_bars", &pack_bars, py::arg("rows"), py::arg("offsets"), py::arg("other_rows"), py::arg("other_offsets"),
        py::arg("symmetric"), py::arg("drop_endless"));
}
