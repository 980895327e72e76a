// The extension module medkernels._core: CPU kernels, one submodule a domain.
#include <pybind11/pybind11.h>

#include "common/machine.h"
#include "common/parallel.h"
#include "common/simd.h"

namespace py = pybind11;

void bind_attention(py::module_& m);
void bind_features(py::module_& m);
void bind_points(py::module_& m);
void bind_regions(py::module_& m);
void bind_render(py::module_& m);
void bind_segmentation(py::module_& m);
void bind_topology(py::module_& m);

namespace {

// True when a signal (Ctrl-C) is pending: its Python handler has then run and left an exception set.
bool signal_pending() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.attr("version") = MEDKERNELS_VERSION;
#if defined(__clang__)
  m.attr("compiler") = "Clang " __clang_version__;
#else
  m.attr("compiler") = "GCC " __VERSION__;
#endif
  m.def("simd_level", &mk::simd::level_name);
  m.def("num_threads", &mk::num_threads);
  m.def("set_num_threads", &mk::set_num_threads, py::arg("count"));
  m.def("copy_bandwidth", &mk::copy_bandwidth, py::arg("megabytes"), py::arg("repeats"),
        py::call_guard<py::gil_scoped_release>());
  m.def("fma_rate", &mk::fma_rate, py::arg("seconds"), py::arg("double_precision"),
        py::call_guard<py::gil_scoped_release>());

  mk::set_interrupt_check(&signal_pending);
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const mk::Interrupted&) {
      // The exception that the signal's handler raised is already set.
    }
  });

  py::module_ attention = m.def_submodule("attention");
  bind_attention(attention);
  py::module_ features = m.def_submodule("features");
  bind_features(features);
  py::module_ points = m.def_submodule("points");
  bind_points(points);
  py::module_ regions = m.def_submodule("regions");
  bind_regions(regions);
  py::module_ render = m.def_submodule("render");
  bind_render(render);
  py::module_ segmentation = m.def_submodule("segmentation");
  bind_segmentation(segmentation);
  py::module_ topology = m.def_submodule("topology");
  bind_topology(topology);
}
