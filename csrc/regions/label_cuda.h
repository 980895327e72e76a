// Connected components of masks in the memory of a CUDA device, numbered and measured as on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace mk::cuda {

// Measures of n components, one item's after another's, in device memory; see regions/label.h.
struct MeasureArrays {
  int64_t *area, *box;
  double* centroid;
  int64_t* perimeter;
  double* moments;
};

struct LabelRequest {
  const void* mask;  // [items, depth, height, width], integers of so many bytes
  int bytes;         // 1, 2, 4 or 8
  int64_t items, depth, height, width;
  int connectivity;
  int32_t* labels;  // of the shape of the mask
  int device;
  void* stream;
  std::function<void*(size_t)> allocate;                    // device memory for the time of the call
  std::function<MeasureArrays(int64_t)> allocate_measures;  // room for all components; none: they are not measured
};

// Writes the labels; returns the number of components of each item.
std::vector<int64_t> label(const LabelRequest& request);

// Bytes of device memory beside the labels: to label, and for each component that is measured.
int64_t label_memory(int64_t items, int64_t rows, int64_t width);
int64_t measure_memory(int dims);

}  // namespace mk::cuda
