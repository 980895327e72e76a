// Goes through upsampled logits block by block, with their softmax and the labels beside them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "segmentation/node_rows.h"
#include "segmentation/slot_softmax.h"

namespace mk::segmentation {

// Integers of 1 byte without sign, or of 4 or 8 bytes.
struct Labels {
  const void* data;
  int bytes;
  std::optional<int64_t> ignored;  // places with this label do not count
};

// The classes of a row of labels from element `from` on, -1 where they do not count. Throws std::invalid_argument for
// labels that are no class.
void read_labels(const Labels& labels, int64_t from, int64_t classes, std::span<int32_t> to);

// What is there of one item.
template <class T>
struct Item {
  Volume<T> volume;
  const Labels& labels;
  int64_t first_label;
};

// Goes through the outputs between rows of inputs, block by block, with the probabilities of each slot. Memory for one
// thread's work.
template <class T>
class Walk {
 public:
  Walk(int64_t classes, const Resampling<T>& resampling)
      : values(static_cast<size_t>(classes * kBlock<T>)),
        top(kBlock<T>),
        inverse(kBlock<T>),
        total(kBlock<T>),
        shares(kBlock<T>),
        labels(static_cast<size_t>(resampling.x.outputs)),
        resampling_(resampling),
        nodes_(classes, resampling),
        classes_(static_cast<size_t>(classes)) {
    std::iota(classes_.begin(), classes_.end(), 0);
  }

  // Calls each_block(block, first lane, outputs), each_row(y) and each_plane(z) as they come, for the outputs between
  // the inputs `plane` and the next and `row` and the next.
  template <class EachBlock, class EachRow, class EachPlane>
  void pass(const Item<T>& item, int64_t plane, int64_t row, const EachBlock& each_block, const EachRow& each_row,
            const EachPlane& each_plane) {
    const Axis<T>&z = resampling_.z, &y = resampling_.y;
    if (z.first[plane] == z.first[plane + 1] || y.first[row] == y.first[row + 1]) return;
    nodes_.enter_cell(item.volume, plane, z.next(plane), row, y.next(row));
    for (int64_t k = z.first[plane]; k < z.first[plane + 1]; ++k) {
      nodes_.enter_plane(z.low[k], z.high[k], classes_);
      for (int64_t j = y.first[row]; j < y.first[row + 1]; ++j) {
        nodes_.enter_row(y.low[j], y.high[j], classes_);
        read_labels(item.labels, item.first_label + (k * y.to + j) * std::ssize(labels), std::ssize(classes_), labels);
        pass_blocks(each_block);
        each_row(j);
      }
      each_plane(k);
    }
  }

  // The logit of a class at an output.
  T logit(const Output<T>& output, int64_t c) const {
    const T* const row = nodes_.rows() + c * resampling_.x.stride + output.lane;
    return output.low * row[0] + output.high * row[1];
  }
  T probability(const Output<T>& output, int64_t c) const {
    return values[c * kBlock<T> + output.slot] * inverse[output.slot];
  }

  // Of the block: exponentials [classes, kBlock], and for each slot the greatest logit, one over the sum of the
  // exponentials, that sum, and how many outputs that count it serves. Of the row: labels.
  std::vector<T> values, top, inverse, total, shares;
  std::vector<int32_t> labels;

 private:
  template <class EachBlock>
  void pass_blocks(const EachBlock& each_block) {
    const Slots<T>& x = resampling_.x;
    const int64_t groups = x.blocks() / x.chunks();
    for (int64_t b = 0; b < x.blocks(); ++b) {
      const std::span<const Output<T>> outputs(x.by_block.data() + x.block_starts[b],
                                               x.by_block.data() + x.block_starts[b + 1]);
      if (outputs.empty()) continue;
      const int64_t lane = b / groups * kChunk<T>, phase = b % groups * kPhases, place = phase * x.width + lane;
      const Block<T> block{nodes_.rows() + lane,
                           x.stride,
                           std::ssize(classes_),
                           x.low.data() + place,
                           x.high.data() + place,
                           x.width,
                           std::min(kPhases, x.phases - phase)};
      slot_kernels<T>().soften(block, {values.data(), top.data(), total.data()});
      const int64_t slots = block.phases * kChunk<T>;
      for (int64_t s = 0; s < slots; ++s) inverse[s] = T(1) / total[s];
      std::fill_n(shares.begin(), slots, T(0));
      for (const Output<T>& output : outputs) shares[output.slot] += static_cast<T>(labels[output.at] >= 0);
      each_block(block, lane, outputs);
    }
  }

  const Resampling<T>& resampling_;
  NodeRows<T> nodes_;
  std::vector<int32_t> classes_;
};

}  // namespace mk::segmentation
