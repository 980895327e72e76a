// Sorting and running sums on a CUDA device. They are CUB's, which takes long to compile: it is done here, once.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace mk::cuda {

// Sorts fewer than 2^31 pairs by the lowest `bits` bits of their keys, stable. With no space it only tells how many
// bytes of it are needed. The result is in keys[0] and values[0]. Keys: uint32_t or unsigned long long.
template <class Key>
void sort_pairs(void* space, size_t& bytes, Key* (&keys)[2], uint32_t* (&values)[2], int64_t count, int bits,
                cudaStream_t stream);

// Replaces each number by the sum, modulo 2^32, of all up to it. With no space it only tells the bytes needed.
void add_up(void* space, size_t& bytes, uint32_t* numbers, int64_t count, cudaStream_t stream);

}  // namespace mk::cuda
