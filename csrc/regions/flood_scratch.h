// Memory that floods work in. It is kept for later floods, within limits: a fresh page costs more than the work on it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "regions/node.h"
#include "regions/pages.h"

namespace mk::regions {

// An array that only grows; its values are then lost.
template <class T>
class Room {
 public:
  T* resize(int64_t size) {
    if (size > capacity_) {
      capacity_ = 0;
      values_.reset();
      values_ = allocate_pages<T>(size);
      capacity_ = size;
    }
    return values_.get();
  }
  T* data() { return values_.get(); }
  const T* data() const { return values_.get(); }
  int64_t bytes() const { return capacity_ * static_cast<int64_t>(sizeof(T)); }

 private:
  Pages<T> values_;
  int64_t capacity_ = 0;
};

struct FloodScratch {
  Room<uint16_t> levels;   // of each place
  Room<int32_t> stacks;    // of all levels
  Room<int32_t> elements;  // of each place, or in the order in which they are finished
  std::vector<Node> nodes;
  std::vector<int32_t*> tops;  // of each level
  std::vector<uint8_t> used;
  std::vector<int32_t> open;

  int64_t bytes() const {
    return levels.bytes() + stacks.bytes() + elements.bytes() + static_cast<int64_t>(nodes.capacity() * sizeof(Node));
  }
};

// Scratches that nobody works in. Without locks, so that a forked process can go on using it.
class ScratchShelf {
 public:
  std::unique_ptr<FloodScratch> take() {
    for (auto& place : places_)
      if (std::unique_ptr<FloodScratch> found{place.exchange(nullptr)}) {
        bytes_ -= found->bytes();
        return found;
      }
    return std::make_unique<FloodScratch>();
  }

  void put_back(std::unique_ptr<FloodScratch> scratch) {
    constexpr int64_t most_bytes = int64_t{1} << 28;
    const int64_t bytes = scratch->bytes();
    if (bytes_.fetch_add(bytes) + bytes <= most_bytes)
      for (auto& place : places_) {
        FloodScratch* empty = nullptr;
        if (place.compare_exchange_strong(empty, scratch.get())) {
          scratch.release();
          return;
        }
      }
    bytes_ -= bytes;
  }

 private:
  std::array<std::atomic<FloodScratch*>, 32> places_{};
  std::atomic<int64_t> bytes_{0};
};

// A scratch on loan.
class BorrowedScratch {
 public:
  BorrowedScratch() : scratch_(shelf.take()) {}
  ~BorrowedScratch() {
    if (scratch_) shelf.put_back(std::move(scratch_));
  }
  BorrowedScratch(BorrowedScratch&&) = default;
  BorrowedScratch& operator=(BorrowedScratch&&) = delete;
  FloodScratch& operator*() const { return *scratch_; }
  FloodScratch* operator->() const { return scratch_.get(); }

 private:
  static inline ScratchShelf shelf;
  std::unique_ptr<FloodScratch> scratch_;
};

}  // namespace mk::regions
