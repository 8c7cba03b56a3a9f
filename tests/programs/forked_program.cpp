// forked_program process_pool|thread_pool: forks while a task of its pool runs. The child tries whatever there
// is to try; each must be a usage_error. Then the parent's tasks must be as they were.
// forked_program forking_task: see fork_in_a_task().
#include "support/events.hpp"

#include <bulkhead/bulkhead.hpp>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

int square_slowly(int x) {
    ::usleep(200'000);
    return x * x;
}
int square(int x) { return x * x; }

template <class Pool>
int child(Pool& pool, bulkhead::future<int>& pending, bulkhead::future<int>& done) {
    const std::vector<std::pair<const char*, std::function<void()>>> attempts = {
        {"submit", [&] { (void)pool.submit(square, 1); }},
        {"try_submit", [&] { (void)pool.try_submit(square, 1); }},
        {"get", [&] { (void)pending.wait_for(1h); }},
        {"wait", [&] { pending.wait(); }},
        {"cancel", [&] { (void)pending.cancel(); }},
        {"wait for all", [&] { (void)bulkhead::wait(std::vector{&pending}); }},
        {"wait for one",
         [&] { (void)bulkhead::wait(std::vector{&pending}, bulkhead::wait_for_first); }},
        {"as_completed",
         [&] {
             std::vector all{&pending};
             for (auto& one : bulkhead::as_completed(all)) (void)one;
         }},
        {"map",
         [&] {
             (void)*pool.map(square, std::vector{1, 2}).begin();
         }},
        {"on_progress", [&] { pending.on_progress([](const bulkhead::task_progress&) {}); }},
        {"join", [&] { pool.join(); }},
        {"close", [&] { pool.close(); }},
        {"resize", [&] { pool.resize(3); }},
        {"shutdown", [&] { pool.shutdown(); }},
        {"terminate", [&] { pool.terminate(); }},
        {"workers", [&] { (void)pool.workers(); }},
        {"stats", [&] { (void)pool.stats(); }},
    };
    int wrong = 0;
    for (const auto& [name, attempt] : attempts) {
        try {
            attempt();
            std::cerr << name << " was no error\n";
            ++wrong;
        } catch (const bulkhead::usage_error& refused) {
            if (std::string(refused.what()).find("make the pool after the fork") !=
                std::string::npos) {
                continue;
            }
            std::cerr << name << ": " << refused.what() << '\n';
            ++wrong;
        }
    }
    (void)pending.progress();
    if (done.cancel()) ++wrong;
    if (done.get() != 49) ++wrong;  // it is in this process too
    return wrong;
}

template <class Pool>
int run() {
    Pool pool(2);
    auto done = pool.submit(square, 7);
    done.wait();
    auto pending = pool.submit(square_slowly, 7);
    const pid_t fork = ::fork();
    if (fork == 0) {
        ::alarm(60);
        const int wrong = child(pool, pending, done);
        // What only the stacks of the parent's other threads know of is a leak to AddressSanitizer.
        if (test::sanitized) ::_exit(wrong);
        std::exit(wrong);  // destroys what is static
    }
    int status = 0;
    ::waitpid(fork, &status, 0);
    if (status != 0) std::cerr << "the child ended by " << status << '\n';
    std::cout << pending.get() << ' ' << pool.submit(square, 7).get();
    return status == 0 ? 0 : 1;
}

/// A task of a thread_pool forks, and child and parent both come to its end.
int fork_in_a_task() {
    bulkhead::thread_pool pool(1);
    std::atomic<int> called{0};
    auto forking = pool.submit([] {
        const pid_t child = ::fork();
        if (child != 0) ::waitpid(child, nullptr, 0);
        return 49;
    });
    forking.on_done([&] { ++called; });
    auto behind = pool.submit(square, 7);
    std::cout << forking.get() << ' ' << behind.get() << ' ';
    pool.join();
    std::cout << called;
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    if (argc != 2) return 2;
    if (argv[1] == std::string("forking_task")) return fork_in_a_task();
    return argv[1] == std::string("process_pool") ? run<bulkhead::process_pool>()
                                                  : run<bulkhead::thread_pool>();
}
