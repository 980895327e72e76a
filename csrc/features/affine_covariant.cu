// Affine-covariant features of a batch: the scale spaces of as many images of one size as fit in the memory, one thread
// a pixel; their blobs; then a team of threads for each blob, which adapts its ellipse and describes it. Blobs are
// ordered on the host, which has to know their number anyway. Time is O(H W) and that of up to 15 patches of 41 x 41
// samples a blob; nothing depends on the order in which threads run.
//
// Derived, not measured: compiled for sm_90 a thread has 64 registers and a team 24 KB of shared memory, so that eight
// teams of 128 threads work on a multiprocessor at a time.
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "common/cuda.h"
#include "common/launch.cuh"
#include "features/affine_covariant_cuda.h"
#include "features/extrema.cuh"
#include "features/sift.cuh"

namespace mk::cuda {

namespace {

using namespace affine;

constexpr double kShareForSpaces = 0.75;  // of the memory; the rest is for blobs and results
constexpr int64_t kPixelsOfBlob = 128;    // room for blobs at first: one for so many pixels of the first octave

// The scale spaces of a group of images and a plane that blurs go through.
struct Memory {
  DeviceSpace space;
  float* between;
  DeviceImage* images;
  int* bad;

  Memory(Arena& arena, const DeviceSpace& plan) : space(plan) {
    for (int o = 0; o < space.octave_count; ++o) {
      DeviceOctave& octave = space.octaves[o];
      octave.values = arena.take<float>(space.images * space.planes() * octave.pixels());
    }
    between = arena.take<float>(space.images * space.octaves[0].pixels());
    images = arena.take<DeviceImage>(space.images);
    bad = arena.take<int>(space.images);
  }
};

size_t bytes_of(const DeviceSpace& plan) {
  Arena sizes;
  const Memory memory(sizes, plan);
  return sizes.bytes();
}

class Finder {
 public:
  explicit Finder(const AffineRequest& request)
      : request_(request), options_(request.options), stream_(static_cast<cudaStream_t>(request.stream)) {}

  AffineCounts run() {
    const int images = group_size();
    const DeviceSpace plan = plan_for(images);
    Arena arena(request_.allocate(bytes_of(plan)));
    const Memory memory(arena, plan);
    const std::vector<DeviceImage> group(request_.images.begin(), request_.images.begin() + images);
    upload(memory.images, group, stream_);
    check(cudaMemsetAsync(memory.bad, 0, images * sizeof(int), stream_), "clearing marks");
    read_images(memory);
    const std::vector<int> bad = download<int>(memory.bad, images, stream_);
    for (int i = 0; i < images; ++i) {
      if (bad[i] != 0) return {{}, i};
    }
    return describe(memory.space, find_blobs(memory.space));
  }

 private:
  DeviceSpace plan_for(int images) const {
    const DeviceImage& first = request_.images.front();
    return plan_space(images, first.width, first.height, options_.levels, options_.doubled);
  }

  // Images of one size, as many as the memory and 32-bit numbers of rows allow; at least one.
  int group_size() const {
    const DeviceImage& first = request_.images.front();
    const DeviceSpace one = plan_for(1);
    const Pieces pieces(one.levels, one.octaves[0].width, one.octaves[0].height);
    const auto room = static_cast<int64_t>(kShareForSpaces * static_cast<double>(request_.memory));
    const int64_t most = std::min<int64_t>(room / static_cast<int64_t>(bytes_of(one)),
                                           std::numeric_limits<int32_t>::max() / int64_t{pieces.count});
    int64_t alike = 1;
    while (alike < std::ssize(request_.images) && alike < most && request_.images[alike].width == first.width &&
           request_.images[alike].height == first.height)
      ++alike;
    return static_cast<int>(alike);
  }

  // Levels of octave 0 after the first are free until they are filled.
  void read_images(const Memory& memory) const {
    const DeviceImage& first = request_.images.front();
    const Pieces pieces(memory.space.images, first.width, first.height);
    const Planes grey = level_of(memory.space, 0, 2), wide = level_of(memory.space, 0, 1);
    const auto read = [&](auto type, double scale) {
      to_grey<decltype(type)>
          <<<grid_of(pieces.count), kThreads, 0, stream_>>>(memory.images, pieces, scale, grey, memory.bad);
    };
    switch (request_.type) {
      case PixelType::bytes: read(uint8_t{}, 1.0 / std::numeric_limits<uint8_t>::max()); break;
      case PixelType::words: read(uint16_t{}, 1.0 / std::numeric_limits<uint16_t>::max()); break;
      case PixelType::floats: read(float{}, 1.0); break;
      case PixelType::doubles: read(double{}, 1.0);
    }
    launched("starting to read images");
    fill_space(memory.space, grey, wide, options_.doubled, memory.between, stream_);
  }

