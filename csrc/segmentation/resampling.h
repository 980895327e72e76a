// Linear resampling of an axis whose samples stand in the middle of their cells (align_corners=False of PyTorch).
//
// Output i of `to` lies at s_i = (i + 1/2) from / to - 1/2, clamped to [0, from - 1], between the inputs k = floor(s_i)
// and k + 1, and is low_i a_k + high_i a_{k+1} with high_i = s_i - k and low_i = 1 - high_i. Weights are computed in
// double and rounded once.
#pragma once

#include <cstdint>
#include <vector>

namespace mk::segmentation {

// Registers hold up to this many elements; rows are worked on in chunks of as many.
template <class T>
constexpr int64_t kChunk = 64 / sizeof(T);

// Phases that are computed together: as many as registers hold.
constexpr int64_t kPhases = 4;

// The outputs between the inputs k and k + 1 are first[k] to first[k + 1]; those at or beyond the last input belong to
// it and have high = 0.
template <class T>
struct Axis {
  int64_t from, to;
  std::vector<T> low, high;
  std::vector<int64_t> first;

  Axis(int64_t from_size, int64_t to_size);
  // The second input of the outputs after input k.
  int64_t next(int64_t k) const { return k + 1 < from ? k + 1 : k; }
};

// One output of a row, and where it is computed.
template <class T>
struct Output {
  int64_t at, lane, slot;  // in the row; of the inputs; within the block, which has kPhases rows of kChunk slots
  T low, high;
};

// How a row of outputs is computed by vectors. A lane stands for the gap after an input, its phases for the outputs
// there: phase p of lane k is low a_k + high a_{k+1} with weights at p * width + k. Outputs before the first input are
// equal, as are those after the last: they share a slot. Rows of inputs end with a copy of the first one, so that the
// last lane, which has no gap, can serve those before the first.
template <class T>
struct Slots {
  int64_t inputs, outputs;
  int64_t width;                      // lanes, a multiple of kChunk
  int64_t stride;                     // from row to row of inputs, with room for what the last chunk reads
  int64_t phases;                     // greatest number of slots of a lane
  std::vector<T> low, high, shares;   // shares: how many outputs a slot serves
  std::vector<int64_t> places;        // phase * width + lane, of each output
  std::vector<Output<T>> by_block;    // outputs in the order of the blocks below
  std::vector<int64_t> block_starts;  // in by_block, with the end

  explicit Slots(const Axis<T>& axis);
  int64_t chunks() const { return width / kChunk<T>; }
  // A block is up to kPhases phases of one chunk. Blocks are numbered phases first.
  int64_t blocks() const { return std::ssize(block_starts) - 1; }
};

}  // namespace mk::segmentation
