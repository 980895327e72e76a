#include "common/simd.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace mk::simd {

namespace {

Level supported() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return Level::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::avx2;
#endif
  return Level::baseline;
}

Level choose() {
  const char* wish = std::getenv("MEDKERNELS_SIMD");
  if (wish == nullptr) return supported();
  if (std::string_view(wish) == "baseline") return Level::baseline;
  if (std::string_view(wish) == "avx2") return std::min(supported(), Level::avx2);
  return supported();
}

}  // namespace

Level level() {
  static const Level chosen = choose();
  return chosen;
}

std::string level_name() {
  switch (level()) {
    case Level::avx512: return "AVX-512";
    case Level::avx2: return "AVX2+FMA";
    case Level::baseline: break;
  }
#if defined(__aarch64__)
  return "NEON";
#elif defined(__x86_64__)
  return "SSE2";
#else
  return "scalar";
#endif
}

}  // namespace mk::simd