  // The strongest blobs of each image, in the order of the CPU. Where there are more than room, the list is made anew.
  std::vector<DeviceBlob> find_blobs(const DeviceSpace& space) {
    const int64_t pixels = space.images * space.octaves[0].pixels();
    auto room = static_cast<uint32_t>(std::clamp<int64_t>(pixels / kPixelsOfBlob, 4096, int64_t{1} << 31));
    auto* const count = static_cast<uint32_t*>(request_.allocate(sizeof(uint32_t)));
    for (;;) {
      auto* const list = static_cast<FoundBlob*>(request_.allocate(room * sizeof(FoundBlob)));
      check(cudaMemsetAsync(count, 0, sizeof(uint32_t), stream_), "clearing a count");
      for (int o = 0; o < space.octave_count; ++o) {
        const DeviceOctave& octave = space.octaves[o];
        if (std::min(octave.width, octave.height) < 3) continue;
        const Pieces pieces(int64_t{space.images} * space.levels, octave.width - 2, octave.height - 2);
        find_extrema<<<grid_of(pieces.count), kThreads, 0, stream_>>>(space, o, pieces, options_.blobs, list, room,
                                                                      count);
        launched("starting to find blobs");
      }
      const uint32_t found = download<uint32_t>(count, 1, stream_).front();
      if (found <= room) return ordered(space, download<FoundBlob>(list, found, stream_));
      room = found;
    }
  }

  std::vector<DeviceBlob> ordered(const DeviceSpace& space, std::vector<FoundBlob> found) {
    const auto place = [](const FoundBlob& b) { return std::tuple(b.octave, b.s, b.y, b.x); };
    std::sort(found.begin(), found.end(), [&](const FoundBlob& a, const FoundBlob& b) {
      const double size_a = std::abs(a.response), size_b = std::abs(b.response);
      return std::tuple(a.image, size_b, place(a)) < std::tuple(b.image, size_a, place(b));
    });
    const auto end = std::unique(found.begin(), found.end(), [&](const FoundBlob& a, const FoundBlob& b) {
      return a.image == b.image && place(a) == place(b);
    });
    counts_.assign(space.images, 0);
    std::vector<DeviceBlob> blobs;
    for (auto b = found.begin(); b != end; ++b) {
      if (counts_[b->image] == options_.max_features) continue;
      ++counts_[b->image];
      const double step = space.octaves[b->octave].step;
      const double sigma = step * features::kBaseSigma * std::exp2((b->s + b->ds) / space.levels);
      blobs.push_back({(b->x + b->dx) * step, (b->y + b->dy) * step, sigma, static_cast<float>(b->response), b->image});
    }
    return blobs;
  }

  AffineCounts describe(const DeviceSpace& space, const std::vector<DeviceBlob>& blobs) {
    const int64_t count = std::ssize(blobs);
    auto* const on_device = static_cast<DeviceBlob*>(request_.allocate(count * sizeof(DeviceBlob)));
    auto* const ellipses = static_cast<DeviceEllipse*>(request_.allocate(count * sizeof(DeviceEllipse)));
    upload(on_device, blobs, stream_);
    std::vector<DeviceFeature> turned;
    if (count > 0) {
      adapt_blobs<<<grid_of(count), kTeam, 0, stream_>>>(space, on_device, count, options_.adapt, ellipses);
      launched("starting to adapt ellipses");
      if (options_.orient) turned = orientations(space, blobs, on_device, ellipses);
    }
    const int64_t total = options_.orient ? std::ssize(turned) : count;
    const FeatureArrays out = request_.results(total);
    if (total > 0) {
      DeviceFeature* features = nullptr;
      if (options_.orient) {
        features = static_cast<DeviceFeature*>(request_.allocate(total * sizeof(DeviceFeature)));
        upload(features, turned, stream_);
      }
      describe_features<<<grid_of(total), kTeam, 0, stream_>>>(space, on_device, ellipses, features, total, out);
      launched("starting to describe features");
    }
    check(cudaStreamSynchronize(stream_), "finding features");
    return {counts_, -1};
  }

  // The turns of all blobs; counts of images become those of frames.
  std::vector<DeviceFeature> orientations(const DeviceSpace& space, const std::vector<DeviceBlob>& blobs,
                                          const DeviceBlob* on_device, const DeviceEllipse* ellipses) {
    const int64_t count = std::ssize(blobs);
    auto* const turns = static_cast<Turn*>(request_.allocate(count * kMostOrientations * sizeof(Turn)));
    auto* const turn_counts = static_cast<int32_t*>(request_.allocate(count * sizeof(int32_t)));
    find_orientations<<<grid_of(count), kTeam, 0, stream_>>>(space, on_device, ellipses, count, turns, turn_counts);
    launched("starting to find orientations");
    const std::vector<int32_t> sizes = download<int32_t>(turn_counts, count, stream_);
    const std::vector<Turn> all = download<Turn>(turns, count * kMostOrientations, stream_);
    counts_.assign(space.images, 0);
    std::vector<DeviceFeature> found;
    for (int64_t k = 0; k < count; ++k) {
      counts_[blobs[k].image] += sizes[k];
      for (int32_t i = 0; i < sizes[k]; ++i) found.push_back({k, all[k * kMostOrientations + i]});
    }
    return found;
  }

  const AffineRequest& request_;
  const features::FeatureOptions& options_;
  cudaStream_t stream_;
  std::vector<int64_t> counts_;
};

}  // namespace

AffineCounts affine_covariant(const AffineRequest& request) {
  const DeviceScope scope(request.device);
  return Finder(request).run();
}

int64_t affine_memory(int32_t width, int32_t height, int levels, bool doubled) {
  const auto bytes = static_cast<double>(bytes_of(plan_space(1, width, height, levels, doubled)));
  return static_cast<int64_t>(bytes / kShareForSpaces) + 1;
}

}  // namespace mk::cuda
