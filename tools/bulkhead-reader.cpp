// Prints the messages of a named queue.
#include "boost_queue.hpp"
#include "json_frame.hpp"
#include "progress.hpp"
#include "stop_signals.hpp"
#include "stream_options.hpp"
#include "stream_queue.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <poll.h>
#include <unistd.h>

namespace {

using namespace bulkhead::tools;
using bulkhead::detail::byte_sink;
using received = bulkhead::detail::queue_core::received;

/// Messages that are taken in one go, at most.
constexpr std::size_t batch_max = 512;
constexpr std::size_t buffer_bytes_min = std::size_t{256} << 10;
constexpr std::size_t prefix_bytes = 4;
/// After a signal; a second one ends the program at once.
constexpr std::chrono::seconds last_write_within{1};
constexpr std::size_t pipe_bytes_min = PIPE_BUF;

constexpr stream_program program{
    "bulkhead-reader",
    BULKHEAD_VERSION,
    "QUEUE",
    "Prints the messages of the named QUEUE as they come, as the writer read them, until it is "
    "closed\n"
    "and drained; then removes the queue. The last bulkhead-writer closes it with its end, also "
    "when\n"
    "it is killed; any other program that writes does so by queue::close(). Makes the queue if "
    "there\n"
    "is none. Several readers of one queue share its messages. One that is killed, or whose "
    "output\n"
    "nobody reads any more, takes what it has in its hands along: up to 256 KiB, or one message. "
    "Fails "
    "at\n"
    "the end, with all that came, when a writer was stopped before the end of its input.\n",
    false,
    "after the end of a stream wait for the next one of that name"};

/// Standard output, and the messages on the way to it.
class output {
public:
    explicit output(const stream_options& options)
        : queue_(options.queue),
          as_json_(options.how == frame::json),
          prefix_bytes_(options.how == frame::u32 ? prefix_bytes : 0) {}

    [[nodiscard]] byte_sink sink() {
        return {this, [](void* self, std::size_t bytes) {
                    return static_cast<output*>(self)->room(bytes);
                }};
    }
    /// Before each taking.
    void begin_batch() {
        batch_begin_ = used_;
        sizes_.clear();
    }
    void drop_batch() { used_ = batch_begin_; }
    /// Behind it. The bytes of its messages.
    std::size_t end_batch() {
        const auto bytes = std::accumulate(sizes_.begin(), sizes_.end(), std::size_t{0});
        if (as_json_) batch_to_json();
        return bytes;
    }
    [[nodiscard]] bool is_half_full() const noexcept { return used_ >= buffer_bytes_min / 2; }

    void flush() {
        while (written_ != used_) {
            while (!wait_for(STDOUT_FILENO, POLLOUT, std::chrono::hours(1))) {
            }
            write_some();
            check_stop_signals();
        }
        used_ = written_ = 0;
    }

    /// What has been taken is not lost by a signal or an error, unless nobody reads it.
    void flush_at_the_end() {
        pollfd out{STDOUT_FILENO, POLLOUT, 0};
        const auto until = std::chrono::steady_clock::now() + last_write_within;
        while (written_ != used_) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(
                until - std::chrono::steady_clock::now());
            const int ready =
                left.count() <= 0 ? 0 : ::poll(&out, 1, static_cast<int>(left.count()));
            if (ready < 0 && errno == EINTR) continue;
            if (ready <= 0) {
                throw std::runtime_error(std::to_string(used_ - written_) +
                                         " bytes taken from the queue are lost: nobody reads them");
            }
            // No more than a pipe that can be written takes without a wait.
            write_some(pipe_bytes_min);
        }
        used_ = written_ = 0;
    }

    /// Before messages are taken that could go nowhere.
    static void check_open() {
        if (::write(STDOUT_FILENO, "", 0) < 0) fail(errno);
    }

private:
    [[noreturn]] static void fail(int cause) {
        throw std::runtime_error(std::string("cannot write to standard output: ") +
                                 std::strerror(cause));
    }

    void write_some(std::size_t bytes_max = SIZE_MAX) {
        const ssize_t count =
            ::write(STDOUT_FILENO, buffer_.get() + written_, std::min(used_ - written_, bytes_max));
        if (count >= 0) {
            written_ += static_cast<std::size_t>(count);
        } else if (errno == EPIPE) {
            throw stopped(SIGPIPE);
        } else if (errno != EINTR && errno != EAGAIN) {
            const int cause = errno;
            used_ = written_ = 0;  // nothing will come of these
            fail(cause);
        }
    }

