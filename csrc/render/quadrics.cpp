#include "render/quadrics.h"

#include <algorithm>
#include <cmath>

#include "common/parallel.h"
#include "render/sheets.h"

namespace mk::render {

double Look::reach_squared() const {
  // Both profiles are cut where they have fallen to about e^-6.
  const double reach = profile == Profile::sigmoid ? 1.0 + 6.0 * tau : std::sqrt(12.0);
  return reach * reach - kRhoEps;
}

namespace {

// An image is cut into at most this many slabs across its outermost axis: enough to share one image among
// threads, few enough that per-slab sums stay O(primitives).
constexpr int64_t kMaxSlabs = 64;
constexpr int64_t kMinSlabRows = 16;
// Planes of a sheet should stay in the second-level cache.
constexpr int64_t kSheetBytes = 1 << 20;

struct Slabs {
  int64_t length, count;
};

// Slabs of slices when there are several, of rows otherwise.
template <class T>
Slabs slabs_of(const Scene<T>& scene) {
  const int64_t extent = scene.depth > 1 ? scene.depth : scene.height;
  const int64_t shortest = scene.depth > 1 ? 1 : kMinSlabRows;
  const int64_t length = std::max(shortest, (extent + kMaxSlabs - 1) / kMaxSlabs);
  return {length, (extent + length - 1) / length};
}

// Which primitives of one image touch which slab: lists in index order, and each primitive's first slab and
// its place in the table of per-slab sums.
struct Bins {
  std::vector<int64_t> start;  // [slabs + 1] into ids
  std::vector<int32_t> ids;
  std::vector<int64_t> first_entry;  // [primitives + 1]: entries of primitive k, one a slab it touches
  std::vector<int32_t> first_slab;   // [primitives]
};

template <class T>
Bins bin(const Scene<T>& scene, int64_t image, const Slabs& slabs) {
  const Quadric* quadrics = scene.quadrics.data() + image * scene.primitives;
  const double reach2 = scene.look.reach_squared();
  const bool by_slice = scene.depth > 1;
  const double extent = static_cast<double>(by_slice ? scene.depth : scene.height);
  Bins bins;
  bins.start.assign(slabs.count + 1, 0);
  bins.first_entry.assign(scene.primitives + 1, 0);
  bins.first_slab.assign(scene.primitives, 0);
  for (int64_t k = 0; k < scene.primitives; ++k) {
    const Quadric& q = quadrics[k];
    // Rows of the only slice, at z = 0: there the primitive is narrower, and moved by its shear.
    const double row_center = q.cy + q.tyz * q.cz, row_reach2 = std::max(reach2 - q.kz * q.cz * q.cz, 0.0);
    const double center = by_slice ? q.cz : row_center;
    const double half = std::sqrt(by_slice ? reach2 / q.kz : row_reach2 / q.ky);
    const double begin = std::max(std::ceil(center - half), 0.0);
    const double last = std::min(std::floor(center + half), extent - 1.0);
    int64_t touched = 0;
    if (begin <= last) {
      const int64_t first = static_cast<int64_t>(begin) / slabs.length;
      touched = static_cast<int64_t>(last) / slabs.length - first + 1;
      bins.first_slab[k] = static_cast<int32_t>(first);
      for (int64_t s = first; s < first + touched; ++s) ++bins.start[s + 1];
    }
    bins.first_entry[k + 1] = bins.first_entry[k] + touched;
  }
  for (int64_t s = 0; s < slabs.count; ++s) bins.start[s + 1] += bins.start[s];
  bins.ids.resize(bins.start.back());
  std::vector<int64_t> next(bins.start.begin(), bins.start.end() - 1);
  for (int64_t k = 0; k < scene.primitives; ++k) {
    const int64_t touched = bins.first_entry[k + 1] - bins.first_entry[k];
    for (int64_t s = 0; s < touched; ++s) bins.ids[next[bins.first_slab[k] + s]++] = static_cast<int32_t>(k);
  }
  return bins;
}

template <class T>
std::vector<Bins> bin_all(const Scene<T>& scene, const Slabs& slabs) {
  std::vector<Bins> bins(scene.batch);
  parallel_for(scene.batch, [&](int64_t image) { bins[image] = bin(scene, image, slabs); });
  return bins;
}

// Calls visit(sheet, voxel offset of the sheet's first row in a channel) for the blocks of rows of one slab.
template <class T, class Visit>
void for_each_sheet(const Scene<T>& scene, const Slabs& slabs, int64_t slab, int planes, const Visit& visit) {
  const bool by_slice = scene.depth > 1;
  const int64_t begin = slab * slabs.length;
  const int64_t end = std::min(begin + slabs.length, by_slice ? scene.depth : scene.height);
  const int64_t z_begin = by_slice ? begin : 0, z_end = by_slice ? end : 1;
  const int64_t y_begin = by_slice ? 0 : begin, y_end = by_slice ? scene.height : end;
  const int64_t row_stride = scene.width + kRowPadding;
  const int64_t row_bytes = row_stride * planes * static_cast<int64_t>(sizeof(T));
  const int64_t rows = std::clamp<int64_t>(kSheetBytes / row_bytes, 1, y_end - y_begin);
  // Kept for the thread's next call: new memory would have to be mapped page by page each time.
  static thread_local std::vector<T> buffer;
  buffer.resize(std::max<size_t>(buffer.size(), row_stride * rows * planes));
  for (int64_t z = z_begin; z < z_end; ++z) {
    for (int64_t y = y_begin; y < y_end; y += rows) {
      const Sheet<T> sheet{
          z, y, std::min(y + rows, y_end), scene.width, row_stride, static_cast<int>(scene.channels), buffer.data()};
      visit(sheet, (z * scene.height + y) * scene.width);
    }
  }
}

// Calls visit(offset of the row in a plane, first voxel of the row) for the rows of a sheet.
template <class T, class Visit>
void for_each_row(const Sheet<T>& sheet, int64_t first_voxel, const Visit& visit) {
  for (int64_t y = 0; y < sheet.y_end - sheet.y_begin; ++y) visit(y * sheet.row_stride, first_voxel + y * sheet.width);
}

// Rows of the background of one channel of one image, whether it is constant or given per voxel.
template <class T>
class Backdrop {
 public:
  Backdrop(const Scene<T>& scene, int64_t image, int64_t channel) {
    const int64_t index = image * scene.channels + channel;
    if (scene.background_per_voxel()) {
      voxels_ = scene.background.data() + index * scene.voxels();
    } else {
      constant_.assign(scene.width, scene.background[index]);
    }
  }
  const T* row(int64_t first_voxel) const { return voxels_ != nullptr ? voxels_ + first_voxel : constant_.data(); }

