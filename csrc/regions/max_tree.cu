// Max-trees of a batch of images on a CUDA device.
//
// Elements are sorted by value. Every peak starts a region, and in each round regions join across their highest passes,
// which is Boruvka's way to a maximum spanning tree, so that a round leaves at most half of them. What a region has
// above its pass is a chain of the tree; a sort by chain puts parents beside their children, and running sums count the
// elements of subtrees. Nothing depends on how values are distributed, and no thread walks along the tree.
// Time O(N) for sorting and, in each of at most log2(number of peaks) rounds, for the borders of regions; memory O(N).
// H. Carr, G. Weber, C. Sewell, J. Ahrens, "Parallel peak pruning for scalable SMP contour tree computation" (2016).
// J. Havel, F. Merciol, S. Lefevre, "Efficient tree construction for multiscale image representation" (2019).
#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "common/launch.cuh"
#include "common/primitives.h"
#include "regions/max_tree_chains.cuh"
#include "regions/max_tree_cuda.h"
#include "regions/max_tree_order.cuh"
#include "regions/max_tree_rounds.cuh"

namespace mk::cuda {

namespace {

constexpr int64_t kElementsAtOnce = int64_t{1} << 26;  // bounds memory, and still fills the device

int bits_to_tell_apart(int64_t count) { return static_cast<int>(std::bit_width(static_cast<uint64_t>(count - 1) | 1)); }

// Arrays over elements, or over nodes, of which there are never more than elements. What is free after one step is used
// by the next.
struct Work {
  unsigned long long* wide[2];
  uint32_t *word[2], *other[2], *value[2];  // word and other: the halves of wide
  uint32_t* counters;                       // two
  char* space;
  size_t space_bytes;

  Work(Arena& arena, int64_t count, size_t bytes) : space_bytes(bytes) {
    for (int k = 0; k < 2; ++k) {
      wide[k] = arena.take<unsigned long long>(count + 1);
      word[k] = reinterpret_cast<uint32_t*>(wide[k]);
      other[k] = word[k] + count + 1;
      value[k] = arena.take<uint32_t>(count);
    }
    counters = arena.take<uint32_t>(2);
    space = arena.take<char>(static_cast<int64_t>(bytes));
  }
};

// Space for all sorts and sums of so many elements.
size_t bytes_of_space(int64_t count) {
  unsigned long long* wide[2] = {};
  uint32_t *words[2] = {}, *values[2] = {};
  size_t by_wide = 0, by_word = 0, sums = 0;
  sort_pairs(nullptr, by_wide, wide, values, count, 64, nullptr);
  sort_pairs(nullptr, by_word, words, values, count, 32, nullptr);
  add_up(nullptr, sums, nullptr, count, nullptr);
  return std::max({by_wide, by_word, sums});
}

// One batch on its way through the steps.
template <class T>
class Builder {
 public:
  Builder(const Images& images, const T* image, int32_t* parent, int32_t* order, int32_t* area, const Work& work,
          cudaStream_t stream)
      : images_(images),
        count_(images.count()),
        blocks_(blocks_for(count_)),
        image_(image),
        parent_(parent),
        order_(order),
        area_(area),
        work_(work),
        stream_(stream) {}

  void build() {
    sort();
    find_regions();
    grow_regions();
    sort_chains();
    add_areas();
    write_tree<T><<<blocks_, kThreads, 0, stream_>>>(images_, image_, order_, chains_, parent_, area_);
    launched("writing the tree");
  }

 private:
  // Fills order and rank. Items stay together: they are sorted by a second, stable sort.
  void sort() {
    constexpr int key_bits = 8 * sizeof(T);
    uint32_t* values[2] = {work_.value[0], work_.value[1]};
    typename Sortable<T>::Key* keys[2] = {};
    if constexpr (key_bits == 64) {
      std::copy(work_.wide, work_.wide + 2, keys);
    } else {
      std::copy(work_.word, work_.word + 2, keys);
    }
    find_keys<T><<<blocks_, kThreads, 0, stream_>>>(count_, image_, keys[0], values[0]);
    launched("finding keys");
    sort_by(keys, values, key_bits);
    if (images_.items > 1) {
      uint32_t* items[2] = {work_.word[0], work_.word[1]};
      find_items<<<blocks_, kThreads, 0, stream_>>>(count_, images_.size(), values[0], items[0]);
      launched("finding items");
      sort_by(items, values, bits_to_tell_apart(images_.items));
    }
    rank_ = reinterpret_cast<int32_t*>(values[1]);
    region_ = reinterpret_cast<int32_t*>(values[0]);
    find_ranks<<<blocks_, kThreads, 0, stream_>>>(count_, images_.size(), values[0], order_, rank_);
    launched("finding ranks");
  }

