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
std::string large_text(char letter) { return std::string(std::size_t{2} << 20, letter); }
bool is_the_parents(const std::string& text) { return text == large_text('p'); }
void hold(bulkhead::event until) { until.wait(); }

template <class Pool>
int child(Pool& pool, bulkhead::future<int>& pending, bulkhead::future<int>& done) {
    const auto text = large_text('c');
    const std::vector<std::pair<const char*, std::function<void()>>> attempts = {
        {"submit", [&] { (void)pool.submit(square, 1); }},
        {"try_submit", [&] { (void)pool.try_submit(square, 1); }},
        {"submit much", [&] { (void)pool.submit(is_the_parents, text); }},
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
    const auto text = large_text('p');
    (void)pool.submit(is_the_parents, text).get();  // its memory waits to be used again
    int begun[2];
    if (::pipe(begun) != 0) return 1;
    bulkhead::event over;
    auto first = pool.submit(hold, over);
    auto second = pool.submit(hold, over);
    auto pending = pool.submit(square_slowly, 7);
    const pid_t fork = ::fork();
    if (fork == 0) {
        ::alarm(60);
        char byte = 0;
        if (::read(begun[0], &byte, 1) != 1) ::_exit(1);
        const int wrong = child(pool, pending, done);
        // What only the stacks of the parent's other threads know of is a leak to AddressSanitizer.
        if (test::sanitized) ::_exit(wrong);
        std::exit(wrong);  // destroys what is static
    }
    auto large = pool.submit(is_the_parents, text);  // and is, while the child tries
    if (::write(begun[1], "x", 1) != 1) return 1;
    int status = 0;
    ::waitpid(fork, &status, 0);
    over.set();
    const bool whole = large.get();
    if (!whole) std::cerr << "the child has overwritten arguments\n";
    if (status != 0) std::cerr << "the child ended by " << status << '\n';
    std::cout << pending.get() << ' ' << pool.submit(square, 7).get();
    return status == 0 && whole ? 0 : 1;
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
