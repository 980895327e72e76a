// Connected components of a batch of masks on a CUDA device.
//
// A mask becomes words of 32 bits. Each run of set elements within a word is a set, named by its first element; a
// thread a word joins it with the runs that touch it, in the word before and in earlier rows. Then the root of a
// component is its first element in raster order, and a running sum of roots numbers the components.
// Time O(N) and O(alpha(N)) for each pair of touching runs; beside the labels one byte of memory for 2 to 3 elements.
// Words by ballot and runs as nodes: A. Hennequin, L. Lacassagne, L. Cabaret, Q. Meunier, "A new direct connected
// component labeling and analysis algorithm for GPUs" (2018). Roots joined by compare and swap: J. Jaiganesh,
// M. Burtscher, "A high-performance connected components implementation for GPUs" (2018).
#include <stdexcept>
#include <tuple>

#include "common/launch.cuh"
#include "common/primitives.h"
#include "regions/grid.h"
#include "regions/label_cuda.h"
#include "regions/measures.cuh"
#include "regions/sets.cuh"
#include "regions/words.cuh"

namespace mk::cuda {

namespace {

using regions::RowLink;

constexpr int kMostLinks = 4;

// The earlier rows that a row touches.
struct RowLinks {
  int count = 0;
  RowLink links[kMostLinks];

  explicit RowLinks(int connectivity) {
    for (const RowLink& link : regions::row_links(connectivity)) links[count++] = link;
  }
};

// A warp a stretch of 32 words of a row. Runs that go on from the word before lead to where they start there.
template <class T>
__global__ void find_runs(Words words, const T* mask, uint32_t* bits, int32_t* labels) {
  const int lane = threadIdx.x % kWarp;
  const int stretches = (words.in_row + kWarp - 1) / kWarp;
  const int64_t units = words.rows() * stretches;
  for (int64_t unit = thread_index() / kWarp; unit < units; unit += thread_count() / kWarp) {
    const int64_t row = unit / stretches;
    const int first = static_cast<int>(unit - row * stretches) * kWarp;
    const int count = min(kWarp, words.in_row - first);
    const T* const elements = mask + row * words.width;
    const auto read = [&](int word) {
      const int64_t x = int64_t{word} * kWordBits + lane;
      return __ballot_sync(kAllLanes, x < words.width && elements[x] != 0);
    };
    uint32_t own = 0;
#pragma unroll 8  // so many words are on their way at once
    for (int k = 0; k < count; ++k) {
      const uint32_t word = read(first + k);
      if (lane == k) own = word;
    }
    const uint32_t last = first > 0 ? read(first - 1) : 0;
    const uint32_t across = __shfl_up_sync(kAllLanes, own, 1);
    const uint32_t before = lane == 0 ? last : across;
    if (lane >= count) continue;
    bits[row * words.in_row + first + lane] = own;
    const int64_t item = row / words.item_rows();
    int32_t* const sets = labels + item * words.item_size();
    const auto element =
        static_cast<int32_t>((row - item * words.item_rows()) * words.width + int64_t{first + lane} * kWordBits);
    for_each_bit(run_starts(own), [&](int place) { sets[element + place] = element + place; });
    constexpr int end = kWordBits - 1;
    if ((own & before >> end & 1) != 0) sets[element] = element - kWordBits + run_start(before, end);
  }
}

// A thread a word. Runs that touch in the words before too are joined there.
__global__ void join_runs(Words words, RowLinks rows, const uint32_t* bits, int32_t* labels) {
  for (int64_t word = thread_index(); word < words.count(); word += thread_count()) {
    if (bits[word] == 0) continue;
    const WordPlace place(words, word);
    const WordInRow here(words, bits, word, place.x);
    int32_t* const sets = labels + place.item * words.item_size();
    for (int k = 0; k < rows.count; ++k) {
      const RowLink link = rows.links[k];
      if (place.z + link.dz < 0 || place.y + link.dy < 0 || place.y + link.dy >= words.height) continue;
      const int64_t apart = int64_t{link.dz} * words.height + link.dy;
      const WordInRow there(words, bits, word + apart * words.in_row, place.x);
      const auto element = static_cast<int32_t>(place.element + apart * words.width);
      const auto join = [&](int own_place, int32_t other) {
        join_sets(sets, place.element + run_start(here.own, own_place), other);
      };
      const uint32_t touching = here.own & there.own, touching_before = here.left() & there.left();
      for_each_bit(touching & ~touching_before, [&](int at) { join(at, element + run_start(there.own, at)); });
      if (link.reach == 0) continue;
      // Only at the end of a run is there a diagonal neighbour that no other element of it touches from above.
      constexpr int end = kWordBits - 1;
      for_each_bit(here.own & ~here.left() & ~there.own & there.left(), [&](int at) {
        join(at, at > 0 ? element + run_start(there.own, at - 1) : element - kWordBits + run_start(there.before, end));
      });
      for_each_bit(here.own & ~here.right() & ~there.own & there.right(), [&](int at) { join(at, element + at + 1); });
    }
  }
}

// Leads every run to the root of its component; marks and counts the roots in each word.
__global__ void settle_runs(Words words, const uint32_t* bits, int32_t* labels, uint32_t* roots, uint32_t* counts) {
  for (int64_t word = thread_index(); word < words.count(); word += thread_count()) {
    const uint32_t own = bits[word];
    uint32_t found = 0;
    if (own != 0) {
      const WordPlace place(words, word);
      int32_t* const sets = labels + place.item * words.item_size();
      for_each_bit(run_starts(own), [&](int at) {
        if (settle_root(sets, place.element + at) == place.element + at) found |= uint32_t{1} << at;
      });
    }
    roots[word] = found;
    counts[word] = __popc(found);
  }
}

// Numbers of components, from the roots of each word and of all words up to it.
struct Numbers {
  const uint32_t *roots, *up_to;

