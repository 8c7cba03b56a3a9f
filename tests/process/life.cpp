// Beginnings and ends of pools, and what they tell of themselves.
#include "support/scene.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <deque>
#include <ranges>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::pool_closed;
using bulkhead::process_pool;
using bulkhead::task_cancelled;
using bulkhead::task_options;
using bulkhead::thread_pool;
using bulkhead::worker_state;

volatile std::sig_atomic_t told_to_end = 0;

void end_at_sigterm(const fs::path& started) {
    (void)std::signal(SIGTERM, [](int) { told_to_end = 1; });
    announce(started);
    until([] { return told_to_end != 0; });
}

std::vector<int> ignored_or_blocked_signals() {
    std::vector<int> found;
    sigset_t blocked;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    for (int signal = 1; signal < SIGRTMIN; ++signal) {
        struct sigaction present {};
        if (::sigaction(signal, nullptr, &present) != 0) continue;  // glibc's own
        if (present.sa_handler == SIG_IGN || ::sigismember(&blocked, signal) == 1) {
            found.push_back(signal);
        }
    }
    return found;
}

/// Of two workers that had short tasks so far.
void check_one_takes_over_from_the_other(const scene& at, process_pool& pool) {
    auto blocking = pool.submit(hold, at.file("on"), at.file("go"));
    std::vector<future<int>> all;
    for (int i = 0; i != 300; ++i) all.push_back(pool.submit(square, i));
    // All of them, while the long one still runs.
    for (int i = 0; i != 300; ++i) BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
    BOOST_TEST(!blocking.done());
    announce(at.file("go"));
    BOOST_TEST(blocking.get() > 0);
}

/// A pool in a task, in a task, ...: the pids of all that ran.
std::vector<pid_t> nested(int depth) {
    std::vector<pid_t> pids;
    if (depth > 1) {
        process_pool pool(1);
        pids = pool.submit(nested, depth - 1).get();
    }
    pids.push_back(::getpid());
    return pids;
}

