// Softmax over the k edges that enter a node, for each head: weights_j = exp(s_j) / sum_i exp(s_i) over the neighbours
// that are there, 0 for absent ones; and its derivative. O(M k H), and no memory beside the result.
#pragma once

#include <cstdint>
#include <span>

namespace mk::points {

// scores, weights: [rows, k, heads]; neighbours: [rows, k], -1 where absent.
template <class T>
void edge_softmax(std::span<const T> scores, std::span<const int64_t> neighbours, int64_t k, int64_t heads,
                  std::span<T> weights);

// pulled = w (g - sum_j w_j g_j), for the gradient g in the weights w.
template <class T>
void edge_softmax_backward(std::span<const T> grad, std::span<const T> weights, int64_t k, int64_t heads,
                           std::span<T> pulled);

}  // namespace mk::points