    std::byte* room(std::size_t bytes) {
        if (capacity_ - used_ < prefix_bytes_ + bytes) {
            if (used_ != batch_begin_) return nullptr;
            grow(used_ + prefix_bytes_ + bytes);
        }
        for (std::size_t i = 0; i != prefix_bytes_; ++i) {
            buffer_[used_ + i] = static_cast<std::byte>(bytes >> (8 * i));
        }
        std::byte* place = buffer_.get() + used_ + prefix_bytes_;
        used_ += prefix_bytes_ + bytes;
        sizes_.push_back(bytes);
        return place;
    }

    void batch_to_json() {
        std::string lines;
        std::size_t at = batch_begin_;
        for (const std::size_t bytes : sizes_) {
            lines += json_line_of({buffer_.get() + at, bytes},
                                  {queue_, ++number_, std::chrono::system_clock::now()});
            at += bytes;
        }
        used_ = batch_begin_;
        if (capacity_ - used_ < lines.size()) grow(used_ + lines.size());
        std::memcpy(buffer_.get() + used_, lines.data(), lines.size());
        used_ += lines.size();
    }

    void grow(std::size_t bytes) {
        auto larger = std::make_unique_for_overwrite<std::byte[]>(bytes);
        std::memcpy(larger.get(), buffer_.get(), used_);
        buffer_ = std::move(larger);
        capacity_ = bytes;
    }

    std::string queue_;
    bool as_json_;
    std::size_t prefix_bytes_;
    std::size_t capacity_ = buffer_bytes_min;
    std::unique_ptr<std::byte[]> buffer_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
    std::size_t used_ = 0;
    std::size_t written_ = 0;  ///< of these; not 0 only within, or after a signal in, a flush
    std::size_t batch_begin_ = 0;
    std::vector<std::size_t> sizes_;  ///< of the batch's messages
    std::uint64_t number_ = 0;
};

class reader {
public:
    explicit reader(const stream_options& options)
        : options_(options),
          from_(options.boost ? open_boost_source(options) : open_source(options)),
          output_(options),
          left_(options.count.value_or(UINT64_MAX)),
          progress_(program.name, options.progress, STDOUT_FILENO) {}

    void run() {
        try {
            copy();
        } catch (const stopped& by) {
            if (by.signal() != SIGPIPE) print_what_was_taken();
            throw;
        } catch (...) {
            print_what_was_taken();
            throw;
        }
    }

private:
    void print_what_was_taken() noexcept {
        try {
            if (from_->holds_one()) (void)take(bulkhead::detail::wait_not_at_all, 1);
            output_.flush_at_the_end();
        } catch (const stopped&) {
            // Nobody reads any more, and it ends anyway.
        } catch (const std::exception& failure) {
            std::fprintf(stderr, "%s: %s\n", program.name, failure.what());
        }
    }

    void copy() {
        idle_timer idle(options_.timeout);
        bool ended = false;
        while (left_ != 0 && !ended) {
            check_stop_signals();
            received how = take(bulkhead::detail::wait_not_at_all);
            if (how == received::nothing_yet) {
                // What has been read is seen before the wait for more.
                output_.flush();
                how = take(idle.next());
            }
            if (how == received::message) {
                if (output_.is_half_full()) output_.flush();
                idle.reset();
            } else if (how == received::nothing_yet) {
                from_->look_around();
                idle.check("a message of", options_.queue);
            } else {
                ended = !goes_on_after_the_end(idle);
            }
        }
        output_.flush();
    }

    received take(bulkhead::detail::deadline until, std::size_t most = batch_max) {
        std::size_t count = 0;
        output_.begin_batch();
        const auto count_max = static_cast<std::size_t>(std::min<std::uint64_t>(left_, most));
        auto how = received::nothing_yet;
        try {
            how = from_->take(output_.sink(), count_max, until, count);
        } catch (...) {
            output_.drop_batch();  // none of it has been taken
            throw;
        }
        left_ -= count;
        const std::size_t bytes = output_.end_batch();
        if (count != 0) progress_.add(count, bytes);
        return how;
    }

    bool goes_on_after_the_end(idle_timer& idle) {
        output_.flush();
        const std::string trouble = from_->finish();
        if (!options_.follow) progress_.finish();
        if (!trouble.empty()) {
            if (!options_.follow) throw std::runtime_error(trouble);
            std::fprintf(stderr, "%s: %s\n", program.name, trouble.c_str());
        }
        if (options_.follow) from_->await_next(idle);
        return options_.follow;
    }

    const stream_options& options_;
    std::unique_ptr<message_source> from_;
    output output_;
    std::uint64_t left_;
    progress progress_;
};

void read_stream(int argc, char** argv) {
    const auto options = parse_command_line(program, argc, argv);
    if (!options) return;
    output::check_open();
    reader(*options).run();
}

}  // namespace

int main(int argc, char** argv) {
    return run_program(program.name, [&] { read_stream(argc, argv); });
}
