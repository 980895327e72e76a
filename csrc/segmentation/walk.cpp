#include "segmentation/walk.h"

#include <sstream>
#include <stdexcept>

namespace mk::segmentation {

namespace {

template <class Label>
void read_as(const Labels& labels, int64_t from, int64_t classes, std::span<int32_t> to) {
  const Label* const own = static_cast<const Label*>(labels.data) + from;
  for (size_t i = 0; i < to.size(); ++i) {
    const auto label = static_cast<int64_t>(own[i]);
    if (labels.ignored == label) {
      to[i] = -1;
    } else if (label >= 0 && label < classes) {
      to[i] = static_cast<int32_t>(label);
    } else {
      std::ostringstream message;
      message << "labels must be from 0 to " << classes - 1;
      if (labels.ignored) message << " or " << *labels.ignored;
      message << ", but element " << from + static_cast<int64_t>(i) << " (in row-major order) is " << label;
      throw std::invalid_argument(message.str());
    }
  }
}

}  // namespace

void read_labels(const Labels& labels, int64_t from, int64_t classes, std::span<int32_t> to) {
  if (labels.bytes == 1) return read_as<uint8_t>(labels, from, classes, to);
  if (labels.bytes == 4) return read_as<int32_t>(labels, from, classes, to);
  read_as<int64_t>(labels, from, classes, to);
}

}  // namespace mk::segmentation
