// Sums of shifted rows times taps, channels last: the convolution, and its adjoint in the input.
#pragma once

#include "windows.h"

namespace jaxcnn {

// One vector of channels of a block of outputs, which stay in registers during the loop over the lines.
template <typename S, bool Repeats, typename At>
inline void correlate_vector(At at, const std::vector<Line>& lines, const float* kernel, Vector* y, int64_t i,
                             int64_t c, const int32_t* from) {
  Vector sum[S::Outputs] = {};
  for (size_t line = 0; line < lines.size(); ++line) {
    const float* weights = kernel + lines[line].tap * c + i;
    Vector w[S::Taps];
#pragma GCC unroll 8
    for (int t = 0; t < S::Taps; ++t) w[t] = load(weights + t * c);
#pragma GCC unroll 32
    for (int j = 0; j < S::Pixels; ++j) {
      const Vector x = load_channels<Repeats>(at(line, j), from, i);
#pragma GCC unroll 8
      for (int t = 0; t < S::Taps; ++t)
        if (const int o = S::output(j, t); o >= 0) sum[o] += x * w[t];
    }
  }
#pragma GCC unroll 8
  for (int o = 0; o < S::Outputs; ++o) y[o] = sum[o];
}

// All channels of a block of outputs. Prefetches the row of inputs below and the next block of outputs.
template <typename S, bool Streams, bool Repeats, typename At>
inline void correlate_block(At at, const std::vector<Line>& lines, const float* kernel, float* y, int64_t c,
                            const int32_t* from) {
  const size_t last = lines.size() - 1;
  int64_t i = 0;
  for (; i + 2 * kLanes <= c; i += 2 * kLanes) {
    for (int o = 0; o < S::Outputs * S::Stride; ++o)
      __builtin_prefetch(at.ahead(last) + i * S::Outputs * S::Stride + o * 2 * kLanes);
    if (!Streams)
      for (int o = 0; o < S::Outputs; ++o)
        __builtin_prefetch(y + S::Outputs * c + i * S::Outputs + o * 2 * kLanes, 1);
    Vector sums[2][S::Outputs];
    for (int v = 0; v < 2; ++v) correlate_vector<S, Repeats>(at, lines, kernel, sums[v], i + v * kLanes, c, from);
    for (int o = 0; o < S::Outputs; ++o)  // a whole cache line at a time
      for (int v = 0; v < 2; ++v) store<Streams>(y + o * c + i + v * kLanes, sums[v][o]);
  }
  for (; i < c; ++i)
    for (int o = 0; o < S::Outputs; ++o) {
      float sum = 0;
      for (size_t line = 0; line <= last; ++line)
        for (int t = 0; t < S::Taps; ++t)
          sum += at(line, o * S::Stride + t * S::Dilation)[Repeats ? from[i] : i] * kernel[(lines[line].tap + t) * c + i];
      y[o * c + i] = sum;
    }
}

// One tap that reaches an output of an adjoint with strides: its input and its weights.
struct Tap {
  const float *x, *weights;
};

// One output of an adjoint with strides: y (c).
template <bool Streams>
inline void correlate_taps(const std::vector<Tap>& taps, float* y, int64_t c) {
  int64_t i = 0;
  for (; i + 2 * kLanes <= c; i += 2 * kLanes) {
    Vector sum[2] = {};
    for (const Tap& tap : taps)
      for (int v = 0; v < 2; ++v) sum[v] += load(tap.x + i + v * kLanes) * load(tap.weights + i + v * kLanes);
    for (int v = 0; v < 2; ++v) store<Streams>(y + i + v * kLanes, sum[v]);
  }
  for (; i < c; ++i) {
    float sum = 0;
    for (const Tap& tap : taps) sum += tap.x[i] * tap.weights[i];
    y[i] = sum;
  }
}

// One row of outputs of one image: x (h, w, pixel), kernel (kh, kw, c), y (w_out, c), c zeros. `Streams` writes past
// the cache. With gaps pixel is c.
template <bool Streams, bool Repeats>
inline void correlate_row(const float* x, const float* kernel, float* y, const Axis& rows, const Axis& columns,
                          int64_t row, int64_t c, int64_t pixel, const int32_t* from, const float* zeros) {
  if (columns.gap > 1) {
    const std::vector<Line> lines = lines_of(x, rows, columns, row, columns.taps, c);
    std::vector<Tap> taps;
    for (int64_t o = 0; o < columns.outputs; ++o) {
      taps.clear();
      for (const Line& line : lines)
        for (int64_t t = 0; t < columns.taps; ++t)
          if (const int64_t at = columns.input(o, t); at >= 0)
            taps.push_back({line.input + at * c, kernel + (line.tap + t) * c});
      correlate_taps<Streams>(taps, y + o * c, c);
    }
    return;
  }
  choose_shape(columns, [&](auto shape, int64_t step) {
    using S = decltype(shape);
    const std::vector<Line> lines = lines_of(x, rows, columns, row, S::Taps, pixel);
    if (lines.empty()) return std::fill(y, y + columns.outputs * c, 0.0f);
    constexpr bool streams = Streams && S::Outputs == 8;  // short rows do not occur in large results
    every_block<S>(lines, columns, rows.stride, step, pixel, zeros, [&](auto at, int64_t o, int64_t) {
      correlate_block<S, streams, Repeats>(at, lines, kernel, y + o * c, c, from);
    });
  });
}

}  // namespace jaxcnn