void nested_hang(int depth, const fs::path& log, const fs::path& deepest) {
    append_line(log, std::to_string(::getpid()));
    if (depth == 1) {
        announce_pid(deepest);
        while (true) ::pause();
    }
    process_pool pool(1);
    pool.submit(nested_hang, depth - 1, log, deepest).get();
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(life, scene)

BOOST_AUTO_TEST_CASE_TEMPLATE(submit_after_close_is_refused_and_closing_twice_is_no_mistake, Pool,
                              executors) {
    Pool pool(1);
    auto f = pool.submit(square, 3);
    pool.close();
    pool.close();
    BOOST_CHECK_THROW((void)pool.submit(square, 1), pool_closed);
    BOOST_CHECK_THROW((void)pool.try_submit(square, 1), pool_closed);
    BOOST_TEST(f.get() == 9);
    pool.join();
    pool.join();
    pool.shutdown();
    pool.shutdown();
    BOOST_CHECK_THROW((void)pool.submit(square, 1), pool_closed);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(destructor_runs_what_is_queued, Pool, executors) {
    {
        Pool pool(2);
        for (int i = 0; i != 200; ++i) {
            (void)pool.submit(append_line, file("log"), std::to_string(i));
        }
    }
    BOOST_TEST(lines_of(file("log")).size() == 200U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(shutdown_without_waiting_returns_at_once_and_the_destructor_waits,
                              Pool, executors) {
    std::vector<future<pid_t>> all;
    future<pid_t> running;
    {
        Pool pool(1);
        running = pool.submit(hold, file("on"), file("go"));
        await(file("on"));
        for (int i = 0; i != 20; ++i) all.push_back(pool.submit(whoami));
        pool.shutdown({.wait = false});
        BOOST_TEST(!running.done());
        BOOST_CHECK_THROW((void)pool.submit(whoami), pool_closed);
        announce(file("go"));
    }
    BOOST_TEST(running.done());
    for (auto& f : all) BOOST_TEST(f.get() > 0);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(shutdown_may_cancel_what_has_not_started, Pool, executors) {
    Pool pool(1);
    auto running = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    std::vector<future<void>> queued;
    for (int i = 0; i != 50; ++i) queued.push_back(pool.submit(append_line, file("ran"), "x"));
    pool.shutdown({.wait = false, .cancel_queued = true});
    for (auto& f : queued) (void)error_of<task_cancelled>(std::move(f));
    BOOST_TEST(!running.done());
    announce(file("go"));
    pool.shutdown({.wait = true});
    BOOST_TEST(running.get() > 0);
    BOOST_TEST(!fs::exists(file("ran")));
    BOOST_TEST(pool.stats().cancelled == 50U);
}

BOOST_AUTO_TEST_CASE(shutdown_cancels_what_waits_in_the_workers_queue_too) {
    process_pool pool(1);
    for (int i = 0; i != 300; ++i) (void)pool.submit(square, i).get();
    auto running = pool.submit(hold, file("on"), file("go"));
    std::vector<future<void>> queued;
    for (int i = 0; i != 100; ++i) queued.push_back(pool.submit(append_line, file("ran"), "x"));
    await(file("on"));
    pool.shutdown({.wait = false, .cancel_queued = true});
    announce(file("go"));
    BOOST_TEST(running.get() > 0);
    for (auto& f : queued) (void)error_of<task_cancelled>(std::move(f));
    BOOST_TEST(!fs::exists(file("ran")));
}

BOOST_AUTO_TEST_CASE(workers_are_gone_after_shutdown) {
    process_pool pool(3);
    const auto pids = pids_of(pool);
    pool.shutdown();
    for (const pid_t pid : pids) BOOST_TEST(is_gone(pid));
    for (const auto& worker : pool.workers()) {
        BOOST_TEST(worker.pid == 0);
        BOOST_TEST((worker.state == worker_state::dead));
    }
}

BOOST_AUTO_TEST_CASE(an_unused_pool_comes_and_goes) {
    for (int i = 0; i != 10; ++i) process_pool pool(2);
    for (int i = 0; i != 10; ++i) thread_pool pool(2);
    process_pool of_all_cpus;
    BOOST_TEST(!of_all_cpus.workers().empty());
}

BOOST_AUTO_TEST_CASE(terminate_kills_what_runs_and_cancels_what_waits) {
    process_pool pool({.workers = 3, .kill_grace = 100ms});
    std::vector<future<void>> running;
    for (int i = 0; i != 3; ++i) {
        running.push_back(pool.submit(hang, file("on" + std::to_string(i))));
    }
    std::vector<future<int>> queued;
    for (int i = 0; i != 100; ++i) queued.push_back(pool.submit(square, i));
    std::vector<pid_t> pids;
    for (int i = 0; i != 3; ++i) pids.push_back(await_pid(file("on" + std::to_string(i))));
    pool.terminate();
    for (const pid_t pid : pids) BOOST_TEST(is_gone(pid));
    for (auto& f : running) (void)error_of<task_cancelled>(std::move(f));
    for (auto& f : queued) (void)error_of<task_cancelled>(std::move(f));
    BOOST_CHECK_THROW((void)pool.submit(square, 1), pool_closed);
    BOOST_TEST(pool.stats().cancelled == 103U);
    pool.terminate();
}

BOOST_AUTO_TEST_CASE(terminate_lets_a_task_that_ends_in_its_grace_have_no_successor) {
    process_pool pool({.workers = 1, .kill_grace = 10s});
    // Behind quick tasks others are handed out ahead, and behind one that has not begun for long.
    for (int i = 0; i != 100; ++i) BOOST_TEST(pool.submit(square, i).get() == i * i);
    const pid_t worker = pids_of(pool).at(0);
    ::kill(worker, SIGSTOP);
    auto running = pool.submit(end_at_sigterm, file("on"));
    std::vector<future<void>> queued;
    for (int i = 0; i != 10; ++i) {
        queued.push_back(pool.submit(
            [](const fs::path& log) {
                append_line(log, "ran");
                ::usleep(1000);
            },
            file("log")));
    }
    ::kill(worker, SIGCONT);
    await(file("on"));
    pool.terminate();
    (void)error_of<task_cancelled>(std::move(running));
    for (auto& f : queued) (void)error_of<task_cancelled>(std::move(f));
    BOOST_TEST(lines_of(file("log")).size() == 0U);
}

BOOST_AUTO_TEST_CASE(a_task_that_heeds_sigterm_is_not_waited_for_until_the_grace_is_over) {
    process_pool pool({.workers = 1, .kill_grace = 24h});
    auto running = pool.submit(end_at_sigterm, file("on"));
    await(file("on"));
    BOOST_TEST(running.cancel());
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(terminate_lets_an_item_that_ends_in_its_grace_have_no_successor) {
    process_pool pool({.workers = 1, .kill_grace = 10s});
    auto items = pool.map(
        bulkhead::map_options{.chunk_size = 10},
        [](int item, const fs::path& started, const fs::path& log) {
            if (item == 0) end_at_sigterm(started);
            append_line(log, std::to_string(item));
            return std::to_string(item);
        },
        std::views::iota(0, 10), std::vector<fs::path>(10, file("on")),
        std::vector<fs::path>(10, file("log")));
    auto it = items.begin();
    await(file("on"));
    pool.terminate();
    BOOST_CHECK_THROW((void)*it, std::exception);
    BOOST_TEST(lines_of(file("log")).size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_worker_ignores_the_signals_by_which_a_terminal_would_stop_it_and_no_others) {
    const auto before = std::signal(SIGUSR2, SIG_IGN);
    {
        process_pool pool(1);
        BOOST_TEST(
            (pool.submit(ignored_or_blocked_signals).get() == std::vector<int>{SIGTTIN, SIGTTOU}));
    }
    (void)std::signal(SIGUSR2, before);
}

BOOST_AUTO_TEST_CASE(terminate_while_workers_start_and_idle) {
    for (int i = 0; i != 20; ++i) {
        process_pool pool(3);
        if (i % 2 != 0) (void)pids_of(pool);
        pool.terminate();
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(join_waits_for_every_task_and_leaves_the_pool_open, Pool, executors) {
    Pool pool(2);
    std::vector<future<int>> all;
    for (int i = 0; i != 500; ++i) all.push_back(pool.submit(square, i));
    pool.join();
    for (const auto& f : all) BOOST_TEST(f.done());
    BOOST_TEST(pool.submit(square, 2).get() == 4);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(waiting_for_the_pool_from_its_own_callback_is_refused, Pool,
                              executors) {
    Pool pool(1);
    std::atomic<int> refused{0};
    auto f = pool.submit(hold, file("on"), file("go"));
    f.on_done([&] {
        try {
            pool.join();
        } catch (const bulkhead::usage_error&) {
            ++refused;
        }
        try {
            pool.shutdown();
        } catch (const bulkhead::usage_error&) {
            ++refused;
        }
    });
    announce(file("go"));
    until([&] { return refused == 2; });
}

BOOST_AUTO_TEST_CASE(pools_nested_too_deep_are_refused_and_leave_nothing) {
    process_pool pool(1);
    const auto refusal = error_of<std::runtime_error>(pool.submit(nested, 5));
    BOOST_TEST(contains(refusal.what(), "nesting_max allows 4 levels"), refusal.what());
    const auto none_in_it = [] { process_pool({.workers = 1, .nesting_max = 1}); };
    BOOST_CHECK_THROW(pool.submit(none_in_it).get(), std::runtime_error);
    process_pool deeper({.workers = 1, .nesting_max = 0});
    BOOST_TEST(deeper.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(pools_inside_tasks_three_deep_work_and_vanish) {
    process_pool pool(1);
    const auto pids = pool.submit(nested, 3).get();
    BOOST_TEST(pids.size() == 3U);
    for (const pid_t pid : pids) owns_names(pid);
    pool.shutdown();
    for (const pid_t pid : pids) BOOST_TEST(is_dead(pid));
}

BOOST_AUTO_TEST_CASE(pools_inside_tasks_are_gone_with_a_terminated_parent) {
    process_pool pool({.workers = 1, .kill_grace = 50ms});
    auto f = pool.submit(nested_hang, 3, file("log"), file("deepest"));
    await(file("deepest"));
    pool.terminate();
    (void)error_of<task_cancelled>(std::move(f));
    for (const auto& line : lines_of(file("log"))) {
        const auto pid = static_cast<pid_t>(std::stoi(line));
        owns_names(pid);
        await_dead(pid);
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(higher_priority_runs_first_and_equals_in_order, Pool, executors) {
    Pool pool(1);
    auto running = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    const auto log = file("log");
    for (const int priority : {0, -5, 7, 0, 7}) {
        static int number = 0;
        (void)pool.submit(task_options{.priority = priority}, append_line, log,
                          std::to_string(priority) + "#" + std::to_string(number++ % 5));
    }
    announce(file("go"));
    pool.join();
    BOOST_TEST((lines_of(log) == std::vector<std::string>{"7#2", "7#4", "0#0", "0#3", "-5#1"}));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(
    a_higher_priority_goes_before_what_waits_behind_running_tasks_of_a_pool_that_knows_quick_ones,
    Pool, executors) {
    Pool pool(2);
    for (int i = 0; i != 600; ++i) (void)pool.submit(square, i).get();
    // Equal tasks first, which the pool puts behind the two that run.
    auto first = pool.submit(hold, file("on"), file("go"));
    auto second = pool.submit(hold, file("on 2"), file("go 2"));
    await(file("on"));
    await(file("on 2"));
    const auto log = file("log");
    for (int i = 0; i != 20; ++i) {
        (void)pool.submit(append_line, log, "0#" + std::to_string(100 + i));
    }
    for (const int priority : {3, 5, -1, 5, 9}) {
        static int number = 0;
        (void)pool.submit(task_options{.priority = priority}, append_line, log,
                          std::to_string(priority) + "#" + std::to_string(number++ % 5));
    }
    announce(file("go"));  // the other worker stays where it is
    until([&] { return lines_of(log).size() == 25U; });
    std::vector<std::string> right{"9#4", "5#1", "5#3", "3#0"};
    for (int i = 0; i != 20; ++i) right.push_back("0#" + std::to_string(100 + i));
    right.push_back("-1#2");
    BOOST_TEST((lines_of(log) == right));
    announce(file("go 2"));
}

BOOST_AUTO_TEST_CASE(a_hanging_task_holds_nothing_up_while_ever_more_is_submitted) {
    process_pool pool(2);
    for (int i = 0; i != 600; ++i) (void)pool.submit(square, i).get();
    auto hanging = pool.submit(hold, file("on"), file("go"));
    std::vector<future<int>> early;
    for (int i = 0; i != 100; ++i) early.push_back(pool.submit(square, i));
    // As long as one of the early ones waits there is more work than the other worker can do.
    std::deque<future<int>> more;
    until([&] {
        while (pool.stats().queued < 500U) more.push_back(pool.submit(square, 1));
        return std::all_of(early.begin(), early.end(), [](const auto& f) { return f.done(); });
    });
    BOOST_TEST(!hanging.done());
    announce(file("go"));
}

BOOST_AUTO_TEST_CASE(workers_tell_what_they_are_doing) {
    process_pool pool(2);
    for (const auto& worker : pool.workers()) {  // some have no process yet
        BOOST_TEST((worker.state != worker_state::dead));
    }
    const auto pids = pids_of(pool);
    BOOST_TEST(pids[0] != pids[1]);
    auto f = pool.submit(task_options{.name = "long one"}, hold, file("on"), file("go"));
    const pid_t pid = await_pid(file("on"));
    const auto busy = pool.workers();
    BOOST_TEST(std::count_if(busy.begin(), busy.end(), [&](const auto& w) {
                   return w.pid == pid && w.state == worker_state::busy &&
                          w.task_name == "long one" && w.rss_bytes > 0;
               }) == 1);
    BOOST_TEST(std::count_if(busy.begin(), busy.end(), [&](const auto& w) {
                   return w.pid != pid && w.state == worker_state::idle && w.task_name.empty();
               }) == 1);
    auto stats = pool.stats();
    BOOST_TEST(stats.running == 1U);
    BOOST_TEST(stats.queued == 0U);
    announce(file("go"));
    BOOST_TEST(f.get() == pid);
    until([&] {
        const auto now = pool.workers();
        return std::all_of(now.begin(), now.end(),
                           [](const auto& w) { return w.state == worker_state::idle; });
    });
    stats = pool.stats();
    BOOST_TEST(stats.running == 0U);
    BOOST_TEST(stats.succeeded == 1U);
    BOOST_TEST(stats.submitted == 1U);
}

BOOST_AUTO_TEST_CASE(idle_workers_take_over_what_waits_behind_a_long_task) {
    process_pool pool(2);
    for (int i = 0; i != 600; ++i) (void)pool.submit(square, i).get();
    check_one_takes_over_from_the_other(*this, pool);
}

BOOST_AUTO_TEST_CASE(a_replaced_worker_shares_the_work_as_its_predecessor_did) {
    process_pool pool(2);
    for (const pid_t pid : pids_of(pool)) ::kill(pid, SIGKILL);
    for (int i = 0; i != 600; ++i) (void)pool.submit(square, i).get();
    until([&] { return pool.stats().restarts == 2U; });
    check_one_takes_over_from_the_other(*this, pool);
}

BOOST_AUTO_TEST_CASE(terminate_beside_a_map_that_is_left_early_ends_both) {
    for (int round = 0; round != 20; ++round) {
        process_pool pool({.workers = 2, .kill_grace = 50ms});
        std::atomic<bool> mapping{false};
        std::jthread mapper([&] {
            try {
                while (true) {
                    int seen = 0;
                    for (const int y : pool.map(square, std::views::iota(0, 1000))) {
                        mapping = true;
                        if (y == 100 || ++seen == 20) break;
                    }
                }
            } catch (const bulkhead::error&) {  // closed, or cancelled: the end of the game
            }
        });
        until([&] { return mapping.load(); });
        pool.terminate();
    }
}

BOOST_AUTO_TEST_SUITE_END()