  __device__ uint32_t before(int64_t word) const { return word > 0 ? up_to[word - 1] : 0; }

  // Of the root that is element `root` of an item that begins with the word `first`.
  __device__ int32_t of(const Words& words, int64_t first, int32_t root) const {
    const int32_t row = root / words.width, x = root - row * words.width;
    const int64_t word = first + int64_t{row} * words.in_row + x / kWordBits;
    const uint32_t earlier = before(word) - before(first);
    return static_cast<int32_t>(earlier) + __popc(roots[word] & bits_below(x % kWordBits)) + 1;
  }
};

__global__ void count_components(Words words, Numbers numbers, uint32_t* counts) {
  for (int64_t item = thread_index(); item < words.items; item += thread_count())
    counts[item] = numbers.before((item + 1) * words.in_item()) - numbers.before(item * words.in_item());
}

// A warp a stretch of 32 words of a row, a lane an element.
__global__ void write_labels(Words words, Numbers numbers, const uint32_t* bits, int32_t* labels) {
  const int lane = threadIdx.x % kWarp;
  const int stretches = (words.in_row + kWarp - 1) / kWarp;
  const int64_t units = words.rows() * stretches;
  for (int64_t unit = thread_index() / kWarp; unit < units; unit += thread_count() / kWarp) {
    const int64_t row = unit / stretches;
    const int first = static_cast<int>(unit - row * stretches) * kWarp;
    const int count = min(kWarp, words.in_row - first);
    const int64_t item_first = row / words.item_rows() * words.in_item();
    for (int k = first; k < first + count; ++k) {
      const uint32_t word = bits[row * words.in_row + k];
      int32_t* const elements = labels + row * words.width + int64_t{k} * kWordBits;
      int32_t number = 0;
      if ((word >> lane & 1) != 0) number = numbers.of(words, item_first, elements[run_start(word, lane)]);
      __syncwarp();  // all lanes have read what some now overwrite
      if (int64_t{k} * kWordBits + lane < words.width) elements[lane] = number;
    }
  }
}

void find_runs_of(const LabelRequest& request, const Words& words, uint32_t* bits) {
  const cudaStream_t stream = static_cast<cudaStream_t>(request.stream);
  const int64_t stretches = (words.in_row + kWarp - 1) / kWarp;
  const int blocks = blocks_for(words.rows() * stretches, kWarp);
  const auto run = [&]<class T>(T) {
    find_runs<T><<<blocks, kThreads, 0, stream>>>(words, static_cast<const T*>(request.mask), bits, request.labels);
  };
  switch (request.bytes) {
    case 1: run(uint8_t{}); break;
    case 2: run(uint16_t{}); break;
    case 4: run(uint32_t{}); break;
    case 8: run(uint64_t{}); break;
    default: throw std::invalid_argument("masks have elements of 1, 2, 4 or 8 bytes");
  }
  launched("finding runs");
}

size_t bytes_to_add_up(int64_t count) {
  size_t bytes = 0;
  add_up(nullptr, bytes, nullptr, count, nullptr);
  return bytes;
}

void measure(const LabelRequest& request, const Words& words, const uint32_t* bits, const Numbers& numbers,
             const std::vector<int64_t>& counts) {
  const cudaStream_t stream = static_cast<cudaStream_t>(request.stream);
  std::vector<int64_t> first(counts.size() + 1, 0);
  for (size_t i = 0; i < counts.size(); ++i) first[i + 1] = first[i] + counts[i];
  const int64_t total = first.back();
  const MeasureArrays arrays = request.allocate_measures(total);
  if (total == 0) return;
  const bool volume = request.connectivity == 6 || request.connectivity > 8;
  const auto layout = [&](Arena& arena) {
    return std::tuple(arena.take<int64_t>(words.items + 1), Sums(arena, total, volume ? 3 : 2));
  };
  const auto [item_first, sums] = take_arrays(request.allocate, layout);
  upload(item_first, first, stream);
  begin_sums<<<blocks_for(words.count()), kThreads, 0, stream>>>(words, numbers.roots, request.labels, item_first,
                                                                 arrays, sums);
  launched("finding the first elements of components");
  const int64_t groups = words.rows() * groups_of_row(words);
  add_runs<<<blocks_for(groups), kThreads, 0, stream>>>(words, bits, request.labels, item_first, arrays, sums);
  launched("measuring components");
  finish_sums<<<blocks_for(total), kThreads, 0, stream>>>(words, total, arrays, sums);
  launched("finding moments");
}

}  // namespace

int64_t label_memory(int64_t items, int64_t rows, int64_t width) {
  const int64_t words = items * rows * ((width + kWordBits - 1) / kWordBits);
  // Bits, roots and counts; a 64th of a byte a word is more than the space to add up in.
  return words * 12 + words / 64 + items * static_cast<int64_t>(sizeof(uint32_t)) + (1 << 16);
}

int64_t measure_memory(int dims) {
  const int64_t result = sizeof(int64_t) * (2 + 2 * dims) + sizeof(double) * (dims + dims * dims);
  return result + Sums::bytes(dims);
}

std::vector<int64_t> label(const LabelRequest& request) {
  const Words words(request.items, request.depth, request.height, request.width);
  if (words.rows() == 0 || words.width == 0) {
    if (request.allocate_measures) request.allocate_measures(0);
    return std::vector<int64_t>(request.items, 0);
  }
  const DeviceScope scope(request.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(request.stream);
  size_t adding = bytes_to_add_up(words.count());
  const auto layout = [&](Arena& arena) {
    return std::tuple(arena.take<uint32_t>(words.count()), arena.take<uint32_t>(words.count()),
                      arena.take<uint32_t>(words.count()), arena.take<uint32_t>(words.items),
                      arena.take<char>(static_cast<int64_t>(adding)));
  };
  const auto [bits, roots, up_to, counts, space] = take_arrays(request.allocate, layout);

  const int blocks = blocks_for(words.count());
  find_runs_of(request, words, bits);
  join_runs<<<blocks, kThreads, 0, stream>>>(words, RowLinks(request.connectivity), bits, request.labels);
  launched("joining runs");
  settle_runs<<<blocks, kThreads, 0, stream>>>(words, bits, request.labels, roots, up_to);
  launched("settling runs");
  add_up(space, adding, up_to, words.count(), stream);
  const Numbers numbers{roots, up_to};
  count_components<<<blocks_for(words.items), kThreads, 0, stream>>>(words, numbers, counts);
  launched("counting components");
  const int64_t stretches = (words.in_row + kWarp - 1) / kWarp;
  write_labels<<<blocks_for(words.rows() * stretches, kWarp), kThreads, 0, stream>>>(words, numbers, bits,
                                                                                     request.labels);
  launched("writing labels");
  const std::vector<uint32_t> found = download<uint32_t>(counts, words.items, stream);
  std::vector<int64_t> result(found.begin(), found.end());
  if (request.allocate_measures) measure(request, words, bits, numbers, result);
  return result;
}

}  // namespace mk::cuda
