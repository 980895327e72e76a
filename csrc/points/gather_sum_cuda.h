// Sums over the neighbours of a table on a CUDA device, and what their derivatives need, as on the CPU.
#pragma once

#include <cstdint>

#include "points/clouds_cuda.h"

namespace mk::cuda {

// Sizes as in points/gather_sum.h; neighbours in device memory. Entries that are not indices of sources are absent.
struct DeviceGraph {
  const int64_t* neighbours;
  int64_t batch, rows, k, sources, heads, channels;
};

// All arrays are in device memory; no weights stand for ones. Whether all entries are indices or -1; the sums wait for
// the device to know that.
template <class T>
bool gather_sum(const DeviceGraph& graph, const T* features, const T* weights, T* sums, const Workplace& place);

// A graph of fewer than 2^31 edges and 2^32 - 1 sources. These do not wait.
template <class T>
void gather_sum_transposed(const DeviceGraph& graph, const T* sums, const T* weights, T* features,
                           const Workplace& place);

template <class T>
void gather_sum_products(const DeviceGraph& graph, const T* features, const T* sums, T* weights,
                         const Workplace& place);

}  // namespace mk::cuda
