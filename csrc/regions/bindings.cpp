#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>

#include "common/parallel.h"
#include "regions/area_open.h"
#include "regions/fill_holes.h"
#include "regions/label.h"
#include "regions/max_tree.h"

namespace py = pybind11;

namespace {

using mk::regions::Grid;

// C-contiguous and of the exact type, [batch, depth, height, width]: the Python layer has already converted.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

// A batch of pictures or volumes.
template <class T>
struct Batch {
  int64_t count;
  Grid grid;
  const T* data;

  Batch(const Array<T>& array, int connectivity)
      : count(array.shape(0)), grid{array.shape(1), array.shape(2), array.shape(3), connectivity}, data(array.data()) {}

  std::span<const T> operator[](int64_t i) const { return {data + i * grid.size(), static_cast<size_t>(grid.size())}; }
};

// The items of a result of the same shape.
template <class T>
struct Results {
  Array<T> array;
  T* data;
  int64_t size;

  template <class From>
  explicit Results(const Batch<From>& batch)
      : array({batch.count, batch.grid.depth, batch.grid.height, batch.grid.width}),
        data(array.mutable_data()),
        size(batch.grid.size()) {}

  std::span<T> operator[](int64_t i) const { return {data + i * size, static_cast<size_t>(size)}; }
};

template <class T>
Array<T> rows(const std::vector<T>& values, const std::vector<py::ssize_t>& shape) {
  Array<T> result(shape);
  std::copy(values.begin(), values.end(), result.mutable_data());
  return result;
}

py::tuple arrays(const mk::regions::Measures& m, py::ssize_t dims) {
  const auto n = static_cast<py::ssize_t>(m.area.size());
  return py::make_tuple(rows(m.area, {n}), rows(m.box, {n, 2 * dims}), rows(m.centroid, {n, dims}),
                        rows(m.perimeter, {n}), rows(m.moments, {n, dims, dims}));
}

py::tuple label(const Array<uint8_t>& mask, int connectivity, bool with_measures) {
  const Batch<uint8_t> batch(mask, connectivity);
  Results<int32_t> labels(batch);
  Array<int32_t> counts(batch.count);
  int32_t* const count = counts.mutable_data();
  std::vector<mk::regions::Measures> measures(with_measures ? batch.count : 0);
  {
    const py::gil_scoped_release release;
    mk::parallel_for(batch.count, [&](int64_t i) {
      const mk::regions::RunForest forest(batch[i], batch.grid, false);
      mk::regions::paint_labels(forest, labels[i]);
      count[i] = static_cast<int32_t>(forest.count());
      if (with_measures) measures[i] = mk::regions::measure(forest);
    });
  }
  py::list items;
  for (const auto& item : measures) items.append(arrays(item, connectivity == 4 || connectivity == 8 ? 2 : 3));
  return py::make_tuple(labels.array, counts, items);
}

// A function (mask, grid, result) for each item of a batch of masks.
template <class Function>
Array<uint8_t> mask_to_mask(const Array<uint8_t>& mask, int connectivity, const Function& function) {
  const Batch<uint8_t> batch(mask, connectivity);
  Results<uint8_t> results(batch);
  {
    const py::gil_scoped_release release;
    mk::parallel_for(batch.count, [&](int64_t i) { function(batch[i], batch.grid, results[i]); });
  }
  return results.array;
}

template <class T>
py::tuple max_tree(const Array<T>& image, int connectivity) {
  const Batch<T> batch(image, connectivity);
  Results<int32_t> parent(batch), order(batch), area(batch);
  {
    const py::gil_scoped_release release;
    mk::parallel_for(batch.count, [&](int64_t i) {
      mk::regions::max_tree<T>(batch[i], batch.grid, {parent[i], order[i], area[i]});
    });
  }
  return py::make_tuple(parent.array, order.array, area.array);
}

template <class T>
void bind_type(py::module_& m) {
  m.def("max_tree", &max_tree<T>, py::arg("image").noconvert(), py::arg("connectivity"));
}

}  // namespace

void bind_regions(py::module_& m) {
  m.def("label", &label, py::arg("mask").noconvert(), py::arg("connectivity"), py::arg("with_measures"));
  m.def(
      "area_open",
      [](const Array<uint8_t>& mask, int connectivity, int64_t least, int64_t most) {
        return mask_to_mask(mask, connectivity, [=](const auto& from, const Grid& grid, const auto& to) {
          mk::regions::area_open(from, grid, least, most, to);
        });
      },
      py::arg("mask").noconvert(), py::arg("connectivity"), py::arg("least"), py::arg("most"));
  m.def(
      "fill_holes",
      [](const Array<uint8_t>& mask, int connectivity) {
        return mask_to_mask(mask, connectivity, [](const auto& from, const Grid& grid, const auto& to) {
          mk::regions::fill_holes(from, grid, to);
        });
      },
      py::arg("mask").noconvert(), py::arg("connectivity"));
  bind_type<uint8_t>(m);
  bind_type<uint16_t>(m);
  bind_type<int16_t>(m);
  bind_type<float>(m);
  bind_type<double>(m);
}
