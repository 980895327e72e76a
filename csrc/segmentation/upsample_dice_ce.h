// Cross-entropy and soft Dice of upsampled logits against labels, without the upsampled logits.
//
// With p the softmax over classes of logits interpolated to the size of the labels, y one where a class is the label,
// sums over the places of an item whose label counts, and e = 1e-5:
//   CE = sum -log p_label,  Dice_c = N_c / D_c,  N_c = 2 sum p y + e,  D_c = sum p^2 + sum y^2 + e.
// The second loss is 1 - the mean of Dice_c over classes, the first class aside where it is not to be included.
// Backward, with slopes g of CE and h of the second loss for each of the K classes:
//   G_c = -h / K (2 y / D_c - 2 N_c p_c / D_c^2),  dL/du_c = p_c (G_c - sum_j p_j G_j) + g (p_c - y_c),
// carried to the inputs by the transposed interpolation, from p computed anew.
// Cost: O(C) for each output and O(C d h w); memory O(C w) a thread. Sums are taken of rows of inputs in a fixed order;
// backward, rows two apart touch no common input and are worked on at the same time: neither depends on threads.
#pragma once

#include <cstdint>
#include <span>

#include "segmentation/walk.h"

namespace mk::segmentation {

// Logits [items, classes, depth, height, width], labels [items, to_depth, to_height, to_width].
template <class T>
struct UpsampleDiceCe {
  int64_t items, classes, depth, height, width;
  int64_t to_depth, to_height, to_width;
  std::span<const T> logits;
  Labels labels;
  bool include_background;
};

// Of each item both losses [items, 2], how many places count [items], and sum p y, sum p^2 and sum y [items, 3,
// classes], which the backward pass needs.
template <class T>
struct UpsampleDiceCeResult {
  std::span<T> losses;
  std::span<int64_t> counts;
  std::span<double> sums;
};

// Throws std::invalid_argument for logits that are not finite, and for labels that are no class.
template <class T>
void upsample_dice_ce(const UpsampleDiceCe<T>& input, const UpsampleDiceCeResult<T>& result);

// From the gradient of the losses that of the logits.
template <class T>
void differentiate_upsample_dice_ce(const UpsampleDiceCe<T>& input, std::span<const T> grad_losses,
                                    std::span<const double> sums, std::span<T> grad_logits);

}  // namespace mk::segmentation
