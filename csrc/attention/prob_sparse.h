// ProbSparse self-attention: full attention for the queries whose scores stand out of a sample, the mean of the values
// for all others.
//
// For each query the products with `samples` random keys give how far their greatest stands above their mean. The
// `active` queries where it stands out most (ties: the lowest index) get softmax(scale q K^T) V, computed in tiles of
// keys with a running maximum; the other rows are the mean of V. No matrix of scores is stored: memory is O(L).
// Backward, for the active rows T with softmax P and gradient G of the result:
//   dV = P^T G_T + 1/L sum_{i not in T} G_i,  dS = P (G_T V^T - rowsum(G_T X_T)),  dQ_T = scale dS K,
//   dK = scale dS^T Q_T. The selection has no gradient.
// Cost: O(L samples D + L active (D + E)) for each head. Threads share out heads and runs of keys; sums are added in
// one order.
// Source: Zhou et al. 2021, "Informer: beyond efficient transformer for long sequence time-series forecasting".
#pragma once

#include <cstdint>
#include <span>

namespace mk::attention {

// `heads` sequences of `length` rows: queries and keys of `dims`, values of `value_dims` elements.
template <class T>
struct ProbSparse {
  int64_t heads, length, dims, value_dims;
  std::span<const T> queries, keys, values;
  int64_t samples, active;
  uint64_t seed;
  double scale;
  bool sample_mean;  // divide the sum of the sampled products by their number, not by the length
};

// What the forward pass gives: rows [heads, length, value_dims], and for the backward pass the active queries in
// ascending order with the logarithms of their sums of exp(score), both [heads, active].
template <class T>
struct ProbSparseResult {
  std::span<T> rows;
  std::span<int32_t> active;
  std::span<T> levels;
};

template <class T>
struct ProbSparseGradient {
  std::span<T> queries, keys, values;
};

// Throws std::invalid_argument for values that are not finite, or scores that overflow.
template <class T>
void prob_sparse(const ProbSparse<T>& input, const ProbSparseResult<T>& result);

// `result` and `grad_rows` are of the forward pass and of its rows.
template <class T>
void differentiate_prob_sparse(const ProbSparse<T>& input, std::span<const T> grad_rows, std::span<const T> rows,
                               std::span<const int32_t> active, std::span<const T> levels,
                               const ProbSparseGradient<T>& gradient);

}  // namespace mk::attention
