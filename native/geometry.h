// Used by all kernels: vectors of 8 floats, and one axis of a convolution.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace jaxcnn {

using Vector = float __attribute__((vector_size(32)));
constexpr int64_t kLanes = 8;

inline Vector load(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Channels i to i + 7 of a pixel; with `Repeats`, output channel i reads channel from[i] of the pixel.
template <bool Repeats>
inline Vector load_channels(const float* p, const int32_t* from, int64_t i) {
  if constexpr (!Repeats) return load(p + i);
  Vector v;
  for (int lane = 0; lane < kLanes; ++lane) v[lane] = p[from[i + lane]];
  return v;
}

// Writes to memory; with `Streams` it bypasses the cache, if the processor supports that. p must then be aligned.
template <bool Streams = false>
inline void store(float* p, Vector v) {
#ifdef __AVX__
  if (Streams) return __builtin_ia32_movntps256(p, v);
#endif
  std::memcpy(p, &v, sizeof v);
}

// Along one axis output o reads, at tap t, the input at (o * stride + t * dilation - padding) / gap, if that is an
// integer and inside. A convolution has gap 1, its adjoint in the input has stride 1.
struct Axis {
  int64_t inputs, taps, outputs, stride, dilation, padding, gap;

  // The input of output o at tap t, or -1.
  int64_t input(int64_t o, int64_t t) const {
    const int64_t at = o * stride + t * dilation - padding;
    return at < 0 || at % gap != 0 || at / gap >= inputs ? -1 : at / gap;
  }
};

}  // namespace jaxcnn
