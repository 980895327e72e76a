// The simplices of a working column, oldest first; what is there twice cancels. A bucket for each rank of a window;
// only the rank in turn is sorted, and what is added to it later is merged: mostly it comes in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <vector>

namespace mk::topology {

class CofacetQueue {
 public:
  using Key = uint64_t;

  // Empties the queue and moves its window to the ranks low .. high.
  void open(uint32_t low, uint32_t high) {
    first_ = low;
    current_ = low;
    last_ = high;
    buckets_.assign(high - low + 1, kEmpty);
    nodes_.clear();
    keys_.clear();
    late_.clear();
    next_ = 0;
  }

  // `rank` is in the window and not before that of the last key popped.
  void push(uint32_t rank, Key key) {
    if (rank == current_) {
      late_.push_back(key);
      return;
    }
    uint32_t& bucket = buckets_[rank - first_];
    nodes_.push_back({key, bucket});
    bucket = static_cast<uint32_t>(nodes_.size() - 1);
  }

  // Takes the least key that is there an odd number of times.
  std::optional<Key> pop() {
    for (;;) {
      if (!late_.empty()) {
        keep_odd(late_);
        merged_.clear();
        std::set_symmetric_difference(keys_.begin() + next_, keys_.end(), late_.begin(), late_.end(),
                                      std::back_inserter(merged_));
        keys_.swap(merged_);
        late_.clear();
        next_ = 0;
      }
      if (next_ < keys_.size()) return keys_[next_++];
      do {
        if (current_ == last_) return std::nullopt;
        ++current_;
      } while (buckets_[current_ - first_] == kEmpty);
      for (uint32_t i = buckets_[current_ - first_]; i != kEmpty; i = nodes_[i].next) late_.push_back(nodes_[i].key);
    }
  }

  // Sorts keys and leaves one of each that is there an odd number of times.
  static void keep_odd(std::vector<Key>& keys) {
    if (!std::is_sorted(keys.begin(), keys.end())) std::sort(keys.begin(), keys.end());
    size_t kept = 0;
    for (size_t i = 0; i < keys.size();) {
      size_t next = i + 1;
      while (next < keys.size() && keys[next] == keys[i]) ++next;
      if ((next - i) % 2 == 1) keys[kept++] = keys[i];
      i = next;
    }
    keys.resize(kept);
  }

 private:
  static constexpr uint32_t kEmpty = UINT32_MAX;
  struct Node {
    Key key;
    uint32_t next;
  };

  uint32_t first_ = 0, current_ = 0, last_ = 0;
  std::vector<uint32_t> buckets_;
  std::vector<Node> nodes_;
  std::vector<Key> keys_, late_, merged_;  // of the current rank: in order, not yet in order, scratch
  size_t next_ = 0;
};

}  // namespace mk::topology
