// Plain loops compiled for each instruction set. The compiler turns them into vectors of the widest kind that the
// function they are inlined into may use; no sum is regrouped, so in files compiled with -ffp-contract=off results are
// the same on every processor.
#pragma once

#include "common/simd.h"

namespace mk::simd {

#if defined(__x86_64__)
template <class Body>
[[gnu::target("avx2")]] void with_avx2(const Body& body) {
  body();
}
template <class Body>
[[gnu::target("avx512f,avx512dq,avx512vl,avx512bw,prefer-vector-width=512")]] void with_avx512(const Body& body) {
  body();
}
#endif

// Calls body(), which, like all functions that hold its loops, must be marked always_inline.
template <class Body>
void with_widest(const Body& body) {
#if defined(__x86_64__)
  if (level() == Level::avx512) return with_avx512(body);
  if (level() == Level::avx2) return with_avx2(body);
#endif
  body();
}

}  // namespace mk::simd
