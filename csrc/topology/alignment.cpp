#include "topology/alignment.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/parallel.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Lengths in one direction, and what leaving them out costs.
struct Side {
  std::vector<double> length, leave;
};

// Least costs by dynamic programming:
// D[i, j] = min(D[i-1, j-1] + |a_i - b_j|^order, D[i-1, j] + leave_a(i), D[i, j-1] + leave_b(j)).
template <class Power>
class PowerAlignment {
 public:
  PowerAlignment(std::span<const double> a, std::span<const double> b, double to_diagonal, const Power& power,
                 std::span<int32_t> partner)
      : power_(power), partner_(partner), row_(b.size() + 1), next_(b.size() + 1), forward_(b.size() + 1) {
    const auto fill = [&](std::span<const double> lengths, Side& ahead, Side& back) {
      for (const double length : lengths) {
        ahead.length.push_back(length);
        ahead.leave.push_back(power(to_diagonal * length));
      }
      back.length.assign(ahead.length.rbegin(), ahead.length.rend());
      back.leave.assign(ahead.leave.rbegin(), ahead.leave.rend());
    };
    fill(a, a_, back_a_);
    fill(b, b_, back_b_);
  }

  // Hirschberg 1975 (CACM 18, 341-343): the row in the middle, reached from both ends, tells where to cut b, so that
  // memory stays linear.
  void run() { split(0, a_.length.size(), 0, b_.length.size()); }

 private:
  // The last row of D over a[first .. last), b[left .. right), into row_.
  void sweep(const Side& a, size_t first, size_t last, const Side& b, size_t left, size_t right) {
    const size_t width = right - left;
    const double *const lengths = b.length.data() + left, *const leave_b = b.leave.data() + left;
    row_[0] = 0;
    for (size_t j = 0; j < width; ++j) row_[j + 1] = row_[j] + leave_b[j];
    for (size_t i = first; i < last; ++i) {
      check_interrupt();
      const double length = a.length[i], leave = a.leave[i];
      const double* __restrict row = row_.data();
      double* __restrict next = next_.data();
      for (size_t j = 0; j < width; ++j)
        next[j + 1] = std::min(row[j] + power_(std::abs(length - lengths[j])), row[j + 1] + leave);
      next[0] = row[0] + leave;
      for (size_t j = 0; j < width; ++j) next[j + 1] = std::min(next[j + 1], next[j] + leave_b[j]);
      row_.swap(next_);
    }
  }

  void split(size_t first, size_t last, size_t left, size_t right) {
    if (last == first) return;
    if (last - first == 1) {
      match_one(first, left, right);
      return;
    }
    const size_t middle = first + (last - first) / 2, width = right - left;
    const size_t end_a = a_.length.size(), end_b = b_.length.size();
    sweep(a_, first, middle, b_, left, right);
    forward_.swap(row_);
    sweep(back_a_, end_a - last, end_a - middle, back_b_, end_b - right, end_b - left);
    size_t cut = 0;
    double least = kInfinity;
    for (size_t j = 0; j <= width; ++j) {
      const double cost = forward_[j] + row_[width - j];
      if (cost < least) {
        least = cost;
        cut = j;
      }
    }
    split(first, middle, left, left + cut);
    split(middle, last, left + cut, right);
  }

  void match_one(size_t i, size_t left, size_t right) {
    partner_[i] = -1;
    double least = a_.leave[i];
    for (size_t j = left; j < right; ++j) {
      const double cost = power_(std::abs(a_.length[i] - b_.length[j])) - b_.leave[j];
      if (cost < least) {
        least = cost;
        partner_[i] = static_cast<int32_t>(j);
      }
    }
  }

  Power power_;
  Side a_, b_, back_a_, back_b_;
  std::span<int32_t> partner_;
  std::vector<double> row_, next_, forward_;
};

}  // namespace

// A sweep over both diagrams by length. Let k be the number of lengths of a passed so far that wait for a longer one of
// b, negative when those of b wait, and f(k) the least cost so far: the distance swept while k bars wait, and what
// unmatched bars cost. A bar of a turns f(k) into min(f(k - 1), f(k) + cost of leaving it), a bar of b likewise with
// k + 1: both keep f convex and add one step to the sorted list of its differences f(k + 1) - f(k). Moving on by t adds
// t to the steps right of k = 0 and takes t from those left of it. So it is enough to keep the steps on each side of 0
// as stacks with the step next to 0 on top, and to move one over 0 where a bar finds a better offer there. Each step
// belongs to a bar, and the side of 0 where it ends tells whether that bar is matched.
//
// A bar of kind c (0 for a, 1 for b) looks at side c, where an offer's key is its value plus (side 0) or minus its
// value plus (side 1) the position. own[c] and other[c] hold the steps of side c that came from bars of kind c and from
// the other events; the keys pushed on either never fall below its top, which keeps both sorted without a heap.
void Aligner::align_linear(std::span<const double> a, std::span<const double> b, double to_diagonal,
                           std::span<int32_t> partner) {
  const size_t total = a.size() + b.size(), room = total + 1;
  offers_.resize(4 * room);
  side_.resize(total + 1);
  Offer* own[2] = {offers_.data(), offers_.data() + room};
  Offer* other[2] = {offers_.data() + 2 * room, offers_.data() + 3 * room};
  for (Offer* bottom : {own[0], own[1], other[0], other[1]}) *bottom = {-kInfinity, 0};

  size_t i = 0, j = 0;
  while (i + j < total) {
    const double next_a = i < a.size() ? a[i] : kInfinity, next_b = j < b.size() ? b[j] : kInfinity;
    const int kind = next_b < next_a;
    const double length = kind ? next_b : next_a;
    const auto element = static_cast<int32_t>(kind ? a.size() + j : i);
    (kind ? j : i) += 1;

    Offer*& stack = own[kind]->key > other[kind]->key ? own[kind] : other[kind];
    const Offer offer = *stack;
    const double key = (1 - to_diagonal) * length;
    if (key < offer.key) {
      --stack;
      *++own[kind] = {key, element};
      side_[element] = static_cast<uint8_t>(kind);
      *++other[1 - kind] = {2 * length - offer.key, offer.element};
      side_[offer.element] = static_cast<uint8_t>(1 - kind);
    } else {
      *++other[1 - kind] = {(1 + to_diagonal) * length, element};
      side_[element] = static_cast<uint8_t>(1 - kind);
    }
  }

  chosen_.resize(b.size() + 1);
  size_t chosen = 0;
  for (size_t k = 0; k < b.size(); ++k) {
    chosen_[chosen] = static_cast<int32_t>(k);
    chosen += side_[a.size() + k] == 1;
  }
  chosen = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    const bool matched = side_[k] == 0;
    partner[k] = matched ? chosen_[chosen] : -1;
    chosen += matched;
  }
}

void Aligner::align_power(std::span<const double> a, std::span<const double> b, double to_diagonal, double order,
                          const LengthUnit& unit, std::span<int32_t> partner) {
  if (a.empty() || b.empty()) {
    std::fill(partner.begin(), partner.end(), -1);
    return;
  }
  if (order == 2) {
    const double scale = 1 / unit.length;
    const auto square = [scale, most = unit.most](double x) { return std::min((x * scale) * (x * scale), most); };
    PowerAlignment(a, b, to_diagonal, square, partner).run();
  } else {
    const auto power = [unit, order](double x) { return std::min(std::pow(x / unit.length, order), unit.most); };
    PowerAlignment(a, b, to_diagonal, power, partner).run();
  }
}

}  // namespace mk::topology