 private:
  const T* voxels_ = nullptr;
  std::vector<T> constant_;
};

// Where dL/dbackground of one channel goes: rows of the result, or one sum for a constant background.
template <class T>
class BackdropGradient {
 public:
  BackdropGradient(T* voxels, int64_t width, double& sum) : voxels_(voxels), row_(voxels ? 0 : width), sum_(sum) {}
  T* row(int64_t first_voxel) { return voxels_ != nullptr ? voxels_ + first_voxel : row_.data(); }
  // Call when the row is filled. Eight running sums, so that additions do not wait for each other.
  void done(int64_t width) {
    if (voxels_ != nullptr) return;
    double partial[8] = {};
    for (int64_t x = 0; x < width; ++x) partial[x % 8] += row_[x];
    for (double value : partial) sum_ += value;
  }

 private:
  T* voxels_;
  std::vector<T> row_;
  double& sum_;
};

template <class T>
Shapes<T> shapes_of(const Scene<T>& scene, int64_t image, const Bins& bins, int64_t slab) {
  const int64_t first = image * scene.primitives;
  const std::span<const int32_t> ids(bins.ids.data() + bins.start[slab], bins.start[slab + 1] - bins.start[slab]);
  return {ids, scene.quadrics.data() + first, scene.colors.data() + first * scene.channels,
          scene.opacity.data() + first, scene.look};
}

// Voxels beyond the end of a row must add nothing to a gradient.
template <class T>
void clear_padding(const Sheet<T>& sheet, int plane) {
  for (int64_t y = 1; y <= sheet.y_end - sheet.y_begin; ++y)
    std::fill_n(sheet.plane(plane) + y * sheet.row_stride - kRowPadding, kRowPadding, T(0));
}

template <class T>
void fill_colors_with_background(const Scene<T>& scene, int64_t image, const Sheet<T>& sheet, int64_t first_voxel) {
  for (int c = 0; c < sheet.channels; ++c) {
    T* plane = sheet.plane(kColorPlane + c);
    const Backdrop<T> below(scene, image, c);
    for_each_row(sheet, first_voxel,
                 [&](int64_t at, int64_t voxel) { std::copy_n(below.row(voxel), sheet.width, plane + at); });
    clear_padding(sheet, kColorPlane + c);
  }
}

template <class T>
void clear_union_planes(const Sheet<T>& sheet) {
  std::fill_n(sheet.plane(kThroughPlane), sheet.plane_size(), T(1));
  std::fill_n(sheet.plane(kWeightPlane), sheet.plane_size() * (1 + sheet.channels), T(0));
}

// Order-free: turns T, D and sum(alpha color) into the factors that SheetKernels::differentiate reads, and
// writes dL/dbackground of this sheet (per voxel) or adds it up (constant background).
template <class T>
void prepare_union(const SheetKernels<T>& kernels, const Scene<T>& scene, int64_t image, const Sheet<T>& sheet,
                   int64_t first_voxel, const T* grad, T* grad_background, double* background_sums) {
  const int64_t voxels = scene.voxels(), width = sheet.width;
  std::vector<Backdrop<T>> below;
  std::vector<BackdropGradient<T>> to_below;
  for (int c = 0; c < sheet.channels; ++c) {
    below.emplace_back(scene, image, c);
    to_below.emplace_back(grad_background ? grad_background + c * voxels : nullptr, width, background_sums[c]);
  }
  std::vector<T> row_x(width), row_z(width), row_scale(width);
  T* __restrict x_factor = row_x.data();
  T* __restrict z_factor = row_z.data();
  T* __restrict scale = row_scale.data();
  for_each_row(sheet, first_voxel, [&](int64_t at, int64_t voxel) {
    T* __restrict through = sheet.plane(kThroughPlane) + at;
    T* __restrict weight = sheet.plane(kWeightPlane) + at;
    for (int64_t x = 0; x < width; ++x) {
      scale[x] = T(1) / (weight[x] + T(kWeightEps));
      x_factor[x] = z_factor[x] = T(0);
    }
    for (int c = 0; c < sheet.channels; ++c) {
      kernels.union_factors(width, grad + c * voxels + voxel, below[c].row(voxel), through, scale,
                            sheet.plane(kColorPlane + c) + at, to_below[c].row(voxel), x_factor, z_factor);
      to_below[c].done(width);
    }
    std::copy_n(x_factor, width, through);
    std::copy_n(z_factor, width, weight);
  });
  for (int plane = 0; plane < kColorPlane + sheet.channels; ++plane) clear_padding(sheet, plane);
}

// "Over": dL/dimage goes to the second set of channel planes, the colour planes start as the background.
template <class T>
void prepare_over(const Scene<T>& scene, int64_t image, const Sheet<T>& sheet, int64_t first_voxel, const T* grad,
                  T* grad_background, double* background_sums) {
  const int64_t voxels = scene.voxels(), width = sheet.width;
  fill_colors_with_background(scene, image, sheet, first_voxel);
  std::vector<T> through(width);
  std::vector<BackdropGradient<T>> to_below;
  for (int c = 0; c < sheet.channels; ++c)
    to_below.emplace_back(grad_background ? grad_background + c * voxels : nullptr, width, background_sums[c]);
  for_each_row(sheet, first_voxel, [&](int64_t at, int64_t voxel) {
    const T* log_through = sheet.plane(kThroughPlane) + at;
    for (int64_t x = 0; x < width; ++x) through[x] = std::exp(log_through[x]);
    for (int c = 0; c < sheet.channels; ++c) {
      T* __restrict g = sheet.plane(kColorPlane + sheet.channels + c) + at;
      T* __restrict passed = to_below[c].row(voxel);
      std::copy_n(grad + c * voxels + voxel, width, g);
      for (int64_t x = 0; x < width; ++x) passed[x] = g[x] * through[x];
      to_below[c].done(width);
    }
  });
  for (int c = 0; c < sheet.channels; ++c) clear_padding(sheet, kColorPlane + sheet.channels + c);
}

// Adds the sums of one primitive over a slice at height c above its centre.
void add_slice(double* entry, const SheetSums& sums, double c) {
  const double values[] = {sums.qa,     sums.qb,  c * sums.q,  sums.qaa,       sums.qab,
                           c * sums.qa, sums.qbb, c * sums.qb, c * c * sums.q, sums.opacity};
  for (double value : values) *entry++ += value;
}

constexpr int kEntryMoments = 10;  // the nine of Moments in (a, b, c), and dL/dopacity

// Moments in (a, b, c) to moments in (dx, dy, dz) = P (a, b, c).
Moments unskew(const double* m, const Quadric& q) {
  const double p[3][3] = {{1.0, -q.txy, q.txy * q.tyz - q.txz}, {0.0, 1.0, -q.tyz}, {0.0, 0.0, 1.0}};
  const double second[3][3] = {{m[3], m[4], m[5]}, {m[4], m[6], m[7]}, {m[5], m[7], m[8]}};
  double first[3] = {}, moved[3][3] = {};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      first[i] += p[i][j] * m[j];
      for (int k = 0; k < 3; ++k)
        for (int l = 0; l < 3; ++l) moved[i][j] += p[i][k] * second[k][l] * p[j][l];
    }
  }
  return {first[0], first[1], first[2], moved[0][0], moved[0][1], moved[0][2], moved[1][1], moved[1][2], moved[2][2]};
}

}  // namespace

