// What a dying worker costs: the task it was running, and nothing else.
#include "support/scene.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <random>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::process_pool;
using bulkhead::task_options;
using bulkhead::task_phase;
using bulkhead::worker_crashed;

void write_to_null(const fs::path& who) {
    announce_pid(who);
    volatile int* nowhere = nullptr;
    *nowhere = 1;
}

[[gnu::noinline]] int overflow_stack(int depth) {
    volatile char frame[4096];
    frame[static_cast<unsigned>(depth) % sizeof frame] = 1;
    if (depth < 0) return 0;
    return overflow_stack(depth + 1) + frame[0];
}

}  // namespace

namespace crash_test {

// Not local to this file: the compiler would know all that can be called.
class half_made {
public:
    half_made() {
        // Through a pointer that the compiler cannot follow.
        void (*volatile call)(half_made&) = [](half_made& object) { object.pure(); };
        call(*this);
    }
    virtual ~half_made() = default;
    virtual void pure() = 0;
};
class made final : public half_made {
    void pure() override {}
};

}  // namespace crash_test

namespace {

void throw_five() { throw 5; }
void throw_out_of_noexcept() noexcept { throw_five(); }

/// A crash leaves a pool behind that works as before.
void check_works(process_pool& pool) {
    for (int i = 0; i != 20; ++i) BOOST_TEST(pool.submit(square, i).get() == i * i);
    check_balance(pool.stats());
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(crash, scene)

BOOST_AUTO_TEST_CASE(segfault_names_signal_pid_and_task_and_its_siblings_succeed) {
    process_pool pool(2);
    std::vector<future<int>> siblings;
    for (int i = 0; i != 50; ++i) siblings.push_back(pool.submit(square, i));
    auto crashing = pool.submit(task_options{.name = "null writer"}, write_to_null, file("pid"));
    for (int i = 50; i != 100; ++i) siblings.push_back(pool.submit(square, i));

    const auto e = error_of<worker_crashed>(std::move(crashing));
    const pid_t pid = await_pid(file("pid"));
    BOOST_TEST(e.status().signaled());
    BOOST_TEST(e.status().signal() == SIGSEGV);
    BOOST_TEST(e.pid() == pid);
    BOOST_TEST((e.phase() == task_phase::run));
    BOOST_TEST(e.task_name() == "null writer");
    const std::string what = e.what();
    BOOST_TEST(contains(what, "killed by SIGSEGV"));
    BOOST_TEST(contains(what, std::to_string(pid)));
    BOOST_TEST(contains(what, "null writer"));
    for (int i = 0; i != 100; ++i) BOOST_TEST(siblings[static_cast<std::size_t>(i)].get() == i * i);
    BOOST_TEST(pool.stats().crashed == 1U);
    BOOST_TEST(pool.stats().succeeded == 100U);
    check_works(pool);
}

BOOST_AUTO_TEST_CASE(leaving_by_exit_or_abort_is_a_crash_with_that_code_whatever_the_code) {
    process_pool pool(1);
    const auto status_of = [](future<void> f) {
        return error_of<worker_crashed>(std::move(f)).status();
    };
    for (int round = 0; round != 3; ++round) {
        const auto aborted = status_of(pool.submit([] { std::abort(); }));
        BOOST_TEST(aborted.signaled());
        BOOST_TEST(aborted.signal() == SIGABRT);
        for (const int code : {0, 42, 255}) {
            const auto status = status_of(pool.submit([](int c) { ::_exit(c); }, code));
            BOOST_TEST(status.exited());
            BOOST_TEST(status.exit_code() == code);
        }
        for (const int code : {0, 11}) {
            const auto status = status_of(pool.submit([](int c) { std::exit(c); }, code));
            BOOST_TEST(status.exited());
            BOOST_TEST(status.exit_code() == code);
        }
        const auto quick = status_of(pool.submit([] { std::quick_exit(7); }));
        BOOST_TEST(quick.exit_code() == 7);
    }
    BOOST_TEST(pool.stats().crashed == 21U);
    BOOST_TEST(pool.stats().succeeded == 0U);
    check_works(pool);
}

BOOST_AUTO_TEST_CASE(worker_killed_from_outside_mid_run_fails_only_its_own_task) {
    process_pool pool(1);
    auto running = pool.submit(task_options{.name = "victim"}, hold, file("on"), file("never"));
    const pid_t pid = await_pid(file("on"));
    std::vector<future<pid_t>> waiting;
    for (int i = 0; i != 20; ++i) waiting.push_back(pool.submit(whoami));
    ::kill(pid, SIGKILL);

    const auto e = error_of<worker_crashed>(std::move(running));
    BOOST_TEST(e.status().signal() == SIGKILL);
    BOOST_TEST(e.pid() == pid);
    BOOST_TEST(is_gone(pid));
    for (auto& f : waiting) BOOST_TEST(f.get() != pid);
    BOOST_TEST(pool.stats().crashed == 1U);
    BOOST_TEST(pool.stats().restarts == 1U);
    BOOST_TEST(pool.workers().at(0).restarts == 1U);
}

BOOST_AUTO_TEST_CASE(tasks_that_wait_in_a_killed_workers_own_queue_run_elsewhere_once) {
    process_pool pool(1);
    const auto log = file("log");
    // Short tasks measured first: now many are handed to the worker at a time.
    for (int i = 0; i != 300; ++i) pool.submit(square, i).get();
    auto running = pool.submit(hang, file("on"));
    std::vector<future<void>> waiting;
    for (int i = 0; i != 100; ++i) {
        waiting.push_back(pool.submit(append_line, log, std::to_string(i)));
    }
    const pid_t pid = await_pid(file("on"));
    ::kill(pid, SIGKILL);
    BOOST_TEST(error_of<worker_crashed>(std::move(running)).pid() == pid);
    for (auto& f : waiting) BOOST_CHECK_NO_THROW(f.get());
    const auto lines = lines_of(log);
    BOOST_TEST(lines.size() == 100U);
    for (std::size_t i = 0; i != lines.size(); ++i) BOOST_TEST(lines[i] == std::to_string(i));
}

BOOST_AUTO_TEST_CASE(idle_workers_killed_cost_nothing) {
    process_pool pool(2);
    for (int round = 0; round != 5; ++round) {
        for (const pid_t pid : pids_of(pool)) ::kill(pid, SIGKILL);
        std::vector<future<int>> all;
        for (int i = 0; i != 1000; ++i) all.push_back(pool.submit(square, i));
        for (int i = 0; i != 1000; ++i) BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
    }
    BOOST_TEST(pool.stats().crashed == 0U);
    BOOST_TEST(pool.stats().succeeded == 5000U);
}

BOOST_AUTO_TEST_CASE(workers_that_kill_each_other_leave_every_future_resolved) {
    for (const int n : {1, 2, 5, 13}) {
        process_pool pool(n);
        const auto pids = pids_of(pool);
        std::vector<future<void>> all;
        for (std::size_t i = 0; i != pids.size(); ++i) {
            all.push_back(
                pool.submit([](pid_t pid) { ::kill(pid, SIGKILL); }, pids[(i + 1) % pids.size()]));
        }
        for (auto& f : all) {
            try {
                f.get();
            } catch (const worker_crashed& e) {
                BOOST_TEST(e.status().signal() == SIGKILL);
            }
        }
        check_works(pool);
    }
}

BOOST_AUTO_TEST_CASE(a_storm_of_kills_resolves_each_future_once_and_runs_no_task_twice) {
    constexpr int tasks = 3000;
    const auto log = file("log");
    std::vector<std::atomic<int>> resolved(tasks);
    int crashed = 0;
    {
        process_pool pool(3);
        std::vector<future<int>> all;
        std::atomic<bool> over{false};
        std::thread killer([&] {
            std::minstd_rand random(7);
            std::uint64_t seen = 0;
            while (!over) {
                // A kill for every 50 tasks that have ended, wherever the worker is then.
                const auto s = pool.stats();
                const auto ended = s.succeeded + s.crashed;
                if (ended < seen + 50) {
                    ::usleep(100);
                    continue;
                }
                seen = ended;
                const auto workers = pool.workers();
                const pid_t pid = workers[random() % workers.size()].pid;
                if (pid != 0) ::kill(pid, SIGKILL);
            }
        });
        for (int i = 0; i != tasks; ++i) {
            all.push_back(pool.submit(
                [](const fs::path& to, int number) {
                    append_line(to, std::to_string(number));
                    return number * number;
                },
                log, i));
            all.back().on_done([&resolved, i] { ++resolved[static_cast<std::size_t>(i)]; });
        }
        for (int i = 0; i != tasks; ++i) {
            try {
                BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
            } catch (const worker_crashed& e) {
                BOOST_TEST(e.status().signal() == SIGKILL);
                ++crashed;
            }
        }
        over = true;
        killer.join();
        pool.join();
        check_balance(pool.stats());
        BOOST_TEST(pool.stats().crashed == static_cast<unsigned>(crashed));
    }
    for (const auto& count : resolved) BOOST_TEST(count == 1);
    std::map<std::string, int> runs;
    for (const auto& line : lines_of(log)) ++runs[line];
    for (const auto& [task, count] : runs) BOOST_TEST(count == 1, "task " << task << " ran twice");
    BOOST_TEST(runs.size() + static_cast<unsigned>(crashed) >= static_cast<unsigned>(tasks));
}

BOOST_AUTO_TEST_CASE(a_stopped_worker_is_ended_by_its_timeout_only_and_siblings_proceed) {
    process_pool pool({.workers = 2, .kill_grace = 100ms});
    auto stopped = pool.submit(task_options{.timeout = 500ms}, hang, file("on"));
    const pid_t pid = await_pid(file("on"));
    ::kill(pid, SIGSTOP);
    for (int i = 0; i != 200; ++i) BOOST_TEST(pool.submit(square, i).get() == i * i);
    BOOST_TEST(error_of<bulkhead::task_timeout>(std::move(stopped)).pid() == pid);
    BOOST_TEST(is_gone(pid));
    check_works(pool);
}

BOOST_AUTO_TEST_CASE(ways_to_die_are_told_apart) {
    process_pool pool(1);
    const auto signal_of = [](auto f) {
        return error_of<worker_crashed>(std::move(f)).status().signal();
    };
    BOOST_TEST(signal_of(pool.submit(overflow_stack, 0)) == SIGSEGV);
    BOOST_TEST(signal_of(pool.submit([] { std::terminate(); })) == SIGABRT);
    BOOST_TEST(signal_of(pool.submit([] { crash_test::made{}; })) == SIGABRT);
    BOOST_TEST(signal_of(pool.submit([] { ::raise(SIGFPE); })) == SIGFPE);
    BOOST_TEST(signal_of(pool.submit([] { ::raise(SIGTERM); })) == SIGTERM);
    BOOST_TEST(signal_of(pool.submit(throw_out_of_noexcept)) == SIGABRT);
    (void)error_of<std::bad_alloc>(pool.submit([] { throw std::bad_alloc(); }));
    if constexpr (!sanitized) {
        (void)error_of<std::bad_alloc>(pool.submit(
            [](std::size_t bytes) {
                const std::vector<char> impossible(bytes);
                return impossible.at(bytes / 2);
            },
            std::size_t{1} << 62));
    }
    check_works(pool);
}

BOOST_AUTO_TEST_CASE(tasks_at_a_stopped_worker_that_has_not_begun_them_run_elsewhere) {
    process_pool pool(2);
    const auto pids = pids_of(pool);
    ::kill(pids[0], SIGSTOP);
    // One of them lands at the stopped worker, which has nothing else to do.
    std::vector<future<pid_t>> all;
    for (int i = 0; i != 20; ++i) all.push_back(pool.submit(whoami));
    for (auto& f : all) BOOST_TEST(f.get() == pids[1]);
    ::kill(pids[0], SIGCONT);
    // It takes part again.
    until([&] { return pool.submit(whoami).get() == pids[0]; });
    BOOST_TEST(pool.stats().restarts == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
