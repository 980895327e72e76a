// Attention between the channels of a head: softmax of the products of channels over the whole sequence.
//
//   P = softmax_rows(scale q^T k)  [d, d],  X = v P^T.
// Backward, with G the gradient of X:
//   dV = G P,  dP = G^T V,  dS = P (dP - rowsum(P dP)),  dQ = scale K dS^T,  dK = scale Q dS.
// Products over the sequence are added up by runs of it, the runs in their order and in double.
// G is read once for dV and dP, and no thread waits for all others between the passes.
// Cost: O(L d^2) for each head, O(L d) memory. Threads share out heads and runs.
// Source: the channel branch of DRIVPocket (ICPR 2024), of which Zamir et al. 2022, "Restormer", section 3.1, is a
// well-known form.
#pragma once

#include <span>

#include "attention/heads.h"

namespace mk::attention {

// All of one shape.
template <class T>
struct Channel {
  HeadRows<const T> queries, keys, values;
  double scale;
};

// `rows` as the values, `weights` P of each head, [heads, d, d].
template <class T>
void channel(const Channel<T>& input, const HeadRows<T>& rows, std::span<T> weights);

template <class T>
struct ChannelGradient {
  HeadRows<T> queries, keys, values;
};

template <class T>
void differentiate_channel(const Channel<T>& input, const HeadRows<const T>& grad_rows, std::span<const T> weights,
                           const ChannelGradient<T>& gradient);

}  // namespace mk::attention
