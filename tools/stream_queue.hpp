// A named queue as a stream that ends: with the last of its writers.
//
// A writer holds flock(LOCK_SH) on the queue's descriptor, and trades it at its end for LOCK_EX: who
// gets that was the last one, and closes the queue. The kernel drops the lock of a writer that is
// killed. A reader that finds the queue empty and open tries LOCK_EX too: if it gets it although
// writers have been there, they have all ended, and it closes the queue in their place; the counts
// of writers started and ended tell whether all of them reached their end.
#pragma once

#include "stream_options.hpp"

#include <bulkhead/detail/queue_core.hpp>

#include <chrono>
#include <functional>

namespace bulkhead::tools {

/// How long a wait lasts before signals, timeouts and writers' deaths are looked at again.
inline constexpr std::chrono::milliseconds look_around_interval{100};

/// Counts the time without a message.
class idle_timer {
public:
    explicit idle_timer(std::optional<std::chrono::milliseconds> limit) : limit_(limit) {}
    void reset() noexcept { since_ = clock::now(); }
    /// Throws std::runtime_error after the limit, stopped after a signal. `waited_for`: "room in".
    void check(const char* waited_for, const std::string& queue) const;
    /// Until when the next wait may last.
    [[nodiscard]] detail::deadline next() const;

private:
    using clock = std::chrono::steady_clock;
    std::optional<std::chrono::milliseconds> limit_;
    clock::time_point since_ = clock::now();
};

/// One writer's part. Its end, however it comes about, ends the stream if it is the last one's.
class writer_end {
public:
    /// Opens or makes the queue. One that an earlier stream has closed is left to its readers, then
    /// replaced.
    explicit writer_end(const stream_options& options);
    ~writer_end();
    writer_end(const writer_end&) = delete;
    writer_end& operator=(const writer_end&) = delete;

    [[nodiscard]] const detail::queue_core& queue() const noexcept { return *queue_; }

private:
    std::optional<detail::queue_core> queue_;
};

/// A reader's part.
class reader_end {
public:
    explicit reader_end(const stream_options& options);

    [[nodiscard]] const detail::queue_core& queue() const noexcept { return queue_; }
    /// While the queue is empty: closes it if there were writers and none is left.
    void close_if_abandoned() const;
    /// Once closed and drained: removes the queue unless somebody asked to keep it. Throws
    /// std::runtime_error if a writer died before its end.
    void finish() const;

private:
    std::string name_;
    bool keep_;
    detail::queue_core queue_;
};

/// Runs a program's body and turns what it throws into a sentence on stderr and an exit code.
int run_program(const char* name, const std::function<void()>& body);

}  // namespace bulkhead::tools