template <class T>
void draw(const Scene<T>& scene, std::span<T> image) {
  const Slabs slabs = slabs_of(scene);
  const std::vector<Bins> bins = bin_all(scene, slabs);
  const bool over = scene.look.composition == Composition::over;
  const int channels = static_cast<int>(scene.channels);
  const SheetKernels<T> kernels = sheet_kernels<T>(scene.look.composition, channels);
  const int64_t voxels = scene.voxels();
  parallel_for(scene.batch * slabs.count, [&](int64_t task) {
    const int64_t b = task / slabs.count, slab = task % slabs.count;
    const Shapes<T> shapes = shapes_of(scene, b, bins[b], slab);
    for_each_sheet(scene, slabs, slab, kColorPlane + channels, [&](const Sheet<T>& sheet, int64_t first_voxel) {
      if (over) {
        fill_colors_with_background(scene, b, sheet, first_voxel);
      } else {
        clear_union_planes(sheet);
      }
      kernels.draw(sheet, shapes);
      for (int c = 0; c < channels; ++c) {
        const Backdrop<T> below(scene, b, c);
        for_each_row(sheet, first_voxel, [&](int64_t at, int64_t voxel) {
          const T* color = sheet.plane(kColorPlane + c) + at;
          T* out = image.data() + (b * channels + c) * voxels + voxel;
          if (over) {
            std::copy_n(color, sheet.width, out);
          } else {
            kernels.union_finish(sheet.width, below.row(voxel), sheet.plane(kThroughPlane) + at,
                                 sheet.plane(kWeightPlane) + at, color, out);
          }
        });
      }
    });
  });
}

