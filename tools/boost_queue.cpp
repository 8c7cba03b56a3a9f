// A stock message_queue by try_ calls only.
#include "boost_queue.hpp"

#include "stop_signals.hpp"

#include <boost/interprocess/ipc/message_queue.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <stdexcept>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace bulkhead::tools {
namespace {

namespace ipc = boost::interprocess;
using clock = std::chrono::steady_clock;

/// Between tries, from the first to the longest: each doubles the one before.
constexpr std::chrono::milliseconds first_nap{1};
constexpr std::chrono::milliseconds longest_nap{16};
/// A queue is made in microseconds, or its maker is not there any more.
constexpr std::chrono::seconds making_takes_max{2};
/// What managed_open_or_create_impl of Boost 1.81 has as the first word of a segment that is complete.
constexpr std::uint32_t initialised = 2;

class stock_queue {
public:
    stock_queue(std::string name, const idle_timer& idle) : name_(std::move(name)) {
        await_its_making(idle);
        queue_ = guarded("cannot be opened", [&] {
            return std::make_unique<ipc::message_queue>(ipc::open_only, name_.c_str());
        });
        std::error_code unknown;
        const auto memory_bytes = std::filesystem::file_size("/dev/shm/" + name_, unknown);
        if (!unknown && message_bytes_max() > memory_bytes) {
            throw std::runtime_error("the message_queue '" + name_ + "' is damaged: it tells of " +
                                     std::to_string(message_bytes_max()) +
                                     " bytes in a message, and has " +
                                     std::to_string(memory_bytes) + " bytes of memory");
        }
    }

    [[nodiscard]] std::size_t message_bytes_max() const { return queue_->get_max_msg_size(); }

    bool try_put(std::span<const std::byte> message) {
        return guarded("takes no message",
                       [&] { return queue_->try_send(message.data(), message.size(), 0); });
    }

    /// `to` has room for the largest message.
    bool try_get(std::span<std::byte> to, std::size_t& bytes) {
        return guarded("gives no message", [&] {
            ipc::message_queue::size_type got = 0;
            unsigned priority = 0;
            const bool there = queue_->try_receive(to.data(), to.size(), got, priority);
            bytes = got;
            return there;
        });
    }

private:
    /// Boost itself would wait five minutes for a maker that may have died half-way, and hear of no signal.
    void await_its_making(const idle_timer& idle) const {
        const auto give_up = clock::now() + making_takes_max;
        while (!is_made()) {
            idle.check("the maker of", name_);
            if (clock::now() >= give_up) {
                throw std::runtime_error("the message_queue '" + name_ +
                                         "' was never finished by its maker: it has to be removed "
                                         "and made anew");
            }
            (void)wait_for(-1, 0, longest_nap);
        }
    }

    /// Also when it is not there, which is told by opening it.
    [[nodiscard]] bool is_made() const {
        const int fd = ::shm_open(("/" + name_).c_str(), O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0) return true;
        std::uint32_t state = 0;
        const bool read = ::pread(fd, &state, sizeof state, 0) == sizeof state;
        ::close(fd);
        return read && state == initialised;
    }

    template <class Body>
    auto guarded(const char* what, const Body& body) const -> decltype(body()) {
        try {
            return body();
        } catch (const ipc::lock_exception&) {
            throw std::runtime_error("the message_queue '" + name_ +
                                     "' is unusable: a process has died inside it; whoever made it "
                                     "has to make it anew");
        } catch (const ipc::interprocess_exception& why) {
            throw std::runtime_error("the message_queue '" + name_ + "' " + what + ": " +
                                     why.what());
        }
    }

    std::string name_;
    std::unique_ptr<ipc::message_queue> queue_;
};

/// Tries until it succeeds, or it is time.
template <class Try>
bool try_until(detail::deadline until, const Try& attempt) {
    auto nap = first_nap;
    while (!attempt()) {
        const auto now = clock::now();
        if (now >= until) return false;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now);
        (void)wait_for(-1, 0, std::min(nap, left));
        nap = std::min(2 * nap, longest_nap);
    }
    return true;
}

class stock_sink final : public message_sink {
public:
    explicit stock_sink(const stream_options& options)
        : queue_(options.queue, idle_timer(options.timeout)) {}

    [[nodiscard]] std::size_t message_bytes_max() const override {
        return queue_.message_bytes_max();
    }
    std::size_t put(std::span<const std::span<const std::byte>> messages,
                    detail::deadline until) override {
        if (!try_until(until, [&] { return queue_.try_put(messages[0]); })) return 0;
        std::size_t count = 1;
        while (count != messages.size() && queue_.try_put(messages[count])) ++count;
        return count;
    }

private:
    stock_queue queue_;
};

class stock_source final : public message_source {
public:
    explicit stock_source(const stream_options& options)
        : queue_(options.queue, idle_timer(options.timeout)), buffer_(queue_.message_bytes_max()) {}

    received take(detail::byte_sink to, std::size_t count_max, detail::deadline until,
                  std::size_t& count) override {
        count = 0;
        const bool any = try_until(until, [&] { return has_one(); });
        while (any && count != count_max && has_another()) {
            std::byte* const room = to.room(to.context, bytes_);
            if (room == nullptr) break;  // it goes first in the next batch
            std::memcpy(room, buffer_.data(), bytes_);
            held_ = false;
            ++count;
        }
        return count != 0 ? received::message : received::nothing_yet;
    }
    [[nodiscard]] bool holds_one() const override { return held_; }

private:
    bool has_one() {
        held_ = held_ || queue_.try_get(buffer_, bytes_);
        return held_;
    }
    /// What goes wrong behind a message is told by the next attempt: the message is given first.
    bool has_another() noexcept {
        try {
            return has_one();
        } catch (...) {
            return false;
        }
    }

    stock_queue queue_;
    std::vector<std::byte> buffer_;
    std::size_t bytes_ = 0;
    bool held_ = false;  ///< a message is in the buffer
};

}  // namespace

std::unique_ptr<message_sink> open_boost_sink(const stream_options& options) {
    return std::make_unique<stock_sink>(options);
}

std::unique_ptr<message_source> open_boost_source(const stream_options& options) {
    return std::make_unique<stock_source>(options);
}

}  // namespace bulkhead::tools
