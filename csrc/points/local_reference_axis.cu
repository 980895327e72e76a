// Reference axes on a CUDA device: a thread a point, with the sums, rotations and decisions of
// points/local_reference_axis.cpp in the same order, so that axes are those of the CPU. Only the centre of a cloud,
// which decides on signs, is summed in another order. O(N k).
#include <tuple>

#include "points/item_sums.cuh"
#include "points/local_reference_axis_cuda.h"
#include "points/neighbourhoods.cuh"

namespace mk::cuda {

namespace {

constexpr int kSweeps = 4;  // of rotations
constexpr double kSumRounding = 1e-14;
template <class T>
constexpr double kOnPlane = sizeof(T) == sizeof(float) ? 1e-6 : 1e-15;

template <class T>
struct Cloud {
  const T* points;
  const int64_t* neighbours;
  int64_t size, k;
  T* axes;
};

struct Matrix {
  double xx = 0, xy = 0, xz = 0, yy = 0, yz = 0, zz = 0;
};

template <class T>
__device__ inline Double3 offset(const Cloud<T>& cloud, const int64_t* row, int64_t j, int64_t point,
                                 const Double3& own) {
  const int64_t neighbour = row[j];
  // One that is absent, or no index, is taken for the point itself, which adds nothing.
  const bool present = static_cast<uint64_t>(neighbour) < static_cast<uint64_t>(cloud.size);
  const Double3 other = double3_of(cloud.points + (present ? neighbour : point) * 3);
  return {other.x - own.x, other.y - own.y, other.z - own.z};
}

template <class T>
__device__ inline Matrix moments(const Cloud<T>& cloud, int64_t point, const Double3& own, bool weighted) {
  const int64_t* const row = cloud.neighbours + point * cloud.k;
  double greatest = 0;
  for (int64_t j = 0; j < cloud.k; ++j) {
    const Double3 y = offset(cloud, row, j, point, own);
    const double squared = dot(y, y);
    greatest = greatest < squared ? squared : greatest;
  }
  const double scale = greatest > 0 ? 1 / sqrt(greatest) : 0;
  const double start = weighted ? 1 : 0, least = weighted ? 0 : 1;
  Matrix sums;
  for (int64_t j = 0; j < cloud.k; ++j) {
    const Double3 y = offset(cloud, row, j, point, own);
    const double near = start - sqrt(dot(y, y)) * scale, weight = near > kSumRounding ? near : least;
    const double a = y.x * scale, b = y.y * scale, c = y.z * scale;
    const double wa = weight * a, wb = weight * b, wc = weight * c;
    sums.xx += wa * a;
    sums.xy += wa * b;
    sums.xz += wa * c;
    sums.yy += wb * b;
    sums.yz += wb * c;
    sums.zz += wc * c;
  }
  return sums;
}

// Makes the element pq of a matrix 0 by a rotation in the plane of p and q; r is the third axis. vp and vq are the
// vectors of the axes.
__device__ inline void rotate(double& pp, double& qq, double& pq, double& pr, double& qr, Double3& vp, Double3& vq) {
  const double apart = qq - pp, twice = 2 * pq;
  const double below = fabs(apart) + sqrt(apart * apart + twice * twice);
  const double above = apart < 0 ? -twice : twice;
  const double tangent = below > 0 ? above / below : 0;
  const double cosine = 1 / sqrt(1 + tangent * tangent), sine = tangent * cosine;
  pp -= tangent * pq;
  qq += tangent * pq;
  pq = 0;
  const auto turn = [&](double& p, double& q) {
    const double old = p;
    p = cosine * old - sine * q;
    q = sine * old + cosine * q;
  };
  turn(pr, qr);
  turn(vp.x, vq.x);
  turn(vp.y, vq.y);
  turn(vp.z, vq.z);
}

// The eigenvector of the smallest eigenvalue; 0 where the two smallest cannot be told apart.
template <class T>
__device__ inline Double3 smallest_axis(Matrix a) {
  Double3 u{1, 0, 0}, v{0, 1, 0}, w{0, 0, 1};
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    rotate(a.xx, a.yy, a.xy, a.xz, a.yz, u, v);
    rotate(a.xx, a.zz, a.xz, a.xy, a.yz, u, w);
    rotate(a.yy, a.zz, a.yz, a.xy, a.xz, v, w);
  }
  const bool y_first = a.yy < a.xx;
  const double lower = y_first ? a.yy : a.xx, upper = y_first ? a.xx : a.yy;
  const bool z_first = a.zz < lower;
  const double smallest = z_first ? a.zz : lower, rest = z_first ? lower : a.zz;
  const double middle = rest < upper ? rest : upper, greatest = rest < upper ? upper : rest;
  const double gap = middle - smallest;
  const bool stands_out =
      (gap * gap > kNearly<T> * kNearly<T> * middle * greatest) & (middle > kSumRounding * greatest);
  if (!stands_out) return {0, 0, 0};
  return z_first ? w : y_first ? v : u;
}

// Which of n and -n: away from the centre of the cloud; on the plane through it, the coordinate of the greatest size
// is positive.
__device__ inline double direction(const Double3& n, const Double3& at, const RowSums& sums, double count,
                                   double on_plane) {
  const double away = n.x * (at.x - sums.x / count) + n.y * (at.y - sums.y / count) + n.z * (at.z - sums.z / count);
  if (fabs(away) > on_plane * sums.greatest) return away < 0 ? -1 : 1;
  const double y_or_z = fabs(n.z) > fabs(n.y) ? n.z : n.y;
  return (fabs(y_or_z) > fabs(n.x) ? y_or_z : n.x) < 0 ? -1 : 1;
}

template <class T>
__global__ void find_axes(const Cloud<T>* clouds, const RowSums* sums, int64_t count, bool weighted) {
  for (int64_t item = blockIdx.y; item < count; item += gridDim.y) {
    const Cloud<T> cloud = clouds[item];
    for (int64_t point = thread_index(); point < cloud.size; point += thread_count()) {
      const Double3 at = double3_of(cloud.points + point * 3);
      const Double3 n = smallest_axis<T>(moments(cloud, point, at, weighted));
      const double sign = direction(n, at, sums[item], static_cast<double>(cloud.size), kOnPlane<T>);
      T* const axis = cloud.axes + point * 3;
      axis[0] = static_cast<T>(sign * n.x + 0.0);
      axis[1] = static_cast<T>(sign * n.y + 0.0);
      axis[2] = static_cast<T>(sign * n.z + 0.0);
    }
  }
}

}  // namespace

