// A named queue as a stream that ends: with the last of its writers.
//
// A writer holds flock(LOCK_SH) on the queue's descriptor, and trades it at its end for LOCK_EX: who
// gets that was the last one, and closes the queue; not sooner than 100 ms after its start, so that
// writers that are started together share a stream. One that comes while the readers have yet to take
// what is there opens the queue again. The kernel drops the lock of a writer that is killed. A reader
// that finds the queue empty and open tries LOCK_EX too: if it gets it although writers have been there,
// they have all ended, and it closes the queue in their place; the counts of writers started and ended
// tell whether all of them reached the end of their input.
#pragma once

#include "stream_options.hpp"

#include <bulkhead/detail/queue_core.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace bulkhead::tools {

/// How long a wait lasts before signals, timeouts and writers' deaths are looked at again.
inline constexpr std::chrono::milliseconds look_around_interval{100};

/// Counts the time without a message.
class idle_timer {
public:
    explicit idle_timer(std::optional<std::chrono::milliseconds> limit) : limit_(limit) {}
    void reset() noexcept { since_ = clock::now(); }
    [[nodiscard]] std::chrono::steady_clock::duration elapsed() const noexcept {
        return clock::now() - since_;
    }
    /// Throws std::runtime_error after the limit, stopped after a signal. `waited_for`: "room in".
    void check(const char* waited_for, const std::string& queue) const;
    /// Until when the next wait may last.
    [[nodiscard]] detail::deadline next() const;

private:
    using clock = std::chrono::steady_clock;
    std::optional<std::chrono::milliseconds> limit_;
    clock::time_point since_ = clock::now();
};

/// Where a writer's messages go.
class message_sink {
public:
    virtual ~message_sink() = default;
    [[nodiscard]] virtual std::size_t message_bytes_max() const = 0;
    /// As queue_core::put_several(): how many have been put, 0 when there was no room in time.
    virtual std::size_t put(std::span<const std::span<const std::byte>> messages,
                            detail::deadline until) = 0;
    /// The end of the input has come. Without it, readers are told that something is missing.
    virtual void finish() {}
};

/// Where a reader's messages come from.
class message_source {
public:
    using received = detail::queue_core::received;

    virtual ~message_source() = default;
    /// As queue_core::get_several().
    virtual received take(detail::byte_sink to, std::size_t count_max, detail::deadline until,
                          std::size_t& count) = 0;
    /// Whether it has taken a message that take() has not given yet.
    [[nodiscard]] virtual bool holds_one() const { return false; }
    /// Now and then while there is no message.
    virtual void look_around() {}
    /// After nothing_ever_more. What is wrong with the stream that has ended, "" when nothing is.
    [[nodiscard]] virtual std::string finish() { return {}; }
    /// After finish(): waits for another stream of that name.
    virtual void await_next(const idle_timer& /*idle*/) {}
};

/// The two for a queue of this library's.
[[nodiscard]] std::unique_ptr<message_sink> open_sink(const stream_options& options);
[[nodiscard]] std::unique_ptr<message_source> open_source(const stream_options& options);

/// Flushes std::cout. Throws stopped (SIGPIPE) when nobody reads it any more, std::runtime_error when it cannot be
/// written else.
void flush_standard_output();

/// Runs a program's body, flushes std::cout, and turns what these throw into a sentence on stderr and an exit code.
int run_program(const char* name, const std::function<void()>& body);

}  // namespace bulkhead::tools
