// How a row of outputs reads rows of inputs: in blocks of neighboring outputs, whose inputs are loaded once for
// several taps.
#pragma once

#include <type_traits>
#include <vector>

#include "geometry.h"

namespace jaxcnn {

// Some neighboring taps of one row of the kernel, and the row of inputs that they read.
struct Line {
  const float* input;  // first pixel of the row
  int64_t shift;       // of the first of the taps, in pixels
  int64_t tap;         // its index among the kernel's taps
};

// What is known when a block is compiled: `Outputs` outputs, `Stride` pixels apart, meet `Taps` taps of a line,
// `Dilation` pixels apart. The pixels are `step` (below) apart, so that one tap at a time serves all other steps.
template <int Taps_, int Outputs_, int Stride_, int Dilation_>
struct Shape {
  static constexpr int Taps = Taps_, Outputs = Outputs_, Stride = Stride_, Dilation = Dilation_;
  static constexpr int Pixels = (Outputs - 1) * Stride + (Taps - 1) * Dilation + 1;

  // The output that reads pixel j at tap t, or -1.
  static constexpr int output(int j, int t) {
    const int from = j - t * Dilation;
    return from >= 0 && from % Stride == 0 && from / Stride < Outputs ? from / Stride : -1;
  }
};

// Returns pixel j of a line if all pixels are inside.
struct Inside {
  const float* const* first;
  int64_t step, row;
  const float* operator()(size_t line, int j) const { return first[line] + j * step; }
  const float* ahead(size_t line) const { return first[line] + row; }
};

// The same at an end, where pixels outside are zero.
struct AtAnEnd {
  const float* const* pixels;
  int64_t count;
  const float* operator()(size_t line, int j) const { return pixels[line * count + j]; }
  const float* ahead(size_t line) const { return pixels[line * count]; }
};

// Calls body(at, o, done) for blocks of outputs from o on; the first `done` outputs of the last block were already
// computed by the block before, which it overlaps. `at` is Inside only if there are none of these.
template <typename S, typename Body>
inline void every_block(const std::vector<Line>& lines, const Axis& columns, int64_t row_stride, int64_t step,
                        int64_t c, const float* zeros, Body body) {
  int64_t reach = 0;
  for (const Line& line : lines) reach = std::max(reach, line.shift);
  reach += (S::Pixels - 1) * step;
  std::vector<const float*> first(lines.size()), pixels(lines.size() * S::Pixels);
  for (int64_t block = 0; block < columns.outputs; block += S::Outputs) {
    const int64_t o = std::min(block, columns.outputs - S::Outputs), start = o * columns.stride - columns.padding;
    if (start >= 0 && start + reach < columns.inputs && o == block) {
      for (size_t l = 0; l < lines.size(); ++l) first[l] = lines[l].input + (start + lines[l].shift) * c;
      body(Inside{first.data(), step * c, row_stride * columns.inputs * c}, o, block - o);
    } else {
      for (size_t l = 0; l < lines.size(); ++l)
        for (int j = 0; j < S::Pixels; ++j) {
          const int64_t at = start + lines[l].shift + j * step;
          pixels[l * S::Pixels + j] = at < 0 || at >= columns.inputs ? zeros : lines[l].input + at * c;
        }
      body(AtAnEnd{pixels.data(), S::Pixels}, o, block - o);
    }
  }
}

// Lists the lines that one row of outputs reads, with each row of the kernel split into pieces of `taps` taps.
inline std::vector<Line> lines_of(const float* x, const Axis& rows, const Axis& columns, int64_t row, int64_t taps,
                                  int64_t c) {
  std::vector<Line> lines;
  for (int64_t t = 0; t < rows.taps; ++t)
    if (const int64_t at = rows.input(row, t); at >= 0)
      for (int64_t piece = 0; piece < columns.taps; piece += taps)
        lines.push_back({x + at * columns.inputs * c, piece * columns.dilation, t * columns.taps + piece});
  return lines;
}

// Calls body(Shape{}, step) with the best shape for a row.
template <typename Body>
inline void choose_shape(const Axis& columns, Body body) {
  const int64_t stride = columns.stride, dilation = columns.dilation;
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<int, 2> two;
  auto sized = [&](auto taps, auto apart, auto dilated, int64_t step) {
    constexpr int T = decltype(taps)::value, S = decltype(apart)::value, D = decltype(dilated)::value;
    if (columns.outputs >= 8) return body(Shape<T, 8, S, D>{}, step);
    if (columns.outputs >= 4) return body(Shape<T, 4, S, D>{}, step);
    return body(Shape<1, 1, 1, 1>{}, stride);
  };
  auto dividing = [&](auto apart, auto dilated) {
    if (columns.taps % 7 == 0) return sized(std::integral_constant<int, 7>{}, apart, dilated, 1);
    if (columns.taps % 5 == 0) return sized(std::integral_constant<int, 5>{}, apart, dilated, 1);
    if (columns.taps % 3 == 0) return sized(std::integral_constant<int, 3>{}, apart, dilated, 1);
    return sized(one, one, one, stride);
  };
  if (stride == 1 && dilation == 1) return dividing(one, one);
  if (stride == 2 && dilation == 1) return dividing(two, one);
  if (stride == 1 && dilation == 2) return dividing(one, two);
  return sized(one, one, one, stride);
}

}  // namespace jaxcnn
