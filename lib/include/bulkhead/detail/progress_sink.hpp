/// @file
/// Where report_progress() goes.
#pragma once

#include <bulkhead/progress.hpp>

namespace bulkhead::detail {

/// Takes what any thread of a task reports.
class progress_sink {
public:
    virtual ~progress_sink() = default;
    virtual void report(task_progress now) noexcept = 0;
};

/// For tasks that run in a worker process: all its threads report to the task that runs there. Null: none.
void set_process_sink(progress_sink* sink) noexcept;

/// For tasks that run in a thread of their own: until its end this thread reports to `sink`.
class thread_sink {
public:
    explicit thread_sink(progress_sink& sink) noexcept;
    ~thread_sink();
    thread_sink(const thread_sink&) = delete;
    thread_sink& operator=(const thread_sink&) = delete;

private:
    progress_sink* before_;
};

}  // namespace bulkhead::detail
