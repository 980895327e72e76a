// Max-trees of images in the memory of a CUDA device, the same as on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace mk::cuda {

enum class PixelType { uint8, uint16, int16, float32, float64 };

struct MaxTreeRequest {
  const void* image;  // [items, depth, height, width], without NaN
  PixelType type;
  int64_t items, depth, height, width;
  int connectivity;
  int32_t *parent, *order, *area;  // as in regions/max_tree.h, of the shape of the image
  int device;
  void* stream;
  std::function<void*(size_t)> allocate;  // device memory for the time of the call
};

void max_tree(const MaxTreeRequest& request);

// Bytes of device memory beside the result.
int64_t max_tree_memory(int64_t items, int64_t size);

}  // namespace mk::cuda
