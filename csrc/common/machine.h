// What this machine can do at best, measured: the ceilings that benchmarks are compared with.
#pragma once

#include <cstdint>

namespace mk {

// Bytes read plus bytes written per second by the fastest of `repeats` threaded copies of a buffer.
double copy_bandwidth(int64_t megabytes, int repeats);

// Floating-point operations per second (a fused multiply-add counts as two) over all threads, measured
// for about `seconds` with the widest vectors in use.
double fma_rate(double seconds, bool double_precision);

}  // namespace mk

namespace mk::cuda {

struct Device {
  char name[256];
  int major, minor, multiprocessors, driver_version, runtime_version;
  int64_t memory_bytes;
};

// Number of usable devices; 0 when there is no driver.
int device_count();
Device device(int index);
double copy_bandwidth(int64_t megabytes, int repeats);
double fma_rate(double seconds);

}  // namespace mk::cuda
