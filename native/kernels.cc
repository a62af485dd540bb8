// Depthwise convolution of float32 arrays, channels last, and its adjoints, as custom calls of XLA; and the table of all
// kernels of this module, including those of taps.h.
//
// x (images, h, w, c / m), kernel (members, kh, kw, c), y and g (members * n, h_out, w_out, c): every member has its own n
// images, or all members share the same n; channel i of x yields channels i * m and following. Results do not depend on
// the number of threads.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <vector>

#include "correlate.h"
#include "geometry.h"
#include "kernel_gradient.h"
#include "parallel.h"
#include "taps.h"

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::F32>;
using Result = ffi::Result<Floats>;
using Numbers = ffi::Span<const int64_t>;

namespace jaxcnn {
namespace {

constexpr int64_t kShares = 8;  // of the rows per thread
constexpr int64_t kPieces = 32;  // of the sum for the kernel's gradient, which are added in a fixed order
constexpr size_t kStreamedBytes = size_t{8} << 20;  // results of at least this size bypass the cache

Axis axis(int i, int64_t inputs, int64_t taps, int64_t outputs, Numbers strides, Numbers dilation, Numbers padding,
          Numbers gaps) {
  return {inputs, taps, outputs, strides[i], dilation[i], padding[i], gaps[i]};
}

// Which image of x belongs to an image of y, and which member's kernel to both.
struct Members {
  int64_t n, images;
  int64_t image(int64_t i) const { return images == n ? i % n : i; }
  int64_t member(int64_t i) const { return i / n; }
};

bool fits(const Floats& x, const Floats& kernel, const Floats& y) {
  if (x.dimensions().size() != 4 || kernel.dimensions().size() != 4 || y.dimensions().size() != 4) return false;
  const int64_t c = y.dimensions()[3], members = kernel.dimensions()[0], images = y.dimensions()[0];
  const bool channels = kernel.dimensions()[3] == c && x.dimensions()[3] > 0 && c % x.dimensions()[3] == 0;
  const int64_t own = x.dimensions()[0];
  return channels && members > 0 && images % members == 0 && (own == images || own == images / members);
}

// Which channel of a pixel each of c channels reads.
std::vector<int32_t> repeated(int64_t c, int64_t pixel) {
  std::vector<int32_t> from(c);
  for (int64_t i = 0; i < c; ++i) from[i] = static_cast<int32_t>(i * pixel / c);
  return from;
}

ffi::Error Correlate(ffi::ThreadPool threads, Floats x, Floats kernel, Result y, Numbers strides, Numbers dilation,
                     Numbers padding, Numbers gaps) {
  if (!fits(x, kernel, *y)) return ffi::Error::InvalidArgument("jaxcnn_correlate: shapes do not fit.");
  const auto from = x.dimensions(), to = y->dimensions(), taps = kernel.dimensions();
  const Axis rows = axis(0, from[1], taps[1], to[1], strides, dilation, padding, gaps);
  const Axis columns = axis(1, from[2], taps[2], to[2], strides, dilation, padding, gaps);
  const Members members{to[0] / taps[0], from[0]};
  const int64_t c = to[3], pixel = from[3], size = taps[1] * taps[2] * c, row = to[2] * c;
  const int64_t image = from[1] * from[2] * pixel;
  if (pixel != c && (rows.gap > 1 || columns.gap > 1))
    return ffi::Error::InvalidArgument("jaxcnn_correlate: with gaps all arrays have the same channels.");
  const int64_t lines = to[0] * to[1], shares = kShares * threads.num_threads();
  const int64_t piece = std::max<int64_t>(1, (lines + shares - 1) / shares);
  const float *in = x.typed_data(), *weights = kernel.typed_data();
  float* out = y->typed_data();
  const std::vector<float> nothing(c);
  const float* zeros = nothing.data();
  const bool whole = c % (2 * kLanes) == 0 && reinterpret_cast<uintptr_t>(out) % sizeof(Vector) == 0;
  const bool streams = whole && y->size_bytes() >= kStreamedBytes;
  const auto correlate_one = pixel != c ? correlate_row<false, true>
                             : streams  ? correlate_row<true, false>
                                        : correlate_row<false, false>;
  const std::vector<int32_t> channels = repeated(c, pixel);
  const int32_t* origin = channels.data();
  parallel(threads, (lines + piece - 1) / piece, [=](int64_t p) {
    for (int64_t l = p * piece; l < std::min(lines, (p + 1) * piece); ++l) {
      const int64_t i = l / rows.outputs;
      correlate_one(in + members.image(i) * image, weights + members.member(i) * size, out + l * row, rows, columns,
                    l % rows.outputs, c, pixel, origin, zeros);
    }
  });
  return ffi::Error::Success();
}

ffi::Error KernelGradient(ffi::ThreadPool threads, Floats x, Floats g, Result kernel, Numbers strides,
                          Numbers dilation, Numbers padding) {
  if (!fits(x, *kernel, g)) return ffi::Error::InvalidArgument("jaxcnn_kernel_gradient: shapes do not fit.");
  const auto from = x.dimensions(), to = g.dimensions(), taps = kernel->dimensions();
  const int64_t one[2] = {1, 1};
  const Numbers gaps(one, 2);
  const Axis rows = axis(0, from[1], taps[1], to[1], strides, dilation, padding, gaps);
  const Axis columns = axis(1, from[2], taps[2], to[2], strides, dilation, padding, gaps);
  const Members members{to[0] / taps[0], from[0]};
  const int64_t c = to[3], pixel = from[3], size = taps[1] * taps[2] * c, row = to[2] * c;
  const int64_t image = from[1] * from[2] * pixel;
  const auto add_row = pixel == c ? kernel_gradient_row<false> : kernel_gradient_row<true>;
  const std::vector<int32_t> channels = repeated(c, pixel);
  const int32_t* origin = channels.data();
  const int64_t lines = members.n * to[1], pieces = std::min(kPieces, lines);  // of one member
  const float *in = x.typed_data(), *cotangent = g.typed_data();
  float* out = kernel->typed_data();
  std::vector<float> sums(taps[0] * pieces * size), nothing(c);
  float* partial = sums.data();
  const float* zeros = nothing.data();
  parallel(threads, taps[0] * pieces, [=](int64_t p) {
    const int64_t first = p / pieces * lines, within = p % pieces;
    for (int64_t l = first + within * lines / pieces; l < first + (within + 1) * lines / pieces; ++l)
      add_row(in + members.image(l / rows.outputs) * image, cotangent + l * row, partial + p * size, rows, columns,
              l % rows.outputs, c, pixel, origin, zeros);
  });
  std::fill(out, out + taps[0] * size, 0.0f);
  for (int64_t p = 0; p < taps[0] * pieces; ++p)
    for (int64_t i = 0; i < size; ++i) out[p / pieces * size + i] += partial[p * size + i];
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

JAXCNN_TAPS_HANDLER(taps_to_weights, TapsToWeights);
JAXCNN_TAPS_HANDLER(taps_to_pixels, TapsToPixels);

template <typename Handler>
PyObject* capsule(Handler* handler) {
  return PyCapsule_New(reinterpret_cast<void*>(handler), nullptr, nullptr);
}

// Returns the handlers by name.
PyObject* handlers(PyObject*, PyObject*) {
  return Py_BuildValue("{s:N,s:N,s:N,s:N}", "jaxcnn_correlate", capsule(correlate), "jaxcnn_kernel_gradient",
                       capsule(kernel_gradient), "jaxcnn_taps_to_weights", capsule(taps_to_weights),
                       "jaxcnn_taps_to_pixels", capsule(taps_to_pixels));
}

PyMethodDef methods[] = {{"handlers", handlers, METH_NOARGS, "Gives the handlers for jax.ffi, by name."},
                         {nullptr, nullptr, 0, nullptr}};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, methods};

}  // namespace
}  // namespace jaxcnn

PyMODINIT_FUNC PyInit__kernels() { return PyModule_Create(&jaxcnn::module); }
