// What this machine can do at most, to see the library's figures against: nothing here uses a pool.
#include "bench_figure.hpp"

#include <bulkhead/bulkhead.hpp>

#include <boost/interprocess/ipc/message_queue.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

namespace ipc = boost::interprocess;

constexpr std::uint64_t unbounded = std::uint64_t{1} << 40;

double memcpy_gib_per_second(double run_s) {
    constexpr std::size_t block_bytes = 16 << 20;
    std::vector<char> from(block_bytes, 'x');
    std::vector<char> to(block_bytes, 'y');
    const double blocks = operations_per_second(run_s, unbounded, [&](std::uint64_t count) {
        const stopwatch clock;
        for (std::uint64_t i = 0; i != count; ++i) {
            std::memcpy(to.data(), from.data(), block_bytes);
            asm volatile("" : : "r"(to.data()), "r"(from.data()) : "memory");
        }
        return clock.seconds();
    });
    return blocks * static_cast<double>(block_bytes) / (1 << 30);
}

class event_fd {
public:
    event_fd() : fd_(::eventfd(0, EFD_CLOEXEC)) {
        if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    }
    ~event_fd() { ::close(fd_); }
    event_fd(const event_fd&) = delete;
    event_fd& operator=(const event_fd&) = delete;

    // Async-signal-safe: the child of a fork uses them.
    void ring(std::uint64_t value) const noexcept {
        while (::write(fd_, &value, sizeof value) < 0 && errno == EINTR) {
        }
    }
    [[nodiscard]] std::uint64_t wait() const noexcept {
        std::uint64_t value = 0;
        while (::read(fd_, &value, sizeof value) < 0 && errno == EINTR) {
        }
        return value;
    }

private:
    int fd_;
};

/// Two processes that wake one another by turns: what a round trip costs when both sides sleep.
double wake_up_us(double run_s) {
    constexpr std::uint64_t ball = 1;
    constexpr std::uint64_t end_of_game = 2;
    const event_fd there;
    const event_fd back;
    const pid_t child = ::fork();
    if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child == 0) {
        while (there.wait() == ball) back.ring(ball);
        ::_exit(0);
    }
    const double games = operations_per_second(run_s, unbounded, [&](std::uint64_t count) {
        const stopwatch clock;
        for (std::uint64_t i = 0; i != count; ++i) {
            there.ring(ball);
            (void)back.wait();
        }
        return clock.seconds();
    });
    there.ring(end_of_game);
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return 1e6 / games;
}

constexpr std::size_t message_bytes = 64;
constexpr std::size_t messages_max = 1024;

struct message_queue_name {
    explicit message_queue_name(std::string text) : name(std::move(text)) {}
    ~message_queue_name() { ipc::message_queue::remove(name.c_str()); }
    message_queue_name(const message_queue_name&) = delete;
    message_queue_name& operator=(const message_queue_name&) = delete;
    std::string name;
};

void send_messages(const std::string& name, const queue<int>& reader_is_there,
                   std::uint64_t count) {
    ipc::message_queue to(ipc::open_only, name.c_str());
    (void)reader_is_there.get();
    std::array<char, message_bytes> message{};
    for (std::uint64_t i = 0; i != count; ++i) to.send(message.data(), message.size(), 0);
}

void receive_messages(const std::string& name, const queue<int>& reader_is_there,
                      const queue<double>& took_s, std::uint64_t count) {
    ipc::message_queue from(ipc::open_only, name.c_str());
    reader_is_there.put(1);
    std::array<char, message_bytes> message;
    ipc::message_queue::size_type bytes = 0;
    unsigned priority = 0;
    from.receive(message.data(), message.size(), bytes, priority);
    const stopwatch clock;
    for (std::uint64_t i = 1; i != count; ++i) {
        from.receive(message.data(), message.size(), bytes, priority);
    }
    took_s.put(clock.seconds());
}

double message_queue_messages(double run_s) {
    return operations_per_second(run_s, unbounded, [](std::uint64_t count) {
        const message_queue_name mq("bulkhead-bench-" + std::to_string(::getpid()));
        const ipc::message_queue made(ipc::create_only, mq.name.c_str(), messages_max,
                                      message_bytes, ipc::permissions(0600));
        const queue<int> reader_is_there;
        const queue<double> took_s;
        process sender(send_messages, mq.name, reader_is_there, count);
        process receiver(receive_messages, mq.name, reader_is_there, took_s, count);
        return took_s.get();
    });
}

}  // namespace

std::vector<figure> limit_figures() {
    return {
        {.name = "memcpy",
         .title = "memcpy, blocks of 16 MiB",
         .unit = "GiB/s",
         .contenders = {{"this machine", memcpy_gib_per_second}}},
        {.name = "wake-up",
         .title = "two processes ring each other's eventfd",
         .unit = "us",
         .more_is_better = false,
         .contenders = {{"this machine", wake_up_us}}},
        {.name = "message-queue",
         .title = "stock boost message_queue, 64 bytes, a sender and a receiver process",
         .unit = "messages/s",
         .contenders = {{"this machine", message_queue_messages}}},
    };
}

}  // namespace bulkhead::tools
