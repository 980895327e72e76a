// The class with the greatest upsampled logit, at each place, without the upsampled logits.
//
// Logits are interpolated along z, y and x in turn (see resampling.h), products rounded before they are added, so that
// results are the same with every instruction set. Equal logits: the lowest class. Classes that cannot win between
// eight inputs are left out there (see contenders.h). Cost: O(C d h w) and, for each output, O(classes that can win);
// memory O(C w) a thread, and a number for each place of the inputs. Threads share out rows of inputs.
#pragma once

#include <cstdint>
#include <span>

namespace mk::segmentation {

// Logits [items, classes, depth, height, width] and the size of the labels.
template <class T>
struct UpsampleArgmax {
  int64_t items, classes, depth, height, width;
  int64_t to_depth, to_height, to_width;
  std::span<const T> logits;
};

// Labels are uint8_t or int32_t. Throws std::invalid_argument for logits that are not finite.
template <class T, class Label>
void upsample_argmax(const UpsampleArgmax<T>& input, std::span<Label> labels);

}  // namespace mk::segmentation
