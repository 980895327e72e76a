// Normalised patches of ellipses on a CUDA device: what PatchSampler of features/frames.h is on the host. A team of
// threads, which is a block, takes a patch; warps sample its rows.
#pragma once

#include "features/scale_space.cuh"

namespace mk::cuda::affine {

constexpr int kWarps = 4, kTeam = kWarps * kWarp;
constexpr int kTeamsAtOnce = 8;  // on a multiprocessor: as many as their registers and 24 KB of shared memory let in

constexpr double kPatchReach = 3;  // sigmas that the blur of patches reaches
constexpr double kDensest = 1.5;   // samples are at most this many sigmas of the level apart
constexpr double kFlattest = 5;    // ratio of the axes past which adaptation has gone astray

// The most that patches need. A level is at least 2^-1.5 as blurred as the minor axis is long, or all there is, and
// the other axis is at most kFlattest times as long; with 45 samples 0.5 apart, 57 rows of 281 samples follow.
constexpr int kLargestSide = 45, kMostRows = 60, kMostSamples = 288, kMostMargin = 36;

// An ellipse whose axes are at a right angle: turn by (cos, sin), lengths along x and y.
struct DeviceEllipse {
  double cos, sin, major, minor, x, y;
};

// p -> (a p.x + b p.y, c p.x + d p.y).
struct Matrix {
  double a, b, c, d;
};

__device__ inline Matrix matrix_of(const DeviceEllipse& e) {
  return {e.cos * e.major, -e.sin * e.minor, e.sin * e.major, e.cos * e.minor};
}

// Eigenvectors of symmetric [a b; b c]: (cos, sin) of the greater eigenvalue, and both values, which are not negative.
struct Symmetric {
  double cos, sin, greater, less;

  __device__ Symmetric(double a, double b, double c) : cos(1), sin(0) {
    const double half = (a - c) / 2, radius = hypot(half, b);
    greater = (a + c) / 2 + radius;
    less = greater > 0 ? fmax(0.0, a * c - b * b) / greater : 0.0;
    if (!(radius > 0)) return;
    // Of half the angle that (half, b) has; the greater of the two comes first, to lose no digits.
    const double greatest = sqrt((1 + fabs(half) / radius) / 2), other = b / (2 * radius * greatest);
    if (half >= 0) {
      cos = greatest;
      sin = other;
    } else {
      cos = fabs(other);
      sin = copysign(greatest, b);
    }
  }
};

// How one axis of a patch is sampled and blurred: `dense` samples for each one that is kept.
struct Axis {
  int dense, margin;
  double sigma;  // of the blur, in samples

  Axis() = default;
  __device__ Axis(double length, double level_sigma, double step, int side) {
    const int most = (kMostSamples - 1 - 2 * kMostMargin) / (side - 1);
    dense = min(most, max(1, static_cast<int>(ceil(step * length / (kDensest * level_sigma)))));
    const double there = level_sigma / length;
    sigma = sqrt(fmax(0.0, 1 - there * there)) * dense / step;
    margin = sigma < 1e-3 ? 0 : min(kMostMargin, static_cast<int>(ceil(kPatchReach * sigma)));
  }
  __device__ int samples(int side) const { return (side - 1) * dense + 1 + 2 * margin; }
};

// What all threads of a team need to know of a patch.
struct PatchPlan {
  const float* level;
  int32_t width, height;
  Axis across, down;
  // In pixels of the level: the first sample, from a row of samples to the next, from a sample of a row to the next.
  double x, y, down_x, down_y;
  float across_x, across_y;
};

// The blurriest level that is not more blurred than the patch is to be along its minor axis.
__device__ inline PatchPlan plan_patch(const DeviceSpace& space, int image, const DeviceEllipse& ellipse, int side,
                                       double step) {
  const double finest = space.octaves[0].step * features::kBaseSigma;
  const double doublings = fmax(0.0, log2(ellipse.minor / finest) + 1e-9);
  const int octave = min(static_cast<int>(doublings), space.octave_count - 1);
  const int level = min(static_cast<int>((doublings - octave) * space.levels), space.levels);
  const DeviceOctave& from = space.octaves[octave];
  const double sigma = from.step * features::kBaseSigma * exp2(static_cast<double>(level) / space.levels);
  const Axis across(ellipse.major, sigma, step, side);
  Axis down(ellipse.minor, sigma, step, side);
  down.dense = min(down.dense, (kMostRows - 1 - 2 * down.margin) / (side - 1));
  const Matrix f = matrix_of(ellipse);
  const double half = (side - 1) / 2.0 * step, du = step / across.dense, dv = step / down.dense;
  const double u = -half - across.margin * du, v = -half - down.margin * dv;
  return {.level = space.plane(octave, image, level),
          .width = from.width,
          .height = from.height,
          .across = across,
          .down = down,
          .x = (f.a * u + f.b * v + ellipse.x) / from.step,
          .y = (f.c * u + f.d * v + ellipse.y) / from.step,
          .down_x = f.b * dv / from.step,
          .down_y = f.d * dv / from.step,
          .across_x = static_cast<float>(f.a * du / from.step),
          .across_y = static_cast<float>(f.c * du / from.step)};
}

// The memory of a team.
struct PatchMemory {
  PatchPlan plan;
  DeviceEllipse ellipse;  // the one to sample, set by thread 0
  float across[kMostMargin + 1], down[kMostMargin + 1];
  float patch[kLargestSide * kLargestSide];
  // For what a patch is made from: a line of samples for each warp, then rows that are blurred across. It may be used
  // otherwise once the patch is there.
  float work[kWarps * kMostSamples + kMostRows * kLargestSide];

