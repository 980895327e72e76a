// The extension module medkernels._cuda. Loaded on first use; works, and says "no device", without a driver.
#include <pybind11/pybind11.h>

#include "common/cuda.h"
#include "common/machine.h"

namespace py = pybind11;

void bind_features_cuda(py::module_& m);
void bind_points_cuda(py::module_& m);
void bind_points_features_cuda(py::module_& m);
void bind_regions_cuda(py::module_& m);
void bind_topology_cuda(py::module_& m);

PYBIND11_MODULE(_cuda, m) {
  m.def("device_count", &mk::cuda::device_count);
  m.def(
      "device",
      [](int index) {
        const mk::cuda::Device d = mk::cuda::device(index);
        py::dict result;
        result["name"] = d.name;
        result["capability"] = py::make_tuple(d.major, d.minor);
        result["multiprocessors"] = d.multiprocessors;
        result["memory_bytes"] = d.memory_bytes;
        result["driver"] = d.driver_version;
        result["runtime"] = d.runtime_version;
        return result;
      },
      py::arg("index"));
  m.def("copy_bandwidth", &mk::cuda::copy_bandwidth, py::arg("megabytes"), py::arg("repeats"),
        py::call_guard<py::gil_scoped_release>());
  m.def("fma_rate", &mk::cuda::fma_rate, py::arg("seconds"), py::call_guard<py::gil_scoped_release>());
  m.def("free_memory", &mk::cuda::free_memory, py::arg("device"), py::call_guard<py::gil_scoped_release>());

  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const mk::cuda::OutOfMemory& refused) {
      PyErr_SetString(PyExc_MemoryError, refused.message.c_str());
    }
  });

  py::module_ features = m.def_submodule("features");
  bind_features_cuda(features);
  py::module_ points = m.def_submodule("points");
  bind_points_cuda(points);
  bind_points_features_cuda(points);
  py::module_ regions = m.def_submodule("regions");
  bind_regions_cuda(regions);
  py::module_ topology = m.def_submodule("topology");
  bind_topology_cuda(topology);
}
