// Softmax attention between two sets, of which one may be as large as memory allows: no score is stored.
//
//   o_i = sum_j p_ij v_j,  p_ij = softmax_j(scale q_i . k_j).
// Blocks of queries meet tiles of keys with a running maximum. Where there are few blocks, keys are split into parts
// that threads share out; what the parts give is joined in their order and in double. Backward, with G the gradient of
// o and l_i the logarithm of the sum of exp(score):
//   p_ij = exp(scale q_i . k_j - l_i),  ds_ij = p_ij (G_i . v_j - G_i . o_i),
//   dq_i = scale sum_j ds_ij k_j,  dk_j = scale sum_i ds_ij q_i,  dv_j = sum_i p_ij G_i.
// Runs of the larger set meet all of the smaller one; the sums for the smaller one are added up in the order of the
// runs.
// Cost: O(N M (D + E)) for each head, and memory O(N + M).
// Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao 2023, "FlashAttention-2".
#pragma once

#include <span>

#include "attention/heads.h"

namespace mk::attention {

// Queries and keys of equal `dims`, keys and values of equal `count`, which is at least 1.
template <class T>
struct SetAttention {
  HeadRows<const T> queries, keys, values;
  double scale;
};

// `rows` [heads, queries, value dims], `levels` l of each query.
template <class T>
void set_attention(const SetAttention<T>& input, const HeadRows<T>& rows, std::span<T> levels);

template <class T>
struct SetAttentionGradient {
  HeadRows<T> queries, keys, values;
};

// `rows` and `levels` are those of the forward pass.
template <class T>
void differentiate_set_attention(const SetAttention<T>& input, const HeadRows<const T>& grad_rows,
                                 const HeadRows<const T>& rows, std::span<const T> levels,
                                 const SetAttentionGradient<T>& gradient);

}  // namespace mk::attention
