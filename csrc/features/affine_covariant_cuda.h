// Affine-covariant features on a CUDA device. What is found is defined by features/affine_covariant.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "features/affine_covariant.h"

namespace mk::cuda {

enum class PixelType { bytes, words, floats, doubles };

// [height, width] or [height, width, 3] in device memory, C-contiguous.
struct DeviceImage {
  const void* values;
  int32_t width, height;
  int channels;
};

// Where features are put: [count, 2, 3], [count, kDescriptorLength] and [count] in device memory.
struct FeatureArrays {
  float *frames, *descriptors, *responses;
};

struct AffineRequest {
  std::span<const DeviceImage> images;
  PixelType type;
  features::FeatureOptions options;
  int device;
  void* stream;
  int64_t memory;                                 // bytes that can be allocated
  std::function<void*(size_t)> allocate;          // device memory for the time of the call, aligned for any type
  std::function<FeatureArrays(int64_t)> results;  // arrays for so many features
};

// The features of the first images of a request: as many images of one size as fit in the memory. If `bad` is not -1,
// that image holds a value that is not finite or too large; nothing is found then.
struct AffineCounts {
  std::vector<int64_t> features;  // of each image that is done
  int64_t bad = -1;
};

AffineCounts affine_covariant(const AffineRequest& request);

// Bytes of device memory that one image takes at least.
int64_t affine_memory(int32_t width, int32_t height, int levels, bool doubled);

}  // namespace mk::cuda
