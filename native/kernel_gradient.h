// The adjoint of a convolution in its kernel, channels last: inputs times g, summed for every tap.
#pragma once

#include "windows.h"

namespace jaxcnn {

// One vector of channels of a block of outputs, whose g stays in registers during the loop over the lines.
template <typename S, bool Repeats, typename At, typename Of>
inline void gradient_vector(At at, Of of, const std::vector<Line>& lines, float* kernel, int64_t i, int64_t c,
                            const int32_t* from) {
  Vector g[S::Outputs];
#pragma GCC unroll 8
  for (int o = 0; o < S::Outputs; ++o) g[o] = load(of(0, o) + i);
  for (size_t line = 0; line < lines.size(); ++line) {
    Vector sum[S::Taps] = {};
#pragma GCC unroll 32
    for (int j = 0; j < S::Pixels; ++j) {
      const Vector x = load_channels<Repeats>(at(line, j), from, i);
#pragma GCC unroll 8
      for (int t = 0; t < S::Taps; ++t)
        if (const int o = S::output(j, t); o >= 0) sum[t] += x * g[o];
    }
    float* to = kernel + lines[line].tap * c + i;
#pragma GCC unroll 8
    for (int t = 0; t < S::Taps; ++t) store(to + t * c, load(to + t * c) + sum[t]);
  }
}

// All channels of a block of outputs. Prefetches the rows below.
template <typename S, bool Repeats, typename At, typename Of>
inline void gradient_block(At at, Of of, const std::vector<Line>& lines, float* kernel, int64_t c, const int32_t* from) {
  const size_t last = lines.size() - 1;
  int64_t i = 0;
  for (; i + 2 * kLanes <= c; i += 2 * kLanes) {
    for (int o = 0; o < S::Outputs * S::Stride; ++o)
      __builtin_prefetch(at.ahead(last) + i * S::Outputs * S::Stride + o * 2 * kLanes);
    for (int o = 0; o < S::Outputs; ++o) __builtin_prefetch(of.ahead(0) + i * S::Outputs + o * 2 * kLanes);
    gradient_vector<S, Repeats>(at, of, lines, kernel, i, c, from);
    gradient_vector<S, Repeats>(at, of, lines, kernel, i + kLanes, c, from);
  }
  for (; i + kLanes <= c; i += kLanes) gradient_vector<S, Repeats>(at, of, lines, kernel, i, c, from);
  for (; i < c; ++i)
    for (size_t line = 0; line <= last; ++line)
      for (int t = 0; t < S::Taps; ++t) {
        float sum = 0;
        for (int o = 0; o < S::Outputs; ++o) sum += at(line, o * S::Stride + t * S::Dilation)[Repeats ? from[i] : i] * of(0, o)[i];
        kernel[(lines[line].tap + t) * c + i] += sum;
      }
}

// Adds the contribution of one row of g: x (h, w, pixel), g (w_out, c), kernel (kh, kw, c), c zeros.
template <bool Repeats>
inline void kernel_gradient_row(const float* x, const float* g, float* kernel, const Axis& rows, const Axis& columns,
                                int64_t row, int64_t c, int64_t pixel, const int32_t* from, const float* zeros) {
  choose_shape(columns, [&](auto shape, int64_t step) {
    using S = decltype(shape);
    const std::vector<Line> lines = lines_of(x, rows, columns, row, S::Taps, pixel);
    if (lines.empty()) return;
    every_block<S>(lines, columns, rows.stride, step, pixel, zeros, [&](auto at, int64_t o, int64_t done) {
      const float *first = g + o * c, *left[S::Outputs];
      if constexpr (std::is_same_v<decltype(at), Inside>) {
        gradient_block<S, Repeats>(at, Inside{&first, c, columns.outputs * c}, lines, kernel, c, from);
      } else {
        for (int j = 0; j < S::Outputs; ++j) left[j] = j < done ? zeros : first + j * c;
        gradient_block<S, Repeats>(at, AtAnEnd{left, S::Outputs}, lines, kernel, c, from);
      }
    });
  });
}

}  // namespace jaxcnn