template <class T>
void differentiate(const Scene<T>& scene, std::span<const T> grad_image, std::span<Moments> moments,
                   std::span<T> grad_colors, std::span<T> grad_opacity, std::span<T> grad_background) {
  const Slabs slabs = slabs_of(scene);
  const std::vector<Bins> bins = bin_all(scene, slabs);
  const bool over = scene.look.composition == Composition::over;
  const int channels = static_cast<int>(scene.channels);
  const SheetKernels<T> kernels = sheet_kernels<T>(scene.look.composition, channels);
  const int64_t voxels = scene.voxels(), width = kEntryMoments + channels;
  const int planes = kColorPlane + (over ? 2 : 1) * channels;

  std::vector<int64_t> first_entry(scene.batch + 1, 0);
  for (int64_t b = 0; b < scene.batch; ++b) first_entry[b + 1] = first_entry[b] + bins[b].first_entry.back();
  std::vector<double> entries(first_entry.back() * width, 0.0);
  std::vector<double> background_sums(scene.batch * slabs.count * channels, 0.0);

  parallel_for(scene.batch * slabs.count, [&](int64_t task) {
    const int64_t b = task / slabs.count, slab = task % slabs.count;
    const Shapes<T> shapes = shapes_of(scene, b, bins[b], slab);
    const T* grad = grad_image.data() + b * channels * voxels;
    T* to_background = scene.background_per_voxel() ? grad_background.data() + b * channels * voxels : nullptr;
    std::vector<SheetSums> sums(shapes.ids.size());
    std::vector<double> color_sums(shapes.ids.size() * channels);
    for_each_sheet(scene, slabs, slab, planes, [&](const Sheet<T>& sheet, int64_t first_voxel) {
      double* to_constant = background_sums.data() + task * channels;
      if (over) {
        std::fill_n(sheet.plane(kThroughPlane), sheet.plane_size(), T(0));
        kernels.log_transmittance(sheet, shapes);
        prepare_over(scene, b, sheet, first_voxel, grad, to_background, to_constant);
      } else {
        clear_union_planes(sheet);
        kernels.draw(sheet, shapes);
        prepare_union(kernels, scene, b, sheet, first_voxel, grad, to_background, to_constant);
      }
      std::fill(sums.begin(), sums.end(), SheetSums{});
      std::fill(color_sums.begin(), color_sums.end(), 0.0);
      kernels.differentiate(sheet, shapes, sums.data(), color_sums.data());
      for (size_t i = 0; i < sums.size(); ++i) {
        const int32_t k = shapes.ids[i];
        const int64_t entry = first_entry[b] + bins[b].first_entry[k] + slab - bins[b].first_slab[k];
        double* to = entries.data() + entry * width;
        add_slice(to, sums[i], static_cast<double>(sheet.z) - shapes.quadrics[k].cz);
        for (int c = 0; c < channels; ++c) to[kEntryMoments + c] += color_sums[i * channels + c];
      }
    });
  });

  parallel_blocks(scene.batch * scene.primitives, [&](int64_t begin, int64_t end) {
    std::vector<double> sum(width);
    for (int64_t n = begin; n < end; ++n) {
      const int64_t b = n / scene.primitives, k = n % scene.primitives;
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int64_t e = bins[b].first_entry[k]; e < bins[b].first_entry[k + 1]; ++e)
        for (int64_t i = 0; i < width; ++i) sum[i] += entries[(first_entry[b] + e) * width + i];
      moments[n] = unskew(sum.data(), scene.quadrics[n]);
      grad_opacity[n] = static_cast<T>(sum[kEntryMoments - 1]);
      for (int c = 0; c < channels; ++c) grad_colors[n * channels + c] = static_cast<T>(sum[kEntryMoments + c]);
    }
  });

  if (scene.background_per_voxel()) return;
  for (int64_t b = 0; b < scene.batch; ++b) {
    for (int c = 0; c < channels; ++c) {
      double sum = 0;
      for (int64_t slab = 0; slab < slabs.count; ++slab)
        sum += background_sums[(b * slabs.count + slab) * channels + c];
      grad_background[b * channels + c] = static_cast<T>(sum);
    }
  }
}

template void draw<float>(const Scene<float>&, std::span<float>);
template void draw<double>(const Scene<double>&, std::span<double>);
template void differentiate<float>(const Scene<float>&, std::span<const float>, std::span<Moments>, std::span<float>,
                                   std::span<float>, std::span<float>);
template void differentiate<double>(const Scene<double>&, std::span<const double>, std::span<Moments>,
                                    std::span<double>, std::span<double>, std::span<double>);

}  // namespace mk::render
