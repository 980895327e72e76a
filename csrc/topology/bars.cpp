#include "topology/bars.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <sstream>
#include <stdexcept>

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kComfortableExponent = 300;  // squares and sums of numbers up to 2^300 stay far from the limits
constexpr int kMostExponent = 1000;        // 2^1000 is still a number
constexpr int kMostBands = 16, kSmallestBand = 64;

enum Kind { finite, dies_never, born_never, always, on_diagonal };

Kind kind_of(double birth, double death) {
  if (birth == death) return on_diagonal;
  if (birth == -kInfinity) return death == kInfinity ? always : born_never;
  return death == kInfinity ? dies_never : finite;
}

struct FiniteBar {
  double birth, death;
  int32_t row, band;
  double length() const { return death - birth; }
  double middle() const { return birth + death; }
};

bool comes_first(const FiniteBar& x, const FiniteBar& y) {
  if (x.band != y.band) return x.band < y.band;
  if (x.middle() != y.middle()) return x.middle() < y.middle();
  return x.row < y.row;
}

// Bars of a band have lengths within a factor of two, except that small bands are joined: a bar is then compared with
// those of each band that are near enough for that band's lengths, not for the longest of all.
void choose_bands(std::vector<FiniteBar>& bars, double longest) {
  std::array<int32_t, kMostBands> octave_size{}, band_of_octave{};
  for (FiniteBar& bar : bars) {
    bar.band = std::clamp(std::ilogb(longest) - std::ilogb(bar.length()), 0, kMostBands - 1);
    ++octave_size[bar.band];
  }
  int32_t band = 0, size = 0;
  for (int octave = 0; octave < kMostBands; ++octave) {
    if (size >= kSmallestBand) ++band, size = 0;
    band_of_octave[octave] = band;
    size += octave_size[octave];
  }
  for (FiniteBar& bar : bars) bar.band = band_of_octave[bar.band];
}

void fill_blocks(Bars& bars) {
  bars.blocks.resize((bars.finite() + kBarBlock - 1) / kBarBlock);
  for (int32_t first = 0; BarBlock& block : bars.blocks) {
    const int32_t count = std::min(kBarBlock, bars.finite() - first);
    const auto fill = [&](std::array<double, kBarBlock>& lanes, const std::vector<double>& values, double rest) {
      lanes.fill(rest);
      std::copy_n(values.begin() + first, count, lanes.begin());
    };
    fill(block.birth, bars.birth, 0);
    fill(block.death, bars.death, 0);
    fill(block.middle, bars.middle, 0);
    fill(block.length, bars.length, -kInfinity);
    first += count;
  }
}

[[noreturn]] void refuse(const std::string& name, int64_t row, double birth, double death) {
  std::ostringstream message;
  message.precision(std::numeric_limits<double>::max_digits10);
  message << name << " must hold bars (birth, death) with birth <= death and no NaN, but row " << row << " is ("
          << birth << ", " << death << ")";
  throw std::invalid_argument(message.str());
}

void sort_endless(EndlessBars& bars) {
  std::vector<int32_t> order(bars.at.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t x, int32_t y) { return bars.at[x] < bars.at[y]; });
  EndlessBars sorted;
  for (const int32_t k : order) {
    sorted.at.push_back(bars.at[k]);
    sorted.index.push_back(bars.index[k]);
  }
  bars = std::move(sorted);
}

}  // namespace

double common_scale(std::span<const std::span<const double>> diagrams) {
  double longest = 0, low[2] = {kInfinity, kInfinity}, high[2] = {-kInfinity, -kInfinity};
  for (const auto diagram : diagrams) {
    for (size_t i = 0; i + 1 < diagram.size(); i += 2) {
      const double birth = diagram[i], death = diagram[i + 1];
      const Kind kind = kind_of(birth, death);
      if (kind == finite) longest = std::max(longest, death / 2 - birth / 2);
      if (kind == dies_never || kind == born_never) {
        const double end = kind == dies_never ? birth : death;
        low[kind == born_never] = std::min(low[kind == born_never], end);
        high[kind == born_never] = std::max(high[kind == born_never], end);
      }
    }
  }
  for (int k = 0; k < 2; ++k) longest = std::max(longest, high[k] / 2 - low[k] / 2);
  if (!(longest > 0) || longest == kInfinity) return 1;
  const int exponent = std::ilogb(longest);
  // No farther than necessary, so that much shorter bars keep their squares too.
  const int wanted = std::clamp(exponent, -kComfortableExponent, kComfortableExponent);
  return std::ldexp(1.0, std::min(wanted - exponent, kMostExponent));
}

Bars prepare_bars(std::span<const double> diagram, double scale, bool drop_endless, const std::string& name) {
  Bars bars;
  bars.rows = static_cast<int64_t>(diagram.size()) / 2;
  std::vector<FiniteBar> finite_bars;
  finite_bars.reserve(bars.rows);
  for (int32_t row = 0; row < bars.rows; ++row) {
    const double birth = diagram[2 * row], death = diagram[2 * row + 1];
    if (!(birth <= death)) refuse(name, row, birth, death);
    const Kind kind = kind_of(birth, death);
    if (kind == finite) {
      finite_bars.push_back({birth * scale, death * scale, row, 0});
    } else if (kind != on_diagonal && !drop_endless) {
      EndlessBars& endless = bars.endless[kind - dies_never];
      endless.at.push_back(kind == always ? 0 : scale * (kind == dies_never ? birth : death));
      endless.index.push_back(row);
    }
  }
  for (const FiniteBar& bar : finite_bars) {
    bars.longest = std::max(bars.longest, bar.length());
    bars.one_birth = bars.one_birth && bar.birth == finite_bars.front().birth;
  }
  if (!finite_bars.empty()) bars.first_birth = finite_bars.front().birth;
  if (!bars.one_birth) choose_bands(finite_bars, bars.longest);
  std::sort(finite_bars.begin(), finite_bars.end(), comes_first);

  for (auto* values : {&bars.birth, &bars.death, &bars.length, &bars.middle}) values->reserve(finite_bars.size());
  bars.index.reserve(finite_bars.size());
  for (const FiniteBar& bar : finite_bars) {
    if (bars.bands.empty() || bar.band != finite_bars[bars.bands.back().begin].band)
      bars.bands.push_back({bars.finite(), bars.finite(), 0});
    bars.birth.push_back(bar.birth);
    bars.death.push_back(bar.death);
    bars.length.push_back(bar.length());
    bars.middle.push_back(bar.middle());
    bars.index.push_back(bar.row);
    Band& band = bars.bands.back();
    band.end = bars.finite();
    band.longest = std::max(band.longest, bar.length());
  }
  fill_blocks(bars);
  bars.longest_first.resize(bars.finite());
  std::iota(bars.longest_first.begin(), bars.longest_first.end(), 0);
  std::ranges::stable_sort(bars.longest_first, std::greater<>(), [&](int32_t i) { return bars.length[i]; });
  for (EndlessBars& endless : bars.endless) sort_endless(endless);
  return bars;
}

}  // namespace mk::topology
