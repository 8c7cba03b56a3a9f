// Prints the messages of a named queue.
#include "progress.hpp"
#include "stop_signals.hpp"
#include "stream_options.hpp"
#include "stream_queue.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
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

constexpr stream_program program{
    "bulkhead-reader", BULKHEAD_VERSION, "QUEUE",
    "Prints the messages of the named QUEUE as they come, as the writer read them, until the last\n"
    "writer has ended and the queue is drained; then removes the queue. Makes the queue if there "
    "is\n"
    "none. Several readers of one queue share its messages.\n",
    false};

/// Standard output, and the messages on the way to it.
class output {
public:
    explicit output(frame how) : prefix_bytes_(how == frame::u32 ? prefix_bytes : 0) {}

    [[nodiscard]] byte_sink sink() {
        return {this, [](void* self, std::size_t bytes) {
                    return static_cast<output*>(self)->room(bytes);
                }};
    }
    /// Before each taking.
    void begin_batch() { batch_begin_ = used_; }
    [[nodiscard]] std::size_t batch_bytes() const noexcept { return used_ - batch_begin_; }
    [[nodiscard]] bool is_half_full() const noexcept { return used_ >= buffer_bytes_min / 2; }

    void flush() {
        std::size_t done = 0;
        while (done != used_) {
            while (!wait_for(STDOUT_FILENO, POLLOUT, std::chrono::hours(1))) {
            }
            const ssize_t count = ::write(STDOUT_FILENO, buffer_.get() + done, used_ - done);
            if (count >= 0) {
                done += static_cast<std::size_t>(count);
            } else if (errno == EPIPE) {
                throw stopped(SIGPIPE);
            } else if (errno != EINTR && errno != EAGAIN) {
                throw std::runtime_error(std::string("cannot write to standard output: ") +
                                         std::strerror(errno));
            }
            check_stop_signals();
        }
        used_ = 0;
    }

private:
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
        return place;
    }

    void grow(std::size_t bytes) {
        auto larger = std::make_unique_for_overwrite<std::byte[]>(bytes);
        std::memcpy(larger.get(), buffer_.get(), used_);
        buffer_ = std::move(larger);
        capacity_ = bytes;
    }

    std::size_t prefix_bytes_;
    std::size_t capacity_ = buffer_bytes_min;
    std::unique_ptr<std::byte[]> buffer_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
    std::size_t used_ = 0;
    std::size_t batch_begin_ = 0;
};

class reader {
public:
    explicit reader(const stream_options& options)
        : options_(options),
          end_(options),
          output_(options.how),
          left_(options.count.value_or(UINT64_MAX)),
          progress_(program.name, options.progress, STDOUT_FILENO) {}

    void run() {
        idle_timer idle(options_.timeout);
        received how = received::nothing_yet;
        while (left_ != 0 && how != received::nothing_ever_more) {
            check_stop_signals();
            how = take(bulkhead::detail::wait_not_at_all);
            if (how == received::nothing_yet) {
                // What has been read is seen before the wait for more.
                output_.flush();
                how = take(idle.next());
            }
            if (how == received::message) {
                if (output_.is_half_full()) output_.flush();
                idle.reset();
            } else if (how == received::nothing_yet) {
                end_.close_if_abandoned();
                idle.check("a message of", options_.queue);
            }
        }
        output_.flush();
        progress_.finish();
        if (how == received::nothing_ever_more) end_.finish();
    }

private:
    received take(bulkhead::detail::deadline until) {
        std::size_t count = 0;
        output_.begin_batch();
        const auto count_max = static_cast<std::size_t>(std::min<std::uint64_t>(left_, batch_max));
        const auto how = end_.queue().get_several(output_.sink(), count_max, until, count);
        left_ -= count;
        if (count != 0) progress_.add(count, output_.batch_bytes());
        return how;
    }

    const stream_options& options_;
    reader_end end_;
    output output_;
    std::uint64_t left_;
    progress progress_;
};

void read_stream(int argc, char** argv) {
    const auto options = parse_command_line(program, argc, argv);
    if (options) reader(*options).run();
}

}  // namespace

int main(int argc, char** argv) {
    return run_program(program.name, [&] { read_stream(argc, argv); });
}
