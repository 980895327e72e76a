#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <utility>

#include "common/parallel.h"
#include "regions/area_open.h"
#include "regions/fill_holes.h"
#include "regions/label.h"
#include "regions/max_tree.h"
#include "regions/measures.h"
#include "regions/mmser.h"
#include "regions/mser.h"
#include "regions/pages.h"
#include "regions/saturation_mask.h"
#include "regions/specular_mask.h"

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

// An array that takes the memory over.
template <class T>
Array<T> owner(mk::regions::Pages<T>& values, const std::vector<py::ssize_t>& shape) {
  T* const data = values.get();
  const py::capsule memory(data, [](void* pages) { mk::regions::FreePages()(pages); });
  values.release();
  return Array<T>(shape, data, memory);
}

py::tuple arrays(mk::regions::Measures& m) {
  const py::ssize_t n = m.count, dims = m.dims;
  return py::make_tuple(owner(m.area, {n}), owner(m.box, {n, 2 * dims}), owner(m.centroid, {n, dims}),
                        owner(m.perimeter, {n}), owner(m.moments, {n, dims, dims}));
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
  for (auto& item : measures) items.append(arrays(item));
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

// parts of each item, or 0: one a thread, or one where there is an item for each thread
template <class T>
py::tuple max_tree(const Array<T>& image, int connectivity, int64_t parts) {
  const Batch<T> batch(image, connectivity);
  Results<int32_t> parent(batch), order(batch), area(batch);
  {
    const py::gil_scoped_release release;
    if (parts == 0 && batch.count >= mk::num_threads()) parts = 1;
    mk::parallel_for(batch.count, [&](int64_t i) {
      mk::regions::max_tree<T>(batch[i], batch.grid, {parent[i], order[i], area[i]}, parts);
    });
  }
  return py::make_tuple(parent.array, order.array, area.array);
}

// What is known of each region: its node's level, a number that tells its stability, its elements, and the moments of
// their positions.
template <class T>
struct FoundRegions {
  std::vector<int32_t> levels;
  std::vector<T> scores;
  mk::regions::Members members;

  FoundRegions() = default;
  FoundRegions(const mk::regions::Nodes& nodes, std::span<const int32_t> chosen, std::vector<T> found)
      : scores(std::move(found)), members(mk::regions::collect_members(nodes, chosen)) {
    for (const int32_t node : chosen) levels.push_back(mk::regions::Nodes::level(nodes[node]));
  }

  py::tuple arrays() const {
    const auto n = static_cast<py::ssize_t>(levels.size());
    return py::make_tuple(rows(members.elements, {static_cast<py::ssize_t>(members.elements.size())}),
                          rows(members.offsets, {n + 1}), rows(levels, {n}), rows(scores, {n}),
                          rows(members.moments, {n, 5}));
  }
};

// For each item of the batch one entry for each polarity: of the picture, or of its negative where that is asked for.
py::list mser(const Array<uint8_t>& image, const std::vector<bool>& negatives, int connectivity, int delta,
              int64_t min_area, int64_t max_area, double max_variation, double min_diversity) {
  const Batch<uint8_t> batch(image, connectivity);
  const auto polarities = static_cast<int64_t>(negatives.size());
  std::vector<FoundRegions<double>> found(batch.count * polarities);
  {
    const py::gil_scoped_release release;
    mk::parallel_for(batch.count * polarities, [&](int64_t i) {
      const mk::regions::Nodes nodes(batch[i / polarities], batch.grid, negatives[i % polarities]);
      auto stable = mk::regions::find_stable(nodes, {delta, min_area, max_area, max_variation, min_diversity});
      found[i] = {nodes, stable.nodes, std::move(stable.variations)};
    });
  }
  py::list items;
  for (const auto& item : found) items.append(item.arrays());
  return items;
}

// min_level has one number an item.
py::tuple mmser(const Array<uint8_t>& image, int connectivity, int delta, int64_t min_area, int64_t max_area,
                const Array<int32_t>& min_level) {
  const Batch<uint8_t> batch(image, connectivity);
  Results<uint8_t> masks(batch);
  std::vector<FoundRegions<int64_t>> found(batch.count);
  const int32_t* const least = min_level.data();
  {
    const py::gil_scoped_release release;
    mk::parallel_for(batch.count, [&](int64_t i) {
      const mk::regions::Nodes nodes(batch[i], batch.grid, false);
      auto bright = mk::regions::find_bright(nodes, {delta, min_area, max_area, least[i]});
      mk::regions::paint_nodes(nodes, bright.nodes, masks[i]);
      found[i] = {nodes, bright.nodes, std::move(bright.growths)};
    });
  }
  py::list items;
  for (const auto& item : found) items.append(item.arrays());
  return py::make_tuple(masks.array, items);
}

// rgb: [batch, height, width, 3]. Calls function(rgb, grid, mask) for each picture.
template <class Function>
Array<uint8_t> rgb_to_mask(const Array<uint8_t>& rgb, const Function& function) {
  const int64_t count = rgb.shape(0);
  const Grid grid{1, rgb.shape(1), rgb.shape(2), 8};
  Array<uint8_t> masks({rgb.shape(0), rgb.shape(1), rgb.shape(2)});
  const auto size = static_cast<size_t>(grid.size());
  const uint8_t* const from = rgb.data();
  uint8_t* const to = masks.mutable_data();
  {
    const py::gil_scoped_release release;
    mk::parallel_for(count, [&](int64_t i) {
      function(std::span<const uint8_t>{from + i * 3 * size, 3 * size}, grid, std::span<uint8_t>{to + i * size, size});
    });
  }
  return masks;
}

template <class T>
void bind_type(py::module_& m) {
  m.def("max_tree", &max_tree<T>, py::arg("image").noconvert(), py::arg("connectivity"), py::arg("parts") = 0);
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
  m.def("mser", &mser, py::arg("image").noconvert(), py::arg("negatives"), py::arg("connectivity"), py::arg("delta"),
        py::arg("min_area"), py::arg("max_area"), py::arg("max_variation"), py::arg("min_diversity"));
  m.def("mmser", &mmser, py::arg("image").noconvert(), py::arg("connectivity"), py::arg("delta"), py::arg("min_area"),
        py::arg("max_area"), py::arg("min_level").noconvert());
  m.def(
      "saturation_mask",
      [](const Array<uint8_t>& rgb) {
        return rgb_to_mask(
            rgb, [](const auto& from, const Grid&, const auto& to) { mk::regions::saturation_mask(from, to); });
      },
      py::arg("rgb").noconvert());
  m.def(
      "specular_mask",
      [](const Array<uint8_t>& rgb, int delta, int64_t min_area, int64_t max_area, int64_t max_patch) {
        return rgb_to_mask(rgb, [=](const auto& from, const Grid& grid, const auto& to) {
          mk::regions::specular_mask(from, grid, {delta, min_area, max_area, max_patch}, to);
        });
      },
      py::arg("rgb").noconvert(), py::arg("delta"), py::arg("min_area"), py::arg("max_area"), py::arg("max_patch"));
}
