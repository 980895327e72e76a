// Softmax over the k edges that enter a node, and its derivative, on a CUDA device: the same digits as on the CPU.
#pragma once

#include <cstdint>

#include "points/clouds_cuda.h"

namespace mk::cuda {

struct SoftmaxShape {
  int64_t rows, k, heads;
};

// As in points/edge_softmax.h; all arrays are in device memory.
template <class T>
void edge_softmax(const SoftmaxShape& shape, const T* scores, const int64_t* neighbours, T* weights,
                  const Workplace& place);

template <class T>
void edge_softmax_backward(const SoftmaxShape& shape, const T* grad, const T* weights, T* pulled,
                           const Workplace& place);

}  // namespace mk::cuda
