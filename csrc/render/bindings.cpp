#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "render/ellipses.h"
#include "render/ellipsoids.h"

namespace py = pybind11;

namespace {

using mk::render::Composition;
using mk::render::Look;
using mk::render::Profile;

// C-contiguous and of the exact type: the Python layer has already converted.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
std::span<const T> in(const Array<T>& array) {
  return {array.data(), static_cast<size_t>(array.size())};
}

template <class T>
std::span<T> out(Array<T>& array) {
  return {array.mutable_data(), static_cast<size_t>(array.size())};
}

template <class T>
Array<T> like(const Array<T>& array) {
  return Array<T>(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
}

Look look(const std::string& composition, const std::string& profile, double tau) {
  return {composition == "over" ? Composition::over : Composition::order_free,
          profile == "gaussian" ? Profile::gaussian : Profile::sigmoid, tau};
}

template <class T>
mk::render::Ellipses<T> ellipses(const Array<T>& centers, const Array<T>& axes, const Array<T>& angles,
                                 const Array<T>& colors, const Array<T>& opacity, const Array<T>& background,
                                 int64_t height, int64_t width, const Look& look) {
  return {centers.shape(0), centers.shape(1), colors.shape(2), height,      width,          in(centers),
          in(axes),         in(angles),       in(colors),      in(opacity), in(background), look};
}

template <class T>
mk::render::Ellipsoids<T> ellipsoids(const Array<T>& centers, const Array<T>& axes, const Array<T>& rotations,
                                     const Array<T>& colors, const Array<T>& opacity, const Array<T>& background,
                                     int64_t depth, int64_t height, int64_t width, const Look& look) {
  return {centers.shape(0), centers.shape(1), colors.shape(2), depth,       height,         width, in(centers),
          in(axes),         in(rotations),    in(colors),      in(opacity), in(background), look};
}

// What both differentiate functions return, in the order of their array arguments.
template <class T>
struct Gradients {
  Array<T> centers, axes, turns, colors, opacity, background;

  Gradients(const Array<T>& c, const Array<T>& a, const Array<T>& t, const Array<T>& col, const Array<T>& o,
            const Array<T>& b)
      : centers(like(c)), axes(like(a)), turns(like(t)), colors(like(col)), opacity(like(o)), background(like(b)) {}

  py::tuple tuple() const { return py::make_tuple(centers, axes, turns, colors, opacity, background); }
};

template <class T>
void bind_type(py::module_& m) {
  m.def(
      "ellipses",
      [](const Array<T>& centers, const Array<T>& axes, const Array<T>& angles, const Array<T>& colors,
         const Array<T>& opacity, const Array<T>& background, int64_t height, int64_t width,
         const std::string& composition, const std::string& profile, double tau) {
        const auto shapes = ellipses<T>(centers, axes, angles, colors, opacity, background, height, width,
                                        look(composition, profile, tau));
        Array<T> image({shapes.batch, shapes.channels, height, width});
        const std::span<T> pixels = out(image);
        {
          const py::gil_scoped_release release;
          mk::render::draw_ellipses(shapes, pixels);
        }
        return image;
      },
      py::arg("centers").noconvert(), py::arg("axes").noconvert(), py::arg("angles").noconvert(),
      py::arg("colors").noconvert(), py::arg("opacity").noconvert(), py::arg("background").noconvert(),
      py::arg("height"), py::arg("width"), py::arg("composition"), py::arg("profile"), py::arg("tau"));

  m.def(
      "ellipses_backward",
      [](const Array<T>& grad_image, const Array<T>& centers, const Array<T>& axes, const Array<T>& angles,
         const Array<T>& colors, const Array<T>& opacity, const Array<T>& background, const std::string& composition,
         const std::string& profile, double tau) {
        const auto shapes = ellipses<T>(centers, axes, angles, colors, opacity, background, grad_image.shape(2),
                                        grad_image.shape(3), look(composition, profile, tau));
        Gradients<T> grads(centers, axes, angles, colors, opacity, background);
        const mk::render::EllipsesGradient<T> to{out(grads.centers), out(grads.axes),    out(grads.turns),
                                                 out(grads.colors),  out(grads.opacity), out(grads.background)};
        const std::span<const T> grad = in(grad_image);
        {
          const py::gil_scoped_release release;
          mk::render::differentiate_ellipses(shapes, grad, to);
        }
        return grads.tuple();
      },
      py::arg("grad_image").noconvert(), py::arg("centers").noconvert(), py::arg("axes").noconvert(),
      py::arg("angles").noconvert(), py::arg("colors").noconvert(), py::arg("opacity").noconvert(),
      py::arg("background").noconvert(), py::arg("composition"), py::arg("profile"), py::arg("tau"));

  m.def(
      "ellipsoids",
      [](const Array<T>& centers, const Array<T>& axes, const Array<T>& rotations, const Array<T>& colors,
         const Array<T>& opacity, const Array<T>& background, int64_t depth, int64_t height, int64_t width,
         const std::string& composition, const std::string& profile, double tau) {
        const auto shapes = ellipsoids<T>(centers, axes, rotations, colors, opacity, background, depth, height, width,
                                          look(composition, profile, tau));
        Array<T> volume({shapes.batch, shapes.channels, depth, height, width});
        const std::span<T> voxels = out(volume);
        {
          const py::gil_scoped_release release;
          mk::render::draw_ellipsoids(shapes, voxels);
        }
        return volume;
      },
      py::arg("centers").noconvert(), py::arg("axes").noconvert(), py::arg("rotations").noconvert(),
      py::arg("colors").noconvert(), py::arg("opacity").noconvert(), py::arg("background").noconvert(),
      py::arg("depth"), py::arg("height"), py::arg("width"), py::arg("composition"), py::arg("profile"),
      py::arg("tau"));

  m.def(
      "ellipsoids_backward",
      [](const Array<T>& grad_volume, const Array<T>& centers, const Array<T>& axes, const Array<T>& rotations,
         const Array<T>& colors, const Array<T>& opacity, const Array<T>& background, const std::string& composition,
         const std::string& profile, double tau) {
        const auto shapes = ellipsoids<T>(centers, axes, rotations, colors, opacity, background, grad_volume.shape(2),
                                          grad_volume.shape(3), grad_volume.shape(4), look(composition, profile, tau));
        Gradients<T> grads(centers, axes, rotations, colors, opacity, background);
        const mk::render::EllipsoidsGradient<T> to{out(grads.centers), out(grads.axes),    out(grads.turns),
                                                   out(grads.colors),  out(grads.opacity), out(grads.background)};
        const std::span<const T> grad = in(grad_volume);
        {
          const py::gil_scoped_release release;
          mk::render::differentiate_ellipsoids(shapes, grad, to);
        }
        return grads.tuple();
      },
      py::arg("grad_volume").noconvert(), py::arg("centers").noconvert(), py::arg("axes").noconvert(),
      py::arg("rotations").noconvert(), py::arg("colors").noconvert(), py::arg("opacity").noconvert(),
      py::arg("background").noconvert(), py::arg("composition"), py::arg("profile"), py::arg("tau"));
}

}  // namespace

void bind_render(py::module_& m) {
  bind_type<float>(m);
  bind_type<double>(m);
}
