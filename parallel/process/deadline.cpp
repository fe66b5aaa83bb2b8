#include "parallel/process/deadline.h"

#include <pthread.h>

#include <chrono>
#include <utility>

namespace parallel {

Deadline::Deadline(double seconds, const char* name, std::function<void()> late)
    : thread_([this, seconds, late = std::move(late)] {
        std::unique_lock lock(mutex_);
        if (over_changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return over_; })) return;
        lock.unlock();
        late();
      }) {
  pthread_setname_np(thread_.native_handle(), name);
}

Deadline::~Deadline() {
  {
    std::lock_guard lock(mutex_);
    over_ = true;
  }
  over_changed_.notify_one();
  thread_.join();
}

}  // namespace parallel
