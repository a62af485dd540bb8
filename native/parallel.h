// Work shared by the caller and the threads of XLA's thread pool.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "xla/ffi/api/ffi.h"

namespace jaxcnn {

// Calls each(i) for all i below `count`, from several threads, and returns when all calls have returned. The caller
// works, too, and never waits for a thread to start: a thread that starts late finds no work left.
inline void parallel(xla::ffi::ThreadPool& threads, int64_t count, std::function<void(int64_t)> each) {
  struct State {
    std::function<void(int64_t)> each;
    int64_t count;
    std::atomic<int64_t> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable finished;

    void work() {
      for (int64_t i; (i = next.fetch_add(1)) < count;) {
        each(i);
        if (done.fetch_add(1) + 1 == count) {
          std::lock_guard<std::mutex> lock(mutex);
          finished.notify_all();
        }
      }
    }
  };
  auto state = std::make_shared<State>();
  state->each = std::move(each);
  state->count = count;
  const int64_t helpers = std::min(threads.num_threads(), count) - 1;
  for (int64_t i = 0; i < helpers; ++i) threads.Schedule([state] { state->work(); });
  state->work();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->finished.wait(lock, [&] { return state->done.load() == count; });
}

}  // namespace jaxcnn
