#include "common/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <vector>

#include "common/parallel.h"
#include "common/simd.h"

namespace mk {

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Twelve independent chains hide the latency of a fused multiply-add (4 cycles, 2 issued a cycle) with room to spare.
constexpr int kChains = 12;
constexpr int kStepsPerCall = 4096;

template <class T, int Lanes>
[[gnu::always_inline]] inline T fma_chains() {
  using V = simd::Vector<T, Lanes>;
  typename V::Real chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = V::broadcast(T(1) + T(i) / T(16));
  const typename V::Real scale = V::broadcast(T(0.999)), shift = V::broadcast(T(0.001));
  for (int step = 0; step < kStepsPerCall; ++step) {
    for (int i = 0; i < kChains; ++i) chain[i] = chain[i] * scale + shift;
  }
  T total = 0;
  for (int i = 0; i < kChains; ++i) total += V::sum(chain[i]);
  return total;
}

template <class T>
struct Chains {
  static constexpr int lanes512 = 64 / sizeof(T), lanes256 = 32 / sizeof(T), lanes128 = 16 / sizeof(T);
#if defined(__x86_64__)
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static T avx512() { return fma_chains<T, lanes512>(); }
  [[gnu::target("avx2,fma")]] static T avx2() { return fma_chains<T, lanes256>(); }
#endif
  static T baseline() { return fma_chains<T, lanes128>(); }
};

template <class T>
double measure_fma_rate(double seconds) {
  T (*run)() = Chains<T>::baseline;
  int lanes = Chains<T>::lanes128;
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) run = Chains<T>::avx512, lanes = Chains<T>::lanes512;
  if (simd::level() == simd::Level::avx2) run = Chains<T>::avx2, lanes = Chains<T>::lanes256;
#endif
  const double flops_per_call = 2.0 * kChains * kStepsPerCall * lanes;
  std::atomic<int64_t> calls{0};
  std::atomic<T> sink{0};
  const auto start = std::chrono::steady_clock::now();
  parallel_for(num_threads(), [&](int64_t) {
    int64_t mine = 0;
    do {
      sink.store(run(), std::memory_order_relaxed);
      ++mine;
    } while (seconds_since(start) < seconds);
    calls += mine;
  });
  return flops_per_call * static_cast<double>(calls) / seconds_since(start);
}

}  // namespace

double copy_bandwidth(int64_t megabytes, int repeats) {
  const int64_t bytes = std::max<int64_t>(1, megabytes) << 20;
  const int64_t piece = std::max<int64_t>(1 << 20, bytes / num_threads());
  const int64_t pieces = (bytes + piece - 1) / piece;
  std::vector<char> from(bytes, 1), to(bytes, 0);
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < std::max(1, repeats); ++i) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(pieces, [&](int64_t p) {
      const int64_t begin = p * piece;
      std::memcpy(to.data() + begin, from.data() + begin, std::min(piece, bytes - begin));
    });
    best = std::min(best, seconds_since(start));
  }
  return 2.0 * static_cast<double>(bytes) / best;
}

double fma_rate(double seconds, bool double_precision) {
  return double_precision ? measure_fma_rate<double>(seconds) : measure_fma_rate<float>(seconds);
}

}  // namespace mk
