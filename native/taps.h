// The two adjoints of a weighted sum of neighboring pixels, for every interpolation of jaxcnn.ops.grid_sample. The sum
// itself is left to XLA, which fuses it with the computation of the weights into one loop.
//
// pixels (images, n, c), weights (points, t), first (points), g (points, c). Points come in groups of equal length, each
// with its own image or one shared with others. A point reads, from pixel `first` of its image on, `rows` at fixed
// distances, `width` consecutive pixels each; pixels of weight zero are skipped. Results do not depend on the
// number of threads: a pixel's sum is computed by one thread, in the order of the points.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "geometry.h"
#include "parallel.h"

namespace jaxcnn {

using Integers = xla::ffi::Buffer<xla::ffi::S32>;

constexpr int64_t kPoints = 1024;  // that a thread processes at a time

struct Taps {
  std::vector<int64_t> offsets;  // of every tap, from the first, in pixels
  std::vector<int64_t> images;   // of every group of points
  int64_t points, pixels;        // of a group, of an image

  Taps(xla::ffi::Span<const int64_t> rows, int64_t width, xla::ffi::Span<const int64_t> groups,
       xla::ffi::Span<const int64_t> own, int64_t all_points, int64_t pixels)
      : pixels(pixels) {
    for (int64_t row : rows)
      for (int64_t i = 0; i < width; ++i) offsets.push_back(row + i);
    int64_t count = 1;
    for (int64_t n : groups) count *= n;
    points = all_points / std::max<int64_t>(1, count);
    for (int64_t g = 0; g < count; ++g) {
      int64_t image = 0, rest = g, stride = count;
      for (size_t axis = 0; axis < groups.size(); ++axis) {
        stride /= groups[axis];
        if (own[axis]) image = image * groups[axis] + rest / stride;
        rest %= stride;
      }
      images.push_back(image);
    }
  }
};

// Loops over channels: whole vectors, then the rest one by one. A count known at compile time is unrolled.
template <int C, typename VectorOp, typename Op>
inline void channels(int64_t c, VectorOp vector, Op one) {
  if constexpr (C > 0) {
    for (int i = 0; i < C; ++i) one(i);
  } else {
    int64_t i = 0;
    for (; i + kLanes <= c; i += kLanes) vector(i);
    for (; i < c; ++i) one(i);
  }
}

// For C channels and T taps that are compile-time constants; 0 stands for any number. Points lie in one group.
template <int C, int T>
void weigh_points(const Taps& taps, const float* image, const float* g, const int32_t* first, float* weights,
                  int64_t channel_count, int64_t from, int64_t to) {
  const int64_t c = C > 0 ? C : channel_count, t = T > 0 ? T : taps.offsets.size();
  const int64_t* offsets = taps.offsets.data();
  for (int64_t q = from; q < to; ++q) {
    const float *start = image + first[q] * c, *value = g + q * c;
    for (int64_t k = 0; k < t; ++k) {
      const float* pixel = start + offsets[k] * c;
      float sum = 0;
      Vector lanes = {};
      channels<C>(
          c, [&](int64_t i) { lanes += load(pixel + i) * load(value + i); },
          [&](int64_t i) { sum += pixel[i] * value[i]; });
      if constexpr (C == 0)
        for (int i = 0; i < kLanes; ++i) sum += lanes[i];
      weights[q * t + k] = sum;
    }
  }
}

// Only channels [low, high).
template <int C, int T>
void add_points(const Taps& taps, const float* g, const float* weights, const int32_t* first, float* image,
                int64_t channel_count, int64_t low, int64_t high, int64_t from, int64_t to) {
  const int64_t c = C > 0 ? C : channel_count, t = T > 0 ? T : taps.offsets.size();
  const int64_t* offsets = taps.offsets.data();
  for (int64_t q = from; q < to; ++q) {
    const float *value = g + q * c + low, *weight = weights + q * t;
    float* start = image + first[q] * c + low;
    for (int64_t k = 0; k < t; ++k) {
      const float w = weight[k];
      float* pixel = start + offsets[k] * c;
      if (w != 0)
        channels<C>(
            high - low, [&](int64_t i) { store(pixel + i, load(pixel + i) + w * load(value + i)); },
            [&](int64_t i) { pixel[i] += w * value[i]; });
    }
  }
}

// Calls f with the numbers of channels and taps as constants if they are small or common, else 0.
template <typename F>
void with_constants(int64_t c, size_t t, F f) {
  const auto with_taps = [&](auto channels) {
    if (t == 4) return f(channels, std::integral_constant<int, 4>());
    if (t == 8) return f(channels, std::integral_constant<int, 8>());
    return f(channels, std::integral_constant<int, 0>());
  };
  switch (c) {
    case 1: return with_taps(std::integral_constant<int, 1>());
    case 2: return with_taps(std::integral_constant<int, 2>());
    case 3: return with_taps(std::integral_constant<int, 3>());
    case 4: return with_taps(std::integral_constant<int, 4>());
    default: return with_taps(std::integral_constant<int, 0>());
  }
}

inline xla::ffi::Error TapsToWeights(xla::ffi::ThreadPool threads, xla::ffi::Buffer<xla::ffi::F32> pixels,
                                     xla::ffi::Buffer<xla::ffi::F32> g, Integers first,
                                     xla::ffi::Result<xla::ffi::Buffer<xla::ffi::F32>> weights,
                                     xla::ffi::Span<const int64_t> rows, int64_t width,
                                     xla::ffi::Span<const int64_t> groups, xla::ffi::Span<const int64_t> own) {
  const int64_t c = pixels.dimensions()[2];
  const Taps taps(rows, width, groups, own, first.dimensions()[0], pixels.dimensions()[1]);
  const float *in = pixels.typed_data(), *value = g.typed_data();
  const int32_t* at = first.typed_data();
  float* out = weights->typed_data();
  const int64_t pieces = std::max<int64_t>(1, (taps.points + kPoints - 1) / kPoints);  // of a group
  with_constants(c, taps.offsets.size(), [&](auto known, auto count) {
    parallel(threads, static_cast<int64_t>(taps.images.size()) * pieces, [&](int64_t p) {
      const int64_t group = p / pieces, start = group * taps.points, from = p % pieces * kPoints;
      const float* image = in + taps.images[group] * taps.pixels * c;
      weigh_points<decltype(known)::value, decltype(count)::value>(
          taps, image, value, at, out, c, start + from, start + std::min(taps.points, from + kPoints));
    });
  });
  return xla::ffi::Error::Success();
}

inline xla::ffi::Error TapsToPixels(xla::ffi::ThreadPool threads, xla::ffi::Buffer<xla::ffi::F32> g,
                                    xla::ffi::Buffer<xla::ffi::F32> weights, Integers first,
                                    xla::ffi::Result<xla::ffi::Buffer<xla::ffi::F32>> pixels,
                                    xla::ffi::Span<const int64_t> rows, int64_t width,
                                    xla::ffi::Span<const int64_t> groups, xla::ffi::Span<const int64_t> own) {
  const auto to = pixels->dimensions();
  const int64_t images = to[0], c = to[2], size = to[1] * c;
  const Taps taps(rows, width, groups, own, first.dimensions()[0], to[1]);
  const float *value = g.typed_data(), *w = weights.typed_data();
  const int32_t* at = first.typed_data();
  float* out = pixels->typed_data();
  std::vector<std::vector<int64_t>> members(images);
  for (size_t group = 0; group < taps.images.size(); ++group) members[taps.images[group]].push_back(group);
  // Channels are split among threads only if there are more threads than images, and in whole vectors.
  const int64_t vectors = (c + kLanes - 1) / kLanes;
  const int64_t wanted = (threads.num_threads() + images - 1) / std::max<int64_t>(1, images);
  const int64_t shares = std::max<int64_t>(1, std::min(vectors / 2, wanted));
  with_constants(c, taps.offsets.size(), [&](auto known, auto count) {
    parallel(threads, images * shares, [&](int64_t p) {
      const int64_t image = p / shares, share = p % shares;
      const int64_t low = share * vectors / shares * kLanes;
      const int64_t high = std::min(c, (share + 1) * vectors / shares * kLanes);
      float* start = out + image * size;
      if (shares == 1)
        std::fill(start, start + size, 0.0f);
      else
        for (int64_t i = 0; i < to[1]; ++i) std::fill(start + i * c + low, start + i * c + high, 0.0f);
      for (int64_t group : members[image])
        add_points<decltype(known)::value, decltype(count)::value>(
            taps, value, w, at, start, c, shares == 1 ? 0 : low, shares == 1 ? c : high, group * taps.points,
            (group + 1) * taps.points);
    });
  });
  return xla::ffi::Error::Success();
}

#define JAXCNN_TAPS_HANDLER(name, function)                                \
  XLA_FFI_DEFINE_HANDLER(name, function,                                   \
                         xla::ffi::Ffi::Bind()                             \
                             .Ctx<xla::ffi::ThreadPool>()                  \
                             .Arg<xla::ffi::Buffer<xla::ffi::F32>>()       \
                             .Arg<xla::ffi::Buffer<xla::ffi::F32>>()       \
                             .Arg<Integers>()                              \
                             .Ret<xla::ffi::Buffer<xla::ffi::F32>>()       \
                             .Attr<xla::ffi::Span<const int64_t>>("rows")  \
                             .Attr<int64_t>("width")                       \
                             .Attr<xla::ffi::Span<const int64_t>>("groups") \
                             .Attr<xla::ffi::Span<const int64_t>>("own"))

}  // namespace jaxcnn
