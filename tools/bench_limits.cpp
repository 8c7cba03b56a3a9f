// What this machine can do at most, to see the library's figures against: nothing here uses a pool.
#include "bench_cpus.hpp"
#include "bench_figure.hpp"

#include <bulkhead/bulkhead.hpp>

#include <boost/interprocess/ipc/message_queue.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

namespace ipc = boost::interprocess;
using namespace std::chrono_literals;

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

/// The other process of a ping-pong, until it is told to end.
class partner {
public:
    partner() : child_(::fork()) {
        if (child_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
        if (child_ != 0) return;
        while (there_.wait() == ball) back_.ring(ball);
        ::_exit(0);
    }
    ~partner() {
        there_.ring(end_of_game);
        while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
    partner(const partner&) = delete;
    partner& operator=(const partner&) = delete;

    void there_and_back() const noexcept {
        there_.ring(ball);
        (void)back_.wait();
    }

private:
    static constexpr std::uint64_t ball = 1;
    static constexpr std::uint64_t end_of_game = 2;
    event_fd there_;
    event_fd back_;
    pid_t child_;
};

constexpr std::size_t message_bytes = 64;

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

/// What a round trip costs when nobody sleeps: two processes write a word by turns.
struct court {
    std::atomic<std::uint32_t> ball{0};  // odd: there; even: back
    std::atomic<bool> over{false};
};

void return_balls(const shared_value<court>& shared) {
    court& here = *shared;
    std::uint32_t next = 1;
    while (!here.over.load(std::memory_order_relaxed)) {
        if (here.ball.load(std::memory_order_acquire) != next) continue;
        here.ball.store(next + 1, std::memory_order_release);
        next += 2;
    }
}

double cache_line_us(double run_s) {
    const shared_value<court> shared;
    court& here = *shared;
    process other(return_balls, shared);
    std::uint32_t played = 0;
    const auto play = [&](std::uint64_t count) {
        const stopwatch clock;
        for (std::uint64_t i = 0; i != count; ++i) {
            here.ball.store(++played, std::memory_order_release);
            ++played;
            while (here.ball.load(std::memory_order_acquire) != played) {
            }
        }
        return clock.seconds();
    };
    play(1);  // until the other has started
    const double games = operations_per_second(run_s, unbounded, play);
    here.over = true;
    return 1e6 / games;
}

}  // namespace

double wake_up_us(double run_s, std::chrono::milliseconds idle, placement where) {
    const own_cpus mine;
    mine.place_other_side(where);
    const partner other;
    mine.place_this_side(where);
    return median_sample(run_s, [&] {
        if (idle.count() > 0) std::this_thread::sleep_for(idle);
        const stopwatch clock;
        other.there_and_back();
        return clock.seconds() * 1e6;
    });
}

double stock_queue_messages(double run_s) {
    return operations_per_second(run_s, unbounded, [](std::uint64_t count) {
        const message_queue_name mq("bulkhead-bench-" + std::to_string(::getpid()));
        const ipc::message_queue made(ipc::create_only, mq.name.c_str(), messages_waiting_max,
                                      message_bytes, ipc::permissions(0600));
        const queue<int> reader_is_there;
        const queue<double> took_s;
        process sender(send_messages, mq.name, reader_is_there, count);
        process receiver(receive_messages, mq.name, reader_is_there, took_s, count);
        expect(receiver.join().success());
        return took_s.get();
    });
}

std::vector<figure> limit_figures() {
    return {
        {.name = "memcpy",
         .title = "memcpy, blocks of 16 MiB",
         .unit = "GiB/s",
         .contenders = {{"this machine", memcpy_gib_per_second}}},
        {.name = "wake-up",
         .title = "two wake-ups by eventfd, of two processes that sleep",
         .unit = "us",
         .more_is_better = false,
         .contenders =
             {{"on one CPU",
               [](double run_s) { return wake_up_us(run_s, 0ms, placement::on_one_cpu); }},
              {"on two CPUs",
               [](double run_s) { return wake_up_us(run_s, 0ms, placement::on_two_cpus); }}}},
        {.name = "cache-line",
         .title = "two processes spin on a cache line, there and back",
         .unit = "us",
         .more_is_better = false,
         .contenders = {{"this machine", cache_line_us}}},
    };
}

}  // namespace bulkhead::tools
