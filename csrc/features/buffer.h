// Floats that begin on a cache line: vectors of them lie in one line each.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace mk::features {

struct FreeBuffer {
  static constexpr std::align_val_t line{64};
  void operator()(float* floats) const { ::operator delete[](floats, line); }
};

using Buffer = std::unique_ptr<float[], FreeBuffer>;

// Not initialised: memory is first touched by the thread that fills it.
inline Buffer make_buffer(size_t size) {
  return Buffer(static_cast<float*>(::operator new[](size * sizeof(float), FreeBuffer::line)));
}

}  // namespace mk::features
