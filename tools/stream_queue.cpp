// Attaching to a stream's queue, and how it ends.
#include "stream_queue.hpp"

#include "stop_signals.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <sys/file.h>
#include <system_error>
#include <thread>

namespace bulkhead::tools {
namespace {

using detail::queue_core;

/// What queue<std::string> is, so that C++ programs can take part.
detail::type_tag strings() { return detail::type_tag_of<std::string>(); }

/// Between looks at a drained queue that is kept.
constexpr std::chrono::milliseconds drain_poll_interval{10};

/// A stream ends so long after its last writer has begun, at least: several that one line of a shell starts are
/// writers of one stream, however quick each of them is.
constexpr std::chrono::milliseconds stream_least{100};
constexpr std::chrono::milliseconds last_poll_interval{5};

queue_core open_or_create(const stream_options& options) {
    return queue_core::open_or_create(options.queue, options.capacity_bytes, strings(), true);
}

void lock_shared(const queue_core& queue) {
    while (::flock(queue.native_handle(), LOCK_SH) != 0) {
        check_stop_signals();
        if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "flock");
    }
}

bool try_lock_alone(const queue_core& queue) {
    return ::flock(queue.native_handle(), LOCK_EX | LOCK_NB) == 0;
}

void unlock(const queue_core& queue) { ::flock(queue.native_handle(), LOCK_UN); }

/// One writer's part. Its end, however it comes about, ends the stream if it is the last one's.
class writer_end final : public message_sink {
public:
    /// A stream that has ended goes on, as long as its readers have not taken all of it; else another begins.
    explicit writer_end(const stream_options& options) {
        for (;;) {
            queue_.emplace(open_or_create(options));
            lock_shared(*queue_);
            if (queue_->is_reachable()) {
                if (queue_->reopen()) break;
                queue_->remove_own_name();
            }
            unlock(*queue_);
            check_stop_signals();
        }
        queue_->marks().writers_started.fetch_add(1);
        if (options.keep) queue_->marks().keep.store(1);
    }
    ~writer_end() override {
        try {
            if (try_lock_alone(*queue_)) queue_->close();
            unlock(*queue_);
        } catch (const std::exception& failure) {
            std::fprintf(stderr, "%s\n", failure.what());
        }
    }
    writer_end(const writer_end&) = delete;
    writer_end& operator=(const writer_end&) = delete;

    [[nodiscard]] std::size_t message_bytes_max() const override {
        return queue_->capacity_bytes();
    }
    std::size_t put(std::span<const std::span<const std::byte>> messages,
                    detail::deadline until) override {
        return queue_->put_several(messages, until);
    }
    void finish() override {
        queue_->marks().writers_ended.fetch_add(1);
        // Others that were started with it, and come a little later, belong to the same stream.
        while (std::chrono::steady_clock::now() - begun_ < stream_least) {
            if (!try_lock_alone(*queue_)) break;
            lock_shared(*queue_);
            std::this_thread::sleep_for(last_poll_interval);
            check_stop_signals();
        }
    }

private:
    std::optional<queue_core> queue_;
    std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

class reader_end final : public message_source {
public:
    explicit reader_end(const stream_options& options)
        : options_(options), queue_(open_or_create(options)) {}

    received take(detail::byte_sink to, std::size_t count_max, detail::deadline until,
                  std::size_t& count) override {
        return queue_.get_several(to, count_max, until, count);
    }

    /// Closes the queue if there were writers and none is left; also, for a reader that goes on with the next
    /// one, if none can come since its name has gone.
    void look_around() override {
        const bool forsaken = options_.follow && !queue_.is_reachable();
        if (!forsaken && queue_.marks().writers_started.load() == 0) return;
        if (!try_lock_alone(queue_)) return;
        queue_.close();
        unlock(queue_);
    }

    /// Removes the queue unless somebody asked to keep it.
    std::string finish() override {
        const auto marks = queue_.marks();
        if (!options_.keep && marks.keep.load() == 0) queue_.remove_own_name();
        const std::uint32_t lost = marks.writers_started.load() - marks.writers_ended.load();
        if (lost == 0) return {};
        return std::to_string(lost) + " of " + std::to_string(marks.writers_started.load()) +
               " writers of queue '" + options_.queue +
               "' ended before the end of their input; what they had put is here";
    }

    void await_next(const idle_timer& idle) override {
        // One that is kept stands there, drained, until a writer replaces it.
        while (queue_.is_reachable()) {
            idle.check("another stream in", options_.queue);
            std::this_thread::sleep_for(drain_poll_interval);
        }
        queue_ = open_or_create(options_);
    }

private:
    stream_options options_;
    queue_core queue_;
};

}  // namespace

void idle_timer::check(const char* waited_for, const std::string& queue) const {
    check_stop_signals();
    if (limit_ && elapsed() >= *limit_) {
        throw std::runtime_error(std::string("waited ") + std::to_string(limit_->count()) +
                                 " ms for " + waited_for + " queue '" + queue +
                                 "' (--timeout), in vain");
    }
}

detail::deadline idle_timer::next() const {
    const auto look_around = clock::now() + look_around_interval;
    return limit_ ? std::min(look_around, since_ + *limit_) : look_around;
}

std::unique_ptr<message_sink> open_sink(const stream_options& options) {
    return std::make_unique<writer_end>(options);
}

std::unique_ptr<message_source> open_source(const stream_options& options) {
    return std::make_unique<reader_end>(options);
}

void flush_standard_output() {
    errno = 0;
    std::cout.flush();
    if (std::cout) return;
    if (errno == EPIPE) throw stopped(SIGPIPE);
    throw std::runtime_error(std::string("cannot write to standard output") +
                             (errno != 0 ? std::string(": ") + std::strerror(errno) : ""));
}

int run_program(const char* name, const std::function<void()>& body) {
    constexpr int failed = 1;
    constexpr int wrong_usage = 2;
    constexpr int ended_by_signal = 128;
    const auto say = [&](const char* sentence) {
        // What the library throws begins with its own name.
        constexpr const char* own = "bulkhead: ";
        if (std::strncmp(sentence, own, std::strlen(own)) == 0) sentence += std::strlen(own);
        std::fprintf(stderr, "%s: %s\n", name, sentence);
    };
    try {
        catch_stop_signals();
        body();
        flush_standard_output();
        return 0;
    } catch (const stopped& by) {
        return ended_by_signal + by.signal();
    } catch (const usage_mistake& mistake) {
        say(mistake.what());
        std::fprintf(stderr, "Try '%s --help'.\n", name);
        return wrong_usage;
    } catch (const usage_error& mistake) {
        say(mistake.what());
        return wrong_usage;
    } catch (const std::exception& failure) {
        say(failure.what());
        return failed;
    }
}

}  // namespace bulkhead::tools
