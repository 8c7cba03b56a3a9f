// cancel(): of queued tasks, of running ones, and in a race with their end.
#include "support/scene.hpp"

#include <stop_token>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::process_pool;
using bulkhead::task_cancelled;
using bulkhead::task_options;

void ignore_stop(std::stop_token, const fs::path& started) { hang(started); }

void tell_stop(std::stop_token token, const fs::path& started, const fs::path& told) {
    const std::stop_callback callback(token, [&] { announce(told); });
    announce_pid(started);
    await(told);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(cancel, scene)

BOOST_AUTO_TEST_CASE_TEMPLATE(a_cancelled_queued_task_never_runs, Pool, executors) {
    Pool pool(1);
    auto running = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    std::vector<future<void>> queued;
    for (int i = 0; i != 10; ++i) {
        queued.push_back(pool.submit(append_line, file("ran"), std::to_string(i)));
    }
    for (std::size_t i = 0; i != queued.size(); i += 2) {
        BOOST_TEST(queued[i].cancel());
        BOOST_TEST(queued[i].done());
        BOOST_TEST(queued[i].cancelled());
        BOOST_TEST(queued[i].cancel());
        (void)error_of<task_cancelled>(std::move(queued[i]));
    }
    announce(file("go"));
    const pid_t pid = running.get();
    pool.join();
    BOOST_TEST((lines_of(file("ran")) == std::vector<std::string>{"1", "3", "5", "7", "9"}));
    BOOST_TEST(pool.stats().cancelled == 5U);
    BOOST_TEST(pool.submit(whoami).get() == pid);
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_CASE(a_cancelled_running_task_is_killed_and_what_waits_behind_it_runs_elsewhere) {
    process_pool pool(1);
    for (int i = 0; i != 300; ++i) (void)pool.submit(square, i).get();
    auto running = pool.submit(task_options{.name = "doomed"}, hang, file("on"));
    std::vector<future<pid_t>> behind;
    for (int i = 0; i != 50; ++i) behind.push_back(pool.submit(whoami));
    const pid_t pid = await_pid(file("on"));
    BOOST_TEST(running.running());
    BOOST_TEST(running.cancel());
    BOOST_TEST(is_gone(pid));
    BOOST_TEST(running.cancelled());
    BOOST_TEST(contains(error_of<task_cancelled>(std::move(running)).what(), "doomed"));
    for (auto& f : behind) BOOST_TEST(f.get() != pid);
    BOOST_TEST(pool.stats().cancelled == 1U);
    BOOST_TEST(pool.stats().crashed == 0U);
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(cancel_of_an_ended_task_is_refused_and_changes_nothing, Pool,
                              executors) {
    Pool pool(1);
    auto f = pool.submit(square, 5);
    f.wait();
    BOOST_TEST(!f.cancel());
    BOOST_TEST(!f.cancelled());
    BOOST_TEST(f.get() == 25);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(cancel_racing_completion_has_exactly_one_outcome_each_time, Pool,
                              executors) {
    constexpr bool is_slow = sanitized && std::is_same_v<Pool, process_pool>;
    constexpr int rounds = is_slow ? 1000 : 10'000;
    Pool pool(2);
    std::atomic<int> callbacks{0};
    int cancelled = 0;
    for (int i = 0; i != rounds; ++i) {
        auto f = pool.submit(square, i % 1000);
        f.on_done([&] { ++callbacks; });
        // From far before its end to well after it.
        for (int spin = 0; spin < i % 100 * 50; ++spin) (void)f.done();
        const bool was_cancelled = f.cancel();
        if (was_cancelled) {
            ++cancelled;
            BOOST_TEST(f.cancelled());
            BOOST_CHECK_THROW((void)f.get(), task_cancelled);
        } else {
            BOOST_TEST(f.get() == (i % 1000) * (i % 1000));
        }
    }
    pool.join();
    until([&] { return callbacks == rounds; });
    const auto stats = pool.stats();
    BOOST_TEST(stats.cancelled == static_cast<unsigned>(cancelled));
    BOOST_TEST(stats.succeeded == static_cast<unsigned>(rounds - cancelled));
    BOOST_TEST(stats.crashed == 0U);
    BOOST_TEST_MESSAGE(cancelled << " of " << rounds << " were cancelled");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(cancel_from_many_threads_at_once_has_one_outcome, Pool, executors) {
    Pool pool(2);
    for (int i = 0; i != 100; ++i) {
        auto f = pool.submit(square, i);
        std::atomic<int> yes{0};
        {
            std::vector<std::jthread> cancellers;
            for (int k = 0; k != 3; ++k) {
                cancellers.emplace_back([&] {
                    if (f.cancel()) ++yes;
                });
            }
            f.wait();
        }
        if (f.cancelled()) {
            BOOST_TEST(yes == 3);
        } else {
            BOOST_TEST(yes == 0);
            BOOST_TEST(f.get() == i * i);
        }
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_wait_that_expires_leaves_the_task_running, Pool, executors) {
    Pool pool(1);
    auto f = pool.submit(hold, file("on"), file("go"));
    const pid_t pid = await_pid(file("on"));
    BOOST_TEST(!f.wait_for(1ms).ready());
    BOOST_TEST(!f.wait_for(0s).ready());
    BOOST_TEST(!f.wait_until(std::chrono::system_clock::now() + 5ms).ready());
    BOOST_TEST(!f.wait_until(std::chrono::steady_clock::now() - 1h).ready());
    BOOST_TEST(f.running());
    announce(file("go"));
    BOOST_TEST(f.wait_for(1h).ready());
    BOOST_TEST(f.get() == pid);
}

BOOST_AUTO_TEST_CASE(a_stop_token_that_is_heard_keeps_the_worker) {
    process_pool pool(1);
    const pid_t before = pool.submit(whoami).get();
    for (int round = 0; round != 3; ++round) {
        const auto started = file("on" + std::to_string(round));
        auto f = pool.submit(until_stopped, started);
        BOOST_TEST(await_pid(started) == before);
        BOOST_TEST(f.cancel());
        BOOST_CHECK_THROW((void)f.get(), task_cancelled);
        BOOST_TEST(pool.submit(whoami).get() == before);
    }
    auto f = pool.submit(tell_stop, file("on"), file("told"));
    await(file("on"));
    BOOST_TEST(f.cancel());
    BOOST_TEST(fs::exists(file("told")));
    BOOST_TEST(pool.submit(whoami).get() == before);
    BOOST_TEST(pool.stats().restarts == 0U);
}

BOOST_AUTO_TEST_CASE(a_stop_token_that_is_ignored_costs_the_worker_after_the_grace) {
    process_pool pool({.workers = 1, .kill_grace = 100ms});
    auto f = pool.submit(ignore_stop, file("on"));
    const pid_t pid = await_pid(file("on"));
    BOOST_TEST(f.cancel());
    BOOST_TEST(is_gone(pid));
    BOOST_TEST(pool.submit(whoami).get() != pid);
}

BOOST_AUTO_TEST_CASE(a_stop_token_of_a_task_that_nobody_cancels_stays_quiet) {
    process_pool pool(1);
    auto f = pool.submit(
        [](std::stop_token token, int x) { return token.stop_requested() ? -1 : x; }, 7);
    BOOST_TEST(f.get() == 7);
}

BOOST_AUTO_TEST_CASE(cancel_from_a_callback_does_not_wait) {
    process_pool pool(1);
    auto running = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    auto victim = pool.submit(square, 1);
    std::atomic<int> told{-1};
    running.on_done([&] { told = victim.cancel() ? 1 : 0; });
    announce(file("go"));
    until([&] { return told != -1; });
    victim.wait();
    BOOST_TEST(victim.cancelled() == (told == 1));
}

BOOST_AUTO_TEST_CASE(
    what_is_taken_back_with_a_cancelled_task_runs_even_if_no_task_ends_in_between) {
    process_pool pool(1);
    const pid_t pid = pids_of(pool)[0];
    for (int i = 0; i != 300; ++i) (void)pool.submit(square, i).get();
    // At an idle worker that does not look: it lies in its queue, and no end of a task hands it out.
    ::kill(pid, SIGSTOP);
    std::vector<future<pid_t>> queued;
    for (int i = 0; i != 5; ++i) queued.push_back(pool.submit(whoami));
    BOOST_TEST(queued[1].cancel());
    ::kill(pid, SIGCONT);
    for (const std::size_t i : {0U, 2U, 3U, 4U}) BOOST_TEST(queued[i].get() == pid);
    BOOST_TEST(queued[1].cancelled());
}

BOOST_AUTO_TEST_SUITE_END()
