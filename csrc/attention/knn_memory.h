// Attention of each query to the k entries of a memory whose keys have the greatest products with it.
//
// Scores are computed in tiles of keys for a block of queries at a time, and those above the k-th best so far are kept,
// so no matrix of scores is stored. Equal scores: the lowest index. Then, with N_i the entries of query i,
//   o_i = sum_{j in N_i} p_ij V_j,  p_ij = softmax_{j in N_i}(scale q_i . K_j).
// Backward (memory and selection are constant), with G the gradient of o:
//   t_ij = G_i . V_j,  ds_ij = p_ij (t_ij - sum_l p_il t_il),  dq_i = scale sum_j ds_ij K_j.
// Cost: O(N M D) for each head, O(N k (D + E)) backward. Threads share out heads and blocks of queries.
// Source: Wu et al. 2022, "Memorizing transformers", section 3.2, with an exact search.
#pragma once

#include <cstdint>
#include <span>

namespace mk::attention {

// `heads` times `count` queries of `dims` elements; memories of `entries` keys, and values of `value_dims` elements.
template <class T>
struct KnnMemory {
  int64_t heads, count, entries, dims, value_dims, k;  // k <= entries
  std::span<const T> queries, keys, values;
  double scale;
};

// Rows [heads, count, value_dims]; the chosen entries in ascending order and their weights, [heads, count, k].
template <class T>
struct KnnMemoryResult {
  std::span<T> rows;
  std::span<int32_t> entries;
  std::span<T> weights;
};

// Throws std::invalid_argument for values that are not finite, or scores that overflow.
template <class T>
void knn_memory(const KnnMemory<T>& input, const KnnMemoryResult<T>& result);

template <class T>
void differentiate_knn_memory(const KnnMemory<T>& input, std::span<const T> grad_rows, std::span<const int32_t> entries,
                              std::span<const T> weights, std::span<T> grad_queries);

}  // namespace mk::attention
