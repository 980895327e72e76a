#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <vector>

#include "segmentation/upsample_argmax.h"
#include "segmentation/upsample_dice_ce.h"

namespace py = pybind11;

namespace {

// C-contiguous and of the exact type: the Python layer has already converted.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
std::span<const T> in(const Array<T>& array) {
  return {array.data(), static_cast<size_t>(array.size())};
}

template <class T>
std::span<T> out(Array<T>& array) {
  return {array.mutable_data(), static_cast<size_t>(array.size())};
}

template <class T, class Label>
Array<Label> upsample_argmax(const Array<T>& logits, const std::array<int64_t, 3>& size) {
  const mk::segmentation::UpsampleArgmax<T> input{logits.shape(0), logits.shape(1), logits.shape(2),
                                                  logits.shape(3), logits.shape(4), size[0],
                                                  size[1],         size[2],         in(logits)};
  Array<Label> labels({logits.shape(0), py::ssize_t{size[0]}, py::ssize_t{size[1]}, py::ssize_t{size[2]}});
  const std::span<Label> result = out(labels);
  {
    const py::gil_scoped_release release;
    mk::segmentation::upsample_argmax(input, result);
  }
  return labels;
}

template <class T>
mk::segmentation::UpsampleDiceCe<T> upsample_dice_ce(const Array<T>& logits, const py::array& labels,
                                                     bool include_background, std::optional<int64_t> ignored) {
  return {logits.shape(0),   logits.shape(1),
          logits.shape(2),   logits.shape(3),
          logits.shape(4),   labels.shape(1),
          labels.shape(2),   labels.shape(3),
          in(logits),        {labels.data(), static_cast<int>(labels.itemsize()), ignored},
          include_background};
}

template <class T>
void bind_type(py::module_& m) {
  m.def(
      "upsample_argmax",
      [](const Array<T>& logits, const std::array<int64_t, 3>& size, bool bytes) -> py::array {
        if (bytes) return upsample_argmax<T, uint8_t>(logits, size);
        return upsample_argmax<T, int32_t>(logits, size);
      },
      py::arg("logits").noconvert(), py::arg("size"), py::arg("bytes"));

  m.def(
      "upsample_dice_ce",
      [](const Array<T>& logits, const py::array& labels, bool include_background, std::optional<int64_t> ignored) {
        const auto input = upsample_dice_ce(logits, labels, include_background, ignored);
        Array<T> losses({logits.shape(0), py::ssize_t{2}});
        Array<int64_t> counts(logits.shape(0));
        Array<double> sums({logits.shape(0), py::ssize_t{3}, logits.shape(1)});
        const mk::segmentation::UpsampleDiceCeResult<T> result{out(losses), out(counts), out(sums)};
        {
          const py::gil_scoped_release release;
          mk::segmentation::upsample_dice_ce(input, result);
        }
        return py::make_tuple(losses, counts, sums);
      },
      py::arg("logits").noconvert(), py::arg("labels").noconvert(), py::arg("include_background"), py::arg("ignored"));

  m.def(
      "upsample_dice_ce_backward",
      [](const Array<T>& grad, const Array<T>& logits, const py::array& labels, const Array<double>& sums,
         bool include_background, std::optional<int64_t> ignored) {
        const auto input = upsample_dice_ce(logits, labels, include_background, ignored);
        Array<T> grad_logits(std::vector<py::ssize_t>(logits.shape(), logits.shape() + logits.ndim()));
        const std::span<const T> upstream = in(grad);
        const std::span<const double> own_sums = in(sums);
        const std::span<T> gradient = out(grad_logits);
        {
          const py::gil_scoped_release release;
          mk::segmentation::differentiate_upsample_dice_ce(input, upstream, own_sums, gradient);
        }
        return grad_logits;
      },
      py::arg("grad").noconvert(), py::arg("logits").noconvert(), py::arg("labels").noconvert(),
      py::arg("sums").noconvert(), py::arg("include_background"), py::arg("ignored"));
}

}  // namespace

void bind_segmentation(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
}