  __device__ float* line(int warp) { return work + warp * kMostSamples; }
  __device__ float* rows() { return work + kWarps * kMostSamples; }
};

// A Gaussian of sum 1, from its middle outwards, by one warp.
__device__ inline void blur_weights(const Axis& axis, float* weights) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  double sum = 0;
  for (int k = lane; k <= axis.margin; k += kWarp) {
    const double weight = k == 0 ? 1.0 : exp(-0.5 * k * k / (axis.sigma * axis.sigma));
    weights[k] = static_cast<float>(weight);
    sum += k == 0 ? weight : 2 * weight;
  }
  for (int apart = kWarp / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(kAllLanes, sum, apart);
  const float scale = static_cast<float>(1 / sum);
  for (int k = lane; k <= axis.margin; k += kWarp) weights[k] *= scale;
}

// A bilinear value; beyond the rim it is the one on it.
__device__ inline float sample_at(const PatchPlan& plan, float x, float y) {
  x = fminf(fmaxf(x, 0), static_cast<float>(plan.width - 1));
  y = fminf(fmaxf(y, 0), static_cast<float>(plan.height - 1));
  const int32_t column = min(static_cast<int32_t>(x), plan.width - 2);
  const int32_t row = min(static_cast<int32_t>(y), plan.height - 2);
  const float across = x - static_cast<float>(column), down = y - static_cast<float>(row);
  const float* const at = plan.level + int64_t{row} * plan.width + column;
  const float top = fmaf(across, at[1] - at[0], at[0]);
  const float low = fmaf(across, at[plan.width + 1] - at[plan.width], at[plan.width]);
  return fmaf(down, low - top, top);
}

// Fills memory.patch with kSide x kSide samples around memory.ellipse, `step` apart in its coordinates, as blurred by
// a Gaussian of sigma 1 of these. To be called by all threads of the team, after a barrier since the ellipse was set;
// ends with a barrier.
template <int kSide>
__device__ void sample_patch(const DeviceSpace& space, int image, double step, PatchMemory& memory) {
  static_assert(kSide <= kLargestSide);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  // One thread plans: double precision is slow on some devices.
  if (thread == 0) memory.plan = plan_patch(space, image, memory.ellipse, kSide, step);
  __syncthreads();
  const PatchPlan& plan = memory.plan;
  if (warp == 0) blur_weights(plan.across, memory.across);
  if (warp == 1) blur_weights(plan.down, memory.down);
  __syncthreads();

  const int width = plan.across.samples(kSide), height = plan.down.samples(kSide);
  float *const line = memory.line(warp), *const rows = memory.rows();
  for (int i = warp; i < height; i += kWarps) {
    const float x = static_cast<float>(plan.x + i * plan.down_x), y = static_cast<float>(plan.y + i * plan.down_y);
    for (int k = lane; k < width; k += kWarp) {
      const float along = static_cast<float>(k);
      line[k] = sample_at(plan, fmaf(along, plan.across_x, x), fmaf(along, plan.across_y, y));
    }
    __syncwarp();
    for (int j = lane; j < kSide; j += kWarp) {
      const float* const middle = line + j * plan.across.dense + plan.across.margin;
      float sum = memory.across[0] * middle[0];
      for (int k = 1; k <= plan.across.margin; ++k) sum = fmaf(memory.across[k], middle[-k] + middle[k], sum);
      rows[i * kSide + j] = sum;
    }
    __syncwarp();
  }
  __syncthreads();
  for (int t = thread; t < kSide * kSide; t += kTeam) {
    const int i = t / kSide, j = t % kSide;
    const float* const middle = rows + (i * plan.down.dense + plan.down.margin) * kSide + j;
    float sum = memory.down[0] * middle[0];
    for (int k = 1; k <= plan.down.margin; ++k) sum = fmaf(memory.down[k], middle[-k * kSide] + middle[k * kSide], sum);
    memory.patch[t] = sum;
  }
  __syncthreads();
}

// The sum over the team, in every thread and always in the same order. `parts` has an entry a warp; it must not be in
// use since before the last barrier.
template <class T>
__device__ T team_sum(T own, T* parts) {
  for (int apart = kWarp / 2; apart > 0; apart /= 2) own += __shfl_xor_sync(kAllLanes, own, apart);
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = own;
  __syncthreads();
  T sum = parts[0];
  for (int warp = 1; warp < kWarps; ++warp) sum += parts[warp];
  return sum;
}

}  // namespace mk::cuda::affine
