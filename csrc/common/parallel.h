// Parallel loops. The only place that knows which threading runtime is used.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace mk {

// Threads a loop may use now (OMP_NUM_THREADS, threadpoolctl and set_num_threads all act on it).
int num_threads();
void set_num_threads(int count);

// Called from time to time by the thread that entered parallel_for; returns true to stop the loop.
using InterruptCheck = bool (*)();
void set_interrupt_check(InterruptCheck check);

// Calls body(i) for every i in [0, count), spread over threads in small pieces. Items are begun in their order, so that
// one may wait for those before it, with check_interrupt as it waits. The first exception thrown by a body, or
// Interrupted when the interrupt check asks to stop, is thrown to the caller.
// What body(i) computes may depend on i only, never on the thread, so results do not depend on the count.
void parallel_for(int64_t count, const std::function<void(int64_t)>& body);

struct Interrupted {};

// For long items: throws Interrupted when the loop that this thread works for has been stopped, or when the interrupt
// check asks to stop. May be called as often as wanted.
void check_interrupt();

// parallel_for over blocks of small items: calls body(begin, end) for consecutive ranges that cover [0, count).
inline void parallel_blocks(int64_t count, const std::function<void(int64_t, int64_t)>& body) {
  constexpr int64_t block = 256;
  parallel_for((count + block - 1) / block, [&](int64_t i) { body(i * block, std::min(count, (i + 1) * block)); });
}

}  // namespace mk
