// Draws soft quadrics (ellipses, ellipsoids) over a background, and differentiates the drawing.
// Ellipses are the case depth = 1. Source: arXiv 2411.12070 (ellipse primitives, order-free blending);
// painter's order is the usual "over" operator. Cost O(voxels inside the cut-off); working memory
// O(image + primitives): opacities are recomputed in the backward pass, never stored.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mk::render {

enum class Composition { order_free, over };
enum class Profile { sigmoid, gaussian };

// rho^2(d) = kx a^2 + ky b^2 + kz c^2 with a = dx + txy dy + txz dz, b = dy + tyz dz, c = dz, d = x - center:
// the quadratic form d'Md of one primitive, factored so that no term cancels along a row of voxels.
struct Quadric {
  double cx, cy, cz;
  double kx, ky, kz;
  double txy, txz, tyz;
};

struct Look {
  Composition composition;
  Profile profile;
  double tau;  // px of normalised radius over which a sigmoid edge falls off

  double reach_squared() const;  // rho^2 beyond which a primitive is absent, part of the definition
};

// rho = sqrt(rho^2 + kRhoEps): keeps the radius differentiable at the centre.
constexpr double kRhoEps = 1e-6;
// Added to the sum of opacities in the order-free mean colour.
constexpr double kWeightEps = 1e-6;

template <class T>
struct Scene {
  int64_t batch, primitives, channels;
  int64_t depth, height, width;
  std::vector<Quadric> quadrics;  // [batch * primitives]
  std::span<const T> colors;      // [batch, primitives, channels]
  std::span<const T> opacity;     // [batch, primitives]
  std::span<const T> background;  // [batch, channels] or [batch, channels, depth, height, width]
  Look look;

  int64_t voxels() const { return depth * height * width; }
  bool background_per_voxel() const { return int64_t(background.size()) != batch * channels || voxels() == 1; }
};

// With q = dL/d(rho^2) at a voxel: sums of q times the first and second powers of d, over all voxels.
struct Moments {
  double x, y, z;
  double xx, xy, xz, yy, yz, zz;
};

template <class T>
void draw(const Scene<T>& scene, std::span<T> image);

// Gradients of a scalar L from dL/dimage. Everything is overwritten. Fixed summation order: results do not
// depend on the number of threads.
template <class T>
void differentiate(const Scene<T>& scene, std::span<const T> grad_image, std::span<Moments> moments,
                   std::span<T> grad_colors, std::span<T> grad_opacity, std::span<T> grad_background);

}  // namespace mk::render