template <class T>
int64_t local_reference_axis(const std::vector<DeviceNeighbourhoods>& clouds, bool weighted,
                             const std::vector<T*>& axes, const Workplace& place) {
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const auto count = static_cast<int64_t>(clouds.size());
  std::vector<ItemRows<T>> rows;
  std::vector<Cloud<T>> described;
  for (int64_t i = 0; i < count; ++i) {
    const DeviceNeighbourhoods& cloud = clouds[i];
    const auto* const points = static_cast<const T*>(cloud.points);
    rows.push_back({points, cloud.size});
    described.push_back({points, cloud.neighbours, cloud.size, cloud.k, axes[i]});
  }
  const int64_t most = most_rows(clouds);
  if (most == 0) return -1;
  const Checks checks(place);
  check_neighbourhoods<T>(checks, clouds, 0, static_cast<int>(count));
  const auto [space, on_device, of_sums] = take_arrays(place.allocate, [&](Arena& arena) {
    return std::tuple(SumSpace(arena, count, most), arena.take<Cloud<T>>(count), arena.take<ItemRows<T>>(count));
  });
  upload(on_device, described, stream);
  upload(of_sums, rows, stream);
  add_rows(of_sums, space, stream);
  find_axes<<<blocks_over(clouds.size(), most), kThreads, 0, stream>>>(on_device, space.sums, count, weighted);
  launched("finding reference axes");
  return checks.found();
}

template int64_t local_reference_axis(const std::vector<DeviceNeighbourhoods>&, bool, const std::vector<float*>&,
                                      const Workplace&);
template int64_t local_reference_axis(const std::vector<DeviceNeighbourhoods>&, bool, const std::vector<double*>&,
                                      const Workplace&);

}  // namespace mk::cuda
