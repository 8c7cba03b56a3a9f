// Forks without exec: of a task, whose child is no worker, and of the program, whose child has no pool.
#include "support/program.hpp"
#include "support/scene.hpp"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <ranges>
#include <stdexcept>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::process_pool;

/// Both come to the end of the function.
int fork_and_return(int x) {
    const pid_t child = ::fork();
    if (child == 0) return -1;
    ::waitpid(child, nullptr, 0);
    return x * x;
}
std::string fork_and_return_text(int x) { return std::to_string(fork_and_return(x)); }
void fork_and_return_nothing(int x) { (void)fork_and_return(x); }
int fork_and_throw(int x) {
    const pid_t child = ::fork();
    if (child == 0) throw std::runtime_error("exec failed");
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? x * x : -2;
}
/// The child is late: the worker is at later tasks by then.
int fork_and_go_on(int x) {
    if (::fork() == 0) {
        ::usleep(static_cast<useconds_t>(x % 7) * 1000);
        return -1;
    }
    return x * x;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(forks, scene)

BOOST_AUTO_TEST_CASE(a_process_that_a_task_forked_and_that_returns_from_it_is_no_second_worker) {
    process_pool pool({.workers = 2, .worker_output = bulkhead::discard});
    std::vector<future<int>> all;
    for (int i = 0; i != 200; ++i) {
        all.push_back(i % 10 == 0   ? pool.submit(fork_and_return, i)
                      : i % 10 == 1 ? pool.submit(fork_and_throw, i)
                      : i % 10 == 2 ? pool.submit(fork_and_go_on, i)
                                    : pool.submit(square, i));
    }
    for (int i = 0; i != 200; ++i) BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
    BOOST_TEST(pool.submit(fork_and_return_text, 7).get() == "49");
    pool.submit(fork_and_return_nothing, 7).get();
    BOOST_TEST(pool.stats().crashed == 0U);
    BOOST_TEST(pool.stats().restarts == 0U);
}

BOOST_AUTO_TEST_CASE(forks_of_the_program_that_live_on_keep_no_worker_from_its_start_or_its_end) {
    std::atomic<bool> enough{false};
    std::vector<pid_t> children;
    std::thread forking([&] {
        while (!enough) {  // to its end: they die with the thread that made them
            ::usleep(300);
            if (children.size() == 300) continue;
            const pid_t child = ::fork();
            if (child == 0) {
                ::prctl(PR_SET_PDEATHSIG, SIGKILL);
                while (true) ::pause();
            }
            if (child > 0) children.push_back(child);
        }
    });
    // Nobody waits for that: who needs a kill to end would be seen.
    for (int i = 0; i != 10; ++i) {
        process_pool pool({.workers = 2, .kill_grace = 1h});
        BOOST_TEST(pool.submit(square, i).get() == i * i);
    }
    enough = true;
    forking.join();
    BOOST_TEST(!children.empty());
    for (const pid_t child : children) {
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
    }
}

BOOST_AUTO_TEST_CASE(nor_is_one_that_an_item_of_a_map_forked) {
    process_pool pool({.workers = 2, .worker_output = bulkhead::discard});
    const auto input = std::views::iota(0, 60);
    const auto check = [&](auto function) {
        int i = 0;
        for (const int y : pool.map(bulkhead::map_options{.chunk_size = 10}, function, input)) {
            BOOST_TEST(y == i * i);
            ++i;
        }
        BOOST_TEST(i == 60);
    };
    check(fork_and_return);
    check(fork_and_throw);
    check(fork_and_go_on);
    int i = 0;
    for (const auto& text :
         pool.map(bulkhead::map_options{.chunk_size = 10}, fork_and_return_text, input)) {
        BOOST_TEST(text == std::to_string(i * i));
        ++i;
    }
    BOOST_TEST(pool.stats().crashed == 0U);
}

BOOST_AUTO_TEST_CASE(nor_is_one_that_a_task_of_a_thread_pool_forked_a_second_pool) {
    program one(*this, "forked_program", {"forking_task"});
    BOOST_TEST(one.wait().success(), one.err());
    BOOST_TEST(one.out() == "49 49 1", one.out());
    BOOST_TEST(contains(one.err(), "which a task has forked"), one.err());
}

BOOST_AUTO_TEST_CASE(what_it_reports_is_not_the_tasks_progress) {
    process_pool pool({.workers = 1, .worker_output = bulkhead::discard});
    auto task = pool.submit([] {
        bulkhead::report_progress(1, 10);
        const pid_t child = ::fork();
        if (child == 0) {
            bulkhead::report_progress(9, 10);
            ::_exit(0);
        }
        ::waitpid(child, nullptr, 0);
    });
    task.wait();
    BOOST_TEST(task.progress().done == 1U);
}

BOOST_AUTO_TEST_CASE(it_says_so_and_what_it_had_printed) {
    std::mutex mutex;
    std::string said;
    {
        process_pool pool({.workers = 1, .worker_output = [&](const bulkhead::output_line& line) {
                               const std::lock_guard held(mutex);
                               said += line.text + '\n';
                           }});
        pool.submit([] {
                if (const pid_t child = ::fork(); child == 0) {
                    std::puts("the child's");
                } else {
                    ::waitpid(child, nullptr, 0);
                }
            })
            .get();
    }
    BOOST_TEST(contains(said, "the child's"), said);
    BOOST_TEST(contains(said, "which a task has forked, came to the end of the task's function"),
               said);
}

BOOST_AUTO_TEST_CASE(a_fork_of_the_program_is_told_that_the_pools_are_not_its_own) {
    for (const char* what : {"process_pool", "thread_pool"}) {
        program one(*this, "forked_program", {what});
        BOOST_TEST(one.wait().success(), what << ": " << one.err());
        BOOST_TEST(one.out() == "49 49", what << ": " << one.out());
    }
}

BOOST_AUTO_TEST_SUITE_END()
