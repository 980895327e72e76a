#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <vector>

#include "attention/channel.h"
#include "attention/heads.h"
#include "attention/knn_memory.h"
#include "attention/prob_sparse.h"
#include "attention/set_attention.h"

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

// Arrays [B, H, N, D] that lie in memory like that or as [B, N, H, D].
template <class T>
using Heads = py::array_t<T, 0>;

template <class T, class Values>
mk::attention::HeadRows<Values> head_rows(const Heads<T>& array, Values* values) {
  const auto step = [&](int dim) { return static_cast<int64_t>(array.strides(dim)) / py::ssize_t{sizeof(T)}; };
  return {values, array.shape(0) * array.shape(1), array.shape(2), array.shape(3), array.shape(1), step(0), step(1),
          step(2)};
}

template <class T>
mk::attention::HeadRows<const T> in_heads(const Heads<T>& array) {
  return head_rows<T, const T>(array, array.data());
}

template <class T>
mk::attention::HeadRows<T> out_heads(Heads<T>& array) {
  return head_rows<T, T>(array, array.mutable_data());
}

// New rows of `dims` elements that lie in memory as those of `array`.
template <class T>
Heads<T> like_heads(const Heads<T>& array, py::ssize_t dims) {
  const py::ssize_t batch = array.shape(0), heads = array.shape(1), count = array.shape(2), size = sizeof(T);
  const bool heads_side_by_side = heads > 1 && count > 1 && array.strides(1) < array.strides(2);
  const py::ssize_t head_step = heads_side_by_side ? dims : count * dims,
                    row_step = heads_side_by_side ? heads * dims : dims;
  return Heads<T>({batch, heads, count, dims}, {heads * count * dims * size, head_step * size, row_step * size, size});
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

  m.def(
      "channel",
      [](const Heads<T>& q, const Heads<T>& k, const Heads<T>& v, double scale) {
        const mk::attention::Channel<T> input{in_heads(q), in_heads(k), in_heads(v), scale};
        Heads<T> rows = like_heads(q, q.shape(3));
        Array<T> weights({q.shape(0), q.shape(1), q.shape(3), q.shape(3)});
        const mk::attention::HeadRows<T> result = out_heads(rows);
        const std::span<T> own_weights = out(weights);
        {
          const py::gil_scoped_release release;
          mk::attention::channel(input, result, own_weights);
        }
        return py::make_tuple(rows, weights);
      },
      py::arg("q").noconvert(), py::arg("k").noconvert(), py::arg("v").noconvert(), py::arg("scale"));

  m.def(
      "channel_backward",
      [](const Heads<T>& grad, const Heads<T>& q, const Heads<T>& k, const Heads<T>& v, const Array<T>& weights,
         double scale) {
        const mk::attention::Channel<T> input{in_heads(q), in_heads(k), in_heads(v), scale};
        Heads<T> grad_q = like_heads(q, q.shape(3)), grad_k = like_heads(k, k.shape(3)),
                 grad_v = like_heads(v, v.shape(3));
        const mk::attention::ChannelGradient<T> gradient{out_heads(grad_q), out_heads(grad_k), out_heads(grad_v)};
        const mk::attention::HeadRows<const T> upstream = in_heads(grad);
        const std::span<const T> own_weights = in(weights);
        {
          const py::gil_scoped_release release;
          mk::attention::differentiate_channel(input, upstream, own_weights, gradient);
        }
        return py::make_tuple(grad_q, grad_k, grad_v);
      },
      py::arg("grad").noconvert(), py::arg("q").noconvert(), py::arg("k").noconvert(), py::arg("v").noconvert(),
      py::arg("weights").noconvert(), py::arg("scale"));

  m.def(
      "set_attention",
      [](const Heads<T>& q, const Heads<T>& k, const Heads<T>& v, double scale) {
        const mk::attention::SetAttention<T> input{in_heads(q), in_heads(k), in_heads(v), scale};
        Heads<T> rows = like_heads(q, v.shape(3));
        Array<T> levels({q.shape(0), q.shape(1), q.shape(2)});
        const mk::attention::HeadRows<T> result = out_heads(rows);
        const std::span<T> own_levels = out(levels);
        {
          const py::gil_scoped_release release;
          mk::attention::set_attention(input, result, own_levels);
        }
        return py::make_tuple(rows, levels);
      },
      py::arg("q").noconvert(), py::arg("k").noconvert(), py::arg("v").noconvert(), py::arg("scale"));

  m.def(
      "set_attention_backward",
      [](const Heads<T>& grad, const Heads<T>& q, const Heads<T>& k, const Heads<T>& v, const Heads<T>& rows,
         const Array<T>& levels, double scale) {
        const mk::attention::SetAttention<T> input{in_heads(q), in_heads(k), in_heads(v), scale};
        Heads<T> grad_q = like_heads(q, q.shape(3)), grad_k = like_heads(k, k.shape(3)),
                 grad_v = like_heads(v, v.shape(3));
        const mk::attention::SetAttentionGradient<T> gradient{out_heads(grad_q), out_heads(grad_k), out_heads(grad_v)};
        const mk::attention::HeadRows<const T> upstream = in_heads(grad), forward = in_heads(rows);
        const std::span<const T> own_levels = in(levels);
        {
          const py::gil_scoped_release release;
          mk::attention::differentiate_set_attention(input, upstream, forward, own_levels, gradient);
        }
        return py::make_tuple(grad_q, grad_k, grad_v);
      },
      py::arg("grad").noconvert(), py::arg("q").noconvert(), py::arg("k").noconvert(), py::arg("v").noconvert(),
      py::arg("rows").noconvert(), py::arg("levels").noconvert(), py::arg("scale"));
}

}  // namespace

void bind_attention(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
}