  template <class Key>
  void sort_by(Key* (&keys)[2], uint32_t* (&values)[2], int bits) {
    size_t bytes = work_.space_bytes;
    sort_pairs(work_.space, bytes, keys, values, count_, bits, stream_);
  }

  // The regions of peaks.
  void find_regions() {
    int32_t* const number = reinterpret_cast<int32_t*>(work_.word[0]);
    look_up<<<blocks_, kThreads, 0, stream_>>>(images_, rank_, region_);
    launched("looking up");
    clear_counters();
    find_peaks<<<blocks_, kThreads, 0, stream_>>>(count_, region_, work_.counters, number);
    launched("finding peaks");
    name_regions<<<blocks_, kThreads, 0, stream_>>>(count_, number, region_);
    launched("naming regions");
    peaks_ = download<uint32_t>(work_.counters, 1, stream_).front();
    nodes_ = {.pass = work_.other[0], .up = area_, .current = parent_};
    begin_nodes<<<blocks_for(peaks_), kThreads, 0, stream_>>>(peaks_, nodes_);
    launched("beginning nodes");
  }

  // Joins regions until each is all of its item. rounds_: the first node of each round, and how many there are.
  void grow_regions() {
    int32_t* lists[2] = {reinterpret_cast<int32_t*>(work_.word[0]), reinterpret_cast<int32_t*>(work_.word[1])};
    int32_t* const target = reinterpret_cast<int32_t*>(work_.other[1]);
    const int32_t* listed = nullptr;
    int64_t length = count_, nodes = peaks_;
    rounds_ = {0, nodes};
    while (nodes > images_.items) {
      const auto first = static_cast<int32_t>(rounds_.end()[-2]), next = static_cast<int32_t>(rounds_.back());
      const int blocks = blocks_for(nodes);
      clear_counters();
      find_passes<<<blocks_for(length), kThreads, 0, stream_>>>(images_, rank_, region_, nodes_, listed, length,
                                                                lists[0], work_.counters);
      launched("finding passes");
      choose_targets<<<blocks, kThreads, 0, stream_>>>(images_, order_, rank_, region_, nodes_, first, nodes, target);
      launched("choosing regions");
      int32_t* const link = nodes_.up + first;
      link_targets<<<blocks, kThreads, 0, stream_>>>(nodes, target, link);
      launched("linking regions");
      settle_nodes<<<blocks, kThreads, 0, stream_>>>(nodes, link, next, work_.counters + 1, target, nodes_);
      launched("joining regions");
      name_next_nodes<<<blocks, kThreads, 0, stream_>>>(nodes, target, link);
      launched("naming joined regions");
      go_up<<<blocks_for(peaks_), kThreads, 0, stream_>>>(peaks_, nodes_);
      launched("following regions");
      const auto counted = download<uint32_t>(work_.counters, 2, stream_);
      listed = lists[0];
      std::swap(lists[0], lists[1]);
      length = counted[0];
      nodes = counted[1];
      rounds_.push_back(next + nodes);
    }
  }

  void sort_chains() {
    const int64_t nodes = rounds_.back();
    uint32_t* chain[2] = {work_.word[0], work_.word[1]};
    uint32_t* element[2] = {reinterpret_cast<uint32_t*>(rank_), reinterpret_cast<uint32_t*>(region_)};
    find_chains<<<blocks_, kThreads, 0, stream_>>>(images_, order_, region_, nodes_, chain[0], element[0]);
    launched("finding chains");
    sort_by(chain, element, bits_to_tell_apart(nodes));
    chains_ = {.chain = chain[0],
               .element = element[0],
               .place = element[1],
               .begin = work_.other[1],
               .weight = chain[1],
               .pass = nodes_.pass};
    place_elements<<<blocks_, kThreads, 0, stream_>>>(count_, chains_);
    launched("placing elements");
    find_beginnings<<<blocks_for(nodes + 1), kThreads, 0, stream_>>>(count_, nodes, chains_);
    launched("finding chains of nodes");
  }

