#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <vector>

#include "attention/knn_memory.h"
#include "attention/prob_sparse.h"

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

template <class T>
Array<T> like(const Array<T>& array) {
  return Array<T>(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
}

template <class T>
mk::attention::ProbSparse<T> prob_sparse(const Array<T>& q, const Array<T>& k, const Array<T>& v, int64_t samples,
                                         int64_t active, uint64_t seed, double scale, bool sample_mean) {
  return {q.shape(0) * q.shape(1),
          q.shape(2),
          q.shape(3),
          v.shape(3),
          in(q),
          in(k),
          in(v),
          samples,
          active,
          seed,
          scale,
          sample_mean};
}

template <class T>
mk::attention::KnnMemory<T> knn_memory(const Array<T>& q, const Array<T>& keys, const Array<T>& values, int64_t k,
                                       double scale) {
  return {q.shape(0) * q.shape(1),
          q.shape(2),
          keys.shape(2),
          q.shape(3),
          values.shape(3),
          k,
          in(q),
          in(keys),
          in(values),
          scale};
}

template <class T>
void bind_type(py::module_& m) {
  m.def(
      "prob_sparse",
      [](const Array<T>& q, const Array<T>& k, const Array<T>& v, int64_t samples, int64_t active, uint64_t seed,
         double scale, bool sample_mean) {
        const auto input = prob_sparse(q, k, v, samples, active, seed, scale, sample_mean);
        Array<T> rows = like(v), levels({q.shape(0), q.shape(1), py::ssize_t{active}});
        Array<int32_t> chosen({q.shape(0), q.shape(1), py::ssize_t{active}});
        const mk::attention::ProbSparseResult<T> result{out(rows), out(chosen), out(levels)};
        {
          const py::gil_scoped_release release;
          mk::attention::prob_sparse(input, result);
        }
        return py::make_tuple(rows, chosen, levels);
      },
      py::arg("q").noconvert(), py::arg("k").noconvert(), py::arg("v").noconvert(), py::arg("samples"),
      py::arg("active"), py::arg("seed"), py::arg("scale"), py::arg("sample_mean"));

  m.def(
      "prob_sparse_backward",
      [](const Array<T>& grad, const Array<T>& q, const Array<T>& k, const Array<T>& v, const Array<T>& rows,
         const Array<int32_t>& chosen, const Array<T>& levels, double scale) {
        const auto input = prob_sparse(q, k, v, 0, chosen.shape(2), 0, scale, false);
        Array<T> grad_q = like(q), grad_k = like(k), grad_v = like(v);
        const mk::attention::ProbSparseGradient<T> gradient{out(grad_q), out(grad_k), out(grad_v)};
        const std::span<const T> upstream = in(grad), forward = in(rows), own_levels = in(levels);
        const std::span<const int32_t> own = in(chosen);
        {
          const py::gil_scoped_release release;
          mk::attention::differentiate_prob_sparse(input, upstream, forward, own, own_levels, gradient);
        }
        return py::make_tuple(grad_q, grad_k, grad_v);
      },
      py::arg("grad").noconvert(), py::arg("q").noconvert(), py::arg("k").noconvert(), py::arg("v").noconvert(),
      py::arg("rows").noconvert(), py::arg("chosen").noconvert(), py::arg("levels").noconvert(), py::arg("scale"));

  m.def(
      "knn_memory",
      [](const Array<T>& q, const Array<T>& keys, const Array<T>& values, int64_t k, double scale) {
        const auto input = knn_memory(q, keys, values, k, scale);
        Array<T> rows({q.shape(0), q.shape(1), q.shape(2), values.shape(3)});
        Array<int32_t> entries({q.shape(0), q.shape(1), q.shape(2), py::ssize_t{k}});
        Array<T> weights({q.shape(0), q.shape(1), q.shape(2), py::ssize_t{k}});
        const mk::attention::KnnMemoryResult<T> result{out(rows), out(entries), out(weights)};
        {
          const py::gil_scoped_release release;
          mk::attention::knn_memory(input, result);
        }
        return py::make_tuple(rows, entries, weights);
      },
      py::arg("q").noconvert(), py::arg("keys").noconvert(), py::arg("values").noconvert(), py::arg("k"),
      py::arg("scale"));

  m.def(
      "knn_memory_backward",
      [](const Array<T>& grad, const Array<T>& q, const Array<T>& keys, const Array<T>& values,
         const Array<int32_t>& entries, const Array<T>& weights, double scale) {
        const auto input = knn_memory(q, keys, values, entries.shape(3), scale);
        Array<T> grad_q = like(q);
        const std::span<const T> upstream = in(grad), own_weights = in(weights);
        const std::span<const int32_t> own = in(entries);
        const std::span<T> gradient = out(grad_q);
        {
          const py::gil_scoped_release release;
          mk::attention::differentiate_knn_memory(input, upstream, own, own_weights, gradient);
        }
        return grad_q;
      },
      py::arg("grad").noconvert(), py::arg("q").noconvert(), py::arg("keys").noconvert(), py::arg("values").noconvert(),
      py::arg("entries").noconvert(), py::arg("weights").noconvert(), py::arg("scale"));
}

}  // namespace

void bind_attention(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
}
