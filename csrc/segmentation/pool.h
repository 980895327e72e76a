// Working memory of a parallel loop: as many pieces as are in use at the same time, kept from one item to the next,
// because fresh pages cost as much as the work on them.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace mk::segmentation {

template <class Memory>
class Pool {
 public:
  explicit Pool(std::function<std::unique_ptr<Memory>()> make) : make_(std::move(make)) {}

  // Calls body(memory), with memory as its last user left it.
  template <class Body>
  void lend(const Body& body) {
    std::unique_ptr<Memory> memory = take();
    body(*memory);
    const std::lock_guard<std::mutex> guard(lock_);
    free_.push_back(std::move(memory));
  }

 private:
  std::unique_ptr<Memory> take() {
    {
      const std::lock_guard<std::mutex> guard(lock_);
      if (!free_.empty()) {
        std::unique_ptr<Memory> memory = std::move(free_.back());
        free_.pop_back();
        return memory;
      }
    }
    return make_();
  }

  std::function<std::unique_ptr<Memory>()> make_;
  std::mutex lock_;
  std::vector<std::unique_ptr<Memory>> free_;
};

}  // namespace mk::segmentation
