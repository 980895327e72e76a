// A small thread pool under parallel_for. OpenMP only supplies the number of threads: its loops end in a barrier
// that waits for every thread, so on a busy machine, or beside the OpenMP runtime of another library, a call of
// microseconds waits milliseconds for a thread that never got to run. Here the caller takes items itself and
// waits only for threads that have begun one.
#include "common/parallel.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace mk {

namespace {

std::atomic<InterruptCheck> interrupt_check{nullptr};

// Asking Python for pending signals takes the GIL, so it is done at most this often.
constexpr auto kInterruptPeriod = std::chrono::milliseconds(50);

// To sleep and to be woken takes tens of microseconds, longer than the whole of a small loop. So who has nothing to do
// looks around for this long first, and lets other threads run meanwhile.
constexpr auto kLook = std::chrono::microseconds(50);

template <class Ready>
void look_for(const Ready& ready) {
  const auto end = std::chrono::steady_clock::now() + kLook;
  while (!ready() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

thread_local bool pool_thread = false;

// One parallel_for. Lives on its caller's stack; seats and working change under the pool's lock.
struct Job {
  int64_t count;
  const std::function<void(int64_t)>& body;
  int seats;                    // threads that may still join
  std::atomic<int> working{0};  // threads that have joined and not left
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex error_lock;
  std::exception_ptr error;

  // Takes items until none is left; `after_item` may ask to stop by returning true.
  template <class AfterItem>
  void work(const AfterItem& after_item) {
    const Job* const outer = std::exchange(current, this);
    take_items(after_item);
    current = outer;
  }

  // The job that this thread works for; jobs nest.
  static thread_local const Job* current;

 private:
  template <class AfterItem>
  void take_items(const AfterItem& after_item) {
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
      if (after_item()) stop = true;
    }
  }
};

thread_local const Job* Job::current = nullptr;

class Pool {
 public:
  void run(Job& job) {
    {
      const std::lock_guard<std::mutex> guard(lock_);
      while (static_cast<int>(threads_) < job.seats) {
        std::thread([this] { serve(); }).detach();
        ++threads_;
      }
      jobs_.push_back(&job);
      ++posted_;
    }
    wake_.notify_all();
  }

  // No thread can join the job any more, and all that had joined have left.
  void finish(Job& job) {
    std::unique_lock<std::mutex> guard(lock_);
    std::erase(jobs_, &job);
    const auto have_left = [&] { return job.working == 0; };
    if (have_left()) return;
    guard.unlock();
    look_for(have_left);
    guard.lock();
    left_.wait(guard, have_left);
  }

 private:
  void serve() {
    pool_thread = true;
    std::unique_lock<std::mutex> guard(lock_);
    bool served = false;  // since it last looked for another job
    for (;;) {
      const auto open = std::find_if(jobs_.begin(), jobs_.end(), [](const Job* job) { return job->seats > 0; });
      if (open == jobs_.end() && served) {
        served = false;
        const int64_t posted = posted_;
        guard.unlock();
        look_for([&] { return posted_ != posted; });
        guard.lock();
        continue;
      }
      if (open == jobs_.end()) {
        wake_.wait(guard);
        continue;
      }
      Job& job = **open;
      --job.seats;
      ++job.working;
      guard.unlock();
      job.work([] { return false; });
      served = true;
      guard.lock();
      if (--job.working == 0) left_.notify_all();
    }
  }

  std::mutex lock_;
  std::condition_variable wake_, left_;
  std::vector<Job*> jobs_;
  std::atomic<int64_t> posted_{0};  // jobs that there have been
  size_t threads_ = 0;
};

// Never destroyed: its threads may outlive static destruction. A forked child has none of them and gets a new pool.
Pool* pool = nullptr;

Pool& the_pool() {
  static const bool ready = [] {
    pool = new Pool;
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
    return true;
  }();
  (void)ready;
  return *pool;
}

// Whether the interrupt check asks to stop; it is called once in a period. A thread of the pool need not call it: the
// thread that entered the loop does.
bool asked_to_stop() {
  const InterruptCheck check = interrupt_check;
  static thread_local auto last_check = std::chrono::steady_clock::now();
  const auto now = std::chrono::steady_clock::now();
  if (check == nullptr || pool_thread || now - last_check < kInterruptPeriod) return false;
  last_check = now;
  return check();
}

}  // namespace

void check_interrupt() {
  if ((Job::current != nullptr && Job::current->stop.load(std::memory_order_relaxed)) || asked_to_stop())
    throw Interrupted{};
}

int num_threads() { return omp_get_max_threads(); }

void set_num_threads(int count) { omp_set_num_threads(count); }

void set_interrupt_check(InterruptCheck check) { interrupt_check = check; }

void parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  if (count <= 0) return;
  const int helpers = static_cast<int>(std::min<int64_t>(num_threads(), count)) - 1;
  Job job{.count = count, .body = body, .seats = helpers, .error_lock = {}, .error = nullptr};
  if (helpers > 0) the_pool().run(job);

  bool interrupted = false;
  job.work([&] { return interrupted = asked_to_stop(); });

  if (helpers > 0) the_pool().finish(job);
  if (job.error) std::rethrow_exception(job.error);
  if (interrupted) throw Interrupted{};
}

}  // namespace mk
