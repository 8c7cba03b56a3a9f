// What a stock boost::interprocess::message_queue does when one of its users is killed: as in queue_kills.cpp,
// writers and readers share one, and a random one of them gets SIGKILL; then the others must go on. Prints how
// many of TRIALS did. For reliability.md; started by hand.
#include <boost/interprocess/ipc/message_queue.hpp>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace ipc = boost::interprocess;

constexpr unsigned writers = 3;
constexpr unsigned readers = 3;
constexpr std::size_t message_bytes = 64;
constexpr std::size_t messages_max = 16;
constexpr useconds_t run_up_us = 20'000;
constexpr useconds_t patience_us = 1'000'000;

struct ledger {
    std::atomic<unsigned> steps[writers + readers];
    std::atomic<bool> failed;
};

[[noreturn]] void take_part(const std::string& name, ledger& all, unsigned who) {
    std::array<char, message_bytes> message{};
    try {
        ipc::message_queue queue(ipc::open_only, name.c_str());
        for (;; ++all.steps[who]) {
            ipc::message_queue::size_type bytes = 0;
            unsigned priority = 0;
            if (who < writers) {
                queue.send(message.data(), message.size(), 0);
            } else {
                queue.receive(message.data(), message.size(), bytes, priority);
            }
        }
    } catch (...) {
        all.failed = true;
        ::_exit(1);
    }
}

enum class end { went_on, hung, failed };

/// It is enough that one of the others goes on.
end trial(std::mt19937& random, ledger& all) {
    const std::string name = "bulkhead-stock-" + std::to_string(::getpid());
    const ipc::message_queue made(ipc::create_only, name.c_str(), messages_max, message_bytes);
    all.failed = false;
    std::array<pid_t, writers + readers> pids{};
    for (unsigned i = 0; i != pids.size(); ++i) {
        all.steps[i] = 0;
        pids[i] = ::fork();
        if (pids[i] == 0) take_part(name, all, i);
    }
    ::usleep(run_up_us + static_cast<useconds_t>(random() % run_up_us));
    const auto victim = random() % pids.size();
    ::kill(pids[victim], SIGKILL);
    ::waitpid(pids[victim], nullptr, 0);
    std::array<unsigned, writers + readers> before{};
    for (unsigned i = 0; i != pids.size(); ++i) before[i] = all.steps[i];
    ::usleep(patience_us);
    end result = all.failed ? end::failed : end::hung;
    for (unsigned i = 0; i != pids.size(); ++i) {
        if (i != victim && all.steps[i] - before[i] > messages_max && result == end::hung) {
            result = end::went_on;
        }
    }
    for (unsigned i = 0; i != pids.size(); ++i) {
        if (i == victim) continue;
        ::kill(pids[i], SIGKILL);
        int status = 0;
        ::waitpid(pids[i], &status, 0);
        const bool aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
        if (aborted && result == end::hung) result = end::failed;
    }
    ipc::message_queue::remove(name.c_str());
    return result;
}

}  // namespace

int main(int argc, char** argv) {
    const int trials = argc == 2 ? std::atoi(argv[1]) : 0;
    if (trials <= 0) {
        (void)std::fputs("stock_queue TRIALS\n", stderr);
        return 2;
    }
    void* memory =
        ::mmap(nullptr, sizeof(ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 1;
    auto& all = *new (memory) ledger;
    std::mt19937 random(std::random_device{}());
    std::array<int, 3> counts{};
    for (int i = 0; i != trials; ++i) ++counts[static_cast<std::size_t>(trial(random, all))];
    std::printf("%d trials: %d went on, %d hung, %d ended with an error\n", trials, counts[0],
                counts[1], counts[2]);
    return 0;
}