  // Chains of a round stand together and hang below later ones. Sums go on from round to round: the one before the
  // first place of a round is added to it.
  void add_areas() {
    std::vector<uint32_t> begin(rounds_.size());
    for (size_t k = 0; k < rounds_.size(); ++k)
      check(cudaMemcpyAsync(&begin[k], chains_.begin + rounds_[k], sizeof(uint32_t), cudaMemcpyDeviceToHost, stream_),
            "copying from the device");
    check(cudaStreamSynchronize(stream_), "waiting for the device");
    for (size_t k = 0; k + 1 < rounds_.size(); ++k) {
      if (begin[k] == begin[k + 1]) continue;
      const uint32_t from = begin[k] > 0 ? begin[k] - 1 : 0;
      size_t bytes = work_.space_bytes;
      add_up(work_.space, bytes, chains_.weight + from, begin[k + 1] - from, stream_);
      const int64_t nodes = rounds_[k + 1] - rounds_[k];
      hang_chains<<<blocks_for(nodes), kThreads, 0, stream_>>>(images_, order_, rounds_[k], nodes, chains_);
      launched("adding areas");
    }
  }

  void clear_counters() {
    check(cudaMemsetAsync(work_.counters, 0, 2 * sizeof(uint32_t), stream_), "clearing counters");
  }

  Images images_;
  int64_t count_;
  int blocks_;
  const T* image_;
  int32_t *parent_, *order_, *area_;
  const Work& work_;
  cudaStream_t stream_;

  int32_t *rank_ = nullptr, *region_ = nullptr;
  int64_t peaks_ = 0;
  Nodes nodes_{};
  Chains chains_{};
  std::vector<int64_t> rounds_;
};

int64_t items_at_once(int64_t items, int64_t size) {
  return std::min(items, std::max<int64_t>(1, kElementsAtOnce / size));
}

template <class T>
void build_trees(const MaxTreeRequest& request) {
  const int64_t size = request.depth * request.height * request.width;
  const int64_t most = items_at_once(request.items, size);
  const size_t space = bytes_of_space(most * size);
  const Work work = take_arrays(request.allocate, [&](Arena& arena) { return Work(arena, most * size, space); });
  const int axes = request.connectivity == 26 ? 3 : request.connectivity == 4 || request.connectivity == 6 ? 1 : 2;
  for (int64_t first = 0; first < request.items; first += most) {
    const Images images{static_cast<int32_t>(std::min(most, request.items - first)),
                        static_cast<int32_t>(request.depth), static_cast<int32_t>(request.height),
                        static_cast<int32_t>(request.width), axes};
    const int64_t at = first * size;
    Builder<T>(images, static_cast<const T*>(request.image) + at, request.parent + at, request.order + at,
               request.area + at, work, static_cast<cudaStream_t>(request.stream))
        .build();
  }
}

}  // namespace

int64_t max_tree_memory(int64_t items, int64_t size) {
  const int64_t count = size > 0 ? items_at_once(items, size) * size : 0;
  const int64_t words = 6 * static_cast<int64_t>(sizeof(uint32_t));
  return count * words + count / 2 + (1 << 20);  // half a byte an element is more than the space to sort in
}

void max_tree(const MaxTreeRequest& request) {
  if (request.items * request.depth * request.height * request.width == 0) return;
  const DeviceScope scope(request.device);
  switch (request.type) {
    case PixelType::uint8: return build_trees<uint8_t>(request);
    case PixelType::uint16: return build_trees<uint16_t>(request);
    case PixelType::int16: return build_trees<int16_t>(request);
    case PixelType::float32: return build_trees<float>(request);
    case PixelType::float64: return build_trees<double>(request);
  }
}

}  // namespace mk::cuda
