// Softmax over classes at the slots of a block (see resampling.h), by vectors, and what is summed over it.
#pragma once

#include <cstdint>

#include "segmentation/resampling.h"

namespace mk::segmentation {

// Slots of a block: kPhases rows of kChunk.
template <class T>
constexpr int64_t kBlock = kPhases * kChunk<T>;

// The first lane of the block in rows of inputs [classes, stride] and in weights, of which the next phase is `step` on.
// Phases that are not there are not touched.
template <class T>
struct Block {
  const T* rows;
  int64_t stride, classes;
  const T *low, *high;
  int64_t step, phases;
};

// exp(u - top) of each class, [classes, kBlock]; of each slot the greatest logit u and the sum of the exponentials.
template <class T>
struct Exponentials {
  T *values, *top, *total;
};

// For probabilities p = values * inverse of class c at slot s:
template <class T>
struct SlotKernels {
  void (*soften)(const Block<T>& block, const Exponentials<T>& to);
  // squares[c, kChunk] += shares[s] p^2
  void (*add_squares)(const Block<T>& block, const T* values, const T* inverse, const T* shares, T* squares);
  // sums[s] = sum over classes of factors[c] p^2
  void (*weigh_squares)(const Block<T>& block, const T* values, const T* inverse, const T* factors, T* sums);
  // With slopes g = p (shares[s] factors[c] p + offsets[s]): gradient[c, stride] += low g at the first input of the
  // lane, += high g at the second.
  void (*add_slopes)(const Block<T>& block, const T* values, const T* inverse, const T* shares, const T* factors,
                     const T* offsets, T* gradient);
};

template <class T>
const SlotKernels<T>& slot_kernels();

}  // namespace mk::segmentation
