#include "common/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>

namespace mk {

namespace {

std::atomic<InterruptCheck> interrupt_check{nullptr};

// Asking Python for pending signals takes the GIL, so it is done at most this often.
constexpr auto kInterruptPeriod = std::chrono::milliseconds(50);

}  // namespace

int num_threads() { return omp_get_max_threads(); }

void set_num_threads(int count) { omp_set_num_threads(count); }

void set_interrupt_check(InterruptCheck check) { interrupt_check = check; }

void parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  if (count <= 0) return;
  const int threads = static_cast<int>(std::min<int64_t>(num_threads(), count));
  const InterruptCheck check = interrupt_check;
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false};
  bool interrupted = false;
  std::exception_ptr error;
  std::mutex error_lock;

  auto work = [&](bool caller) {
    auto last_check = std::chrono::steady_clock::now();
    while (!stop.load(std::memory_order_relaxed)) {
      const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= count) return;
      try {
        body(i);
      } catch (...) {
        const std::lock_guard<std::mutex> guard(error_lock);
        if (!error) error = std::current_exception();
        stop = true;
      }
      if (!caller || check == nullptr) continue;
      const auto now = std::chrono::steady_clock::now();
      if (now - last_check < kInterruptPeriod) continue;
      last_check = now;
      if (check()) {
        interrupted = true;
        stop = true;
      }
    }
  };

  if (threads == 1) {
    work(true);
  } else {
#pragma omp parallel num_threads(threads)
    work(omp_get_thread_num() == 0);
  }
  if (error) std::rethrow_exception(error);
  if (interrupted) throw Interrupted{};
}

}  // namespace mk
