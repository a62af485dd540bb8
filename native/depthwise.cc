// Depthwise convolution of float32 arrays, channels last, and its adjoints, as calls that XLA makes.
//
// x (n, h, w, c), kernel (kh, kw, c), y and g (n, h_out, w_out, c). Results do not depend on the number of threads.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <vector>

#include "correlate.h"
#include "geometry.h"
#include "kernel_gradient.h"
#include "parallel.h"

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::F32>;
using Result = ffi::Result<Floats>;
using Numbers = ffi::Span<const int64_t>;

namespace jaxcnn {
namespace {

constexpr int64_t kShares = 8;  // of the rows, for every thread
constexpr int64_t kPieces = 32;  // into which the kernel's gradient is divided, and then added in their order
constexpr size_t kStreamedBytes = size_t{8} << 20;  // results this large are written past the cache

Axis axis(int i, int64_t inputs, int64_t taps, int64_t outputs, Numbers strides, Numbers dilation, Numbers padding,
          Numbers gaps) {
  return {inputs, taps, outputs, strides[i], dilation[i], padding[i], gaps[i]};
}

bool fits(const Floats& a, const Floats& b, const Floats& c, int64_t rank_of_b, int64_t rank_of_c) {
  return a.dimensions().size() == 4 && b.dimensions().size() == rank_of_b && c.dimensions().size() == rank_of_c &&
         a.dimensions().back() == b.dimensions().back() && a.dimensions().back() == c.dimensions().back();
}

ffi::Error Correlate(ffi::ThreadPool threads, Floats x, Floats kernel, Result y, Numbers strides, Numbers dilation,
                     Numbers padding, Numbers gaps) {
  if (!fits(x, kernel, *y, 3, 4)) return ffi::Error::InvalidArgument("jaxcnn_correlate: ranks or channels differ.");
  const auto from = x.dimensions(), to = y->dimensions(), taps = kernel.dimensions();
  const Axis rows = axis(0, from[1], taps[0], to[1], strides, dilation, padding, gaps);
  const Axis columns = axis(1, from[2], taps[1], to[2], strides, dilation, padding, gaps);
  const int64_t c = from[3], image = from[1] * from[2] * c, row = to[2] * c;
  const int64_t lines = to[0] * to[1];
  const int64_t piece = (lines + kShares * threads.num_threads() - 1) / (kShares * threads.num_threads());
  const float *in = x.typed_data(), *weights = kernel.typed_data();
  float* out = y->typed_data();
  const std::vector<float> nothing(c);
  const float* zeros = nothing.data();
  const bool streams = y->size_bytes() >= kStreamedBytes && c % (2 * kLanes) == 0 && reinterpret_cast<uintptr_t>(out) % 32 == 0;
  const auto correlate_one = streams ? correlate_row<true> : correlate_row<false>;
  parallel(threads, lines == 0 ? 0 : (lines + piece - 1) / piece, [=](int64_t p) {
    for (int64_t l = p * piece; l < std::min(lines, (p + 1) * piece); ++l)
      correlate_one(in + l / rows.outputs * image, weights, out + l * row, rows, columns, l % rows.outputs, c, zeros);
  });
  return ffi::Error::Success();
}

ffi::Error KernelGradient(ffi::ThreadPool threads, Floats x, Floats g, Result kernel, Numbers strides,
                          Numbers dilation, Numbers padding) {
  if (!fits(x, g, *kernel, 4, 3))
    return ffi::Error::InvalidArgument("jaxcnn_kernel_gradient: ranks or channels differ.");
  const auto from = x.dimensions(), to = g.dimensions(), taps = kernel->dimensions();
  const int64_t one[2] = {1, 1};
  const Numbers gaps(one, 2);
  const Axis rows = axis(0, from[1], taps[0], to[1], strides, dilation, padding, gaps);
  const Axis columns = axis(1, from[2], taps[1], to[2], strides, dilation, padding, gaps);
  const int64_t c = from[3], image = from[1] * from[2] * c, row = to[2] * c;
  const int64_t lines = to[0] * to[1], size = taps[0] * taps[1] * c, pieces = std::min(kPieces, lines);
  const float *in = x.typed_data(), *cotangent = g.typed_data();
  float* out = kernel->typed_data();
  std::vector<float> sums(pieces * size), nothing(c);
  float* partial = sums.data();
  const float* zeros = nothing.data();
  parallel(threads, pieces, [=](int64_t p) {
    for (int64_t l = p * lines / pieces; l < (p + 1) * lines / pieces; ++l)
      kernel_gradient_row(in + l / rows.outputs * image, cotangent + l * row, partial + p * size, rows, columns,
                          l % rows.outputs, c, zeros);
  });
  std::fill(out, out + size, 0.0f);
  for (int64_t p = 0; p < pieces; ++p)
    for (int64_t i = 0; i < size; ++i) out[i] += partial[p * size + i];
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(correlate, Correlate,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Ret<Floats>()
                           .Attr<Numbers>("strides")
                           .Attr<Numbers>("dilation")
                           .Attr<Numbers>("padding")
                           .Attr<Numbers>("gaps"));

XLA_FFI_DEFINE_HANDLER(kernel_gradient, KernelGradient,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<Floats>()
                           .Arg<Floats>()
                           .Ret<Floats>()
                           .Attr<Numbers>("strides")
                           .Attr<Numbers>("dilation")
                           .Attr<Numbers>("padding"));

template <typename Handler>
PyObject* capsule(Handler* handler) {
  return PyCapsule_New(reinterpret_cast<void*>(handler), nullptr, nullptr);
}

// Gives the handlers, by name.
PyObject* handlers(PyObject*, PyObject*) {
  return Py_BuildValue("{s:N,s:N}", "jaxcnn_correlate", capsule(correlate), "jaxcnn_kernel_gradient",
                       capsule(kernel_gradient));
}

PyMethodDef methods[] = {{"handlers", handlers, METH_NOARGS, "Gives the handlers for jax.ffi, by name."},
                         {nullptr, nullptr, 0, nullptr}};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, methods};

}  // namespace
}  // namespace jaxcnn

PyMODINIT_FUNC PyInit__kernels() { return PyModule_Create(&jaxcnn::module); }
