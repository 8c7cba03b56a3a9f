// Which task a report of progress is about.
#include <bulkhead/detail/progress_sink.hpp>

#include <atomic>
#include <utility>

namespace bulkhead::detail {
namespace {

std::atomic<progress_sink*> of_process{nullptr};
thread_local progress_sink* of_thread = nullptr;

}  // namespace

void set_process_sink(progress_sink* sink) noexcept {
    of_process.store(sink, std::memory_order_release);
}

thread_sink::thread_sink(progress_sink& sink) noexcept : before_(std::exchange(of_thread, &sink)) {}

thread_sink::~thread_sink() { of_thread = before_; }

void report_progress_of_task(task_progress now) noexcept {
    if (of_thread != nullptr) {
        of_thread->report(now);
    } else if (auto* sink = of_process.load(std::memory_order_acquire)) {
        sink->report(now);
    }
}

}  // namespace bulkhead::detail
