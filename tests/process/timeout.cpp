// Tasks that run longer than they may.
#include "support/scene.hpp"

#include <sys/prctl.h>

namespace {

using namespace test;
using bulkhead::process_pool;
using bulkhead::task_options;
using bulkhead::task_timeout;

void hang_with_family(const fs::path& child, const fs::path& grandchild, const fs::path& started) {
    if (::fork() == 0) {
        if (::fork() == 0) {
            announce_pid(grandchild);
            while (true) ::pause();
        }
        announce_pid(child);
        while (true) ::pause();
    }
    hang(started);
}

/// Somebody else is left in the group that the pool signals.
void hang_in_another_group(const fs::path& started) {
    if (::fork() == 0) {
        while (true) ::pause();
    }
    const pid_t leader = ::fork();
    if (leader == 0) {
        ::setpgid(0, 0);
        while (true) ::pause();
    }
    ::setpgid(leader, leader);
    if (::setpgid(0, leader) != 0) std::abort();
    hang(started);
}

volatile std::sig_atomic_t terminations = 0;

void ignore_termination(const fs::path& started, const fs::path& asked) {
    std::signal(SIGTERM, [](int) { terminations = 1; });
    announce_pid(started);
    while (terminations == 0) ::usleep(1000);
    announce(asked);
    while (true) ::pause();
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(timeout, scene)

BOOST_AUTO_TEST_CASE(a_timeout_ends_the_task_and_its_worker_and_the_next_runs_under_a_new_pid) {
    process_pool pool(1);
    auto late = pool.submit(task_options{.timeout = 100ms, .name = "late"}, hang, file("on"));
    auto next = pool.submit(whoami);
    const pid_t pid = await_pid(file("on"));
    const auto e = error_of<task_timeout>(std::move(late));
    BOOST_TEST(is_gone(pid));
    BOOST_TEST(e.pid() == pid);
    BOOST_TEST((e.timeout() == 100ms));
    BOOST_TEST(contains(e.what(), "late"));
    BOOST_TEST(contains(e.what(), "100 ms"));
    BOOST_TEST(next.get() != pid);
    const auto stats = pool.stats();
    BOOST_TEST(stats.timed_out == 1U);
    BOOST_TEST(stats.crashed == 0U);
    BOOST_TEST(stats.restarts == 1U);
    check_balance(stats);
}

BOOST_AUTO_TEST_CASE(the_pools_timeout_is_for_tasks_that_set_none) {
    process_pool pool({.workers = 1, .task_timeout = 100ms});
    (void)error_of<task_timeout>(pool.submit(hang, file("a")));
    BOOST_TEST(pool.submit(square, 3).get() == 9);
    auto longer = pool.submit(task_options{.timeout = 1h}, hold, file("b"), file("go"));
    await(file("b"));
    BOOST_TEST(!longer.wait_for(300ms).ready());
    announce(file("go"));
    BOOST_TEST(longer.get() > 0);
}

BOOST_AUTO_TEST_CASE(a_timeout_is_never_retried) {
    process_pool pool(1);
    auto late = pool.submit(task_options{.timeout = 100ms, .retries = 3}, hang, file("on"));
    (void)error_of<task_timeout>(std::move(late));
    BOOST_TEST(pool.stats().retried == 0U);
}

BOOST_AUTO_TEST_CASE(the_clock_starts_when_the_task_starts_not_when_it_is_queued) {
    process_pool pool(1);
    auto first = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    std::vector<bulkhead::future<int>> queued;
    for (int i = 0; i != 5; ++i) {
        queued.push_back(pool.submit(task_options{.timeout = 1500ms}, square, i));
    }
    // Queued for longer than the timeout.
    BOOST_TEST(!queued.front().wait_for(2s).ready());
    announce(file("go"));
    BOOST_TEST(first.get() > 0);
    for (int i = 0; i != 5; ++i) BOOST_TEST(queued[static_cast<std::size_t>(i)].get() == i * i);
}

BOOST_AUTO_TEST_CASE(a_task_that_ignores_sigterm_is_killed_after_the_grace) {
    process_pool pool({.workers = 1, .kill_grace = 200ms});
    auto stubborn =
        pool.submit(task_options{.timeout = 100ms}, ignore_termination, file("on"), file("asked"));
    const auto e = error_of<task_timeout>(std::move(stubborn));
    BOOST_TEST(e.pid() == await_pid(file("on")));
    BOOST_TEST(is_gone(e.pid()));
    if constexpr (!sanitized) BOOST_TEST(fs::exists(file("asked")));
    BOOST_TEST(pool.submit(square, 4).get() == 16);
}

BOOST_AUTO_TEST_CASE(a_timed_out_tasks_children_and_grandchildren_are_dead) {
    process_pool pool({.workers = 1, .kill_grace = 100ms});
    // Long enough that the family exists.
    auto late = pool.submit(hang_with_family, file("child"), file("grandchild"), file("on"));
    const pid_t child = await_pid(file("child"));
    const pid_t grandchild = await_pid(file("grandchild"));
    await(file("on"));
    BOOST_TEST(late.cancel());
    await_dead(child);
    await_dead(grandchild);

    auto timed = pool.submit(task_options{.timeout = 3s}, hang_with_family, file("child2"),
                             file("grandchild2"), file("on2"));
    const pid_t child2 = await_pid(file("child2"));
    const pid_t grandchild2 = await_pid(file("grandchild2"));
    (void)error_of<task_timeout>(std::move(timed));
    await_dead(child2);
    await_dead(grandchild2);
}

BOOST_AUTO_TEST_CASE(a_task_that_has_moved_its_worker_to_another_group_is_killed_all_the_same) {
    process_pool pool({.workers = 1, .kill_grace = 100ms});
    auto late = pool.submit(task_options{.timeout = 2s}, hang_in_another_group, file("on"));
    const pid_t pid = await_pid(file("on"));
    const auto e = error_of<task_timeout>(std::move(late));
    BOOST_TEST(e.pid() == pid);
    BOOST_TEST(is_gone(pid));

    auto running = pool.submit(hang_in_another_group, file("on2"));
    await(file("on2"));
    pool.terminate();
    (void)error_of<bulkhead::task_cancelled>(std::move(running));

    bulkhead::process other(hang_in_another_group, file("on3"));
    await(file("on3"));
    other.kill();
    BOOST_TEST(other.join().signal() == SIGKILL);
}

BOOST_AUTO_TEST_CASE(many_timeouts_at_once_each_hit_their_own_task) {
    process_pool pool({.workers = 4, .kill_grace = 100ms});
    std::vector<bulkhead::future<void>> late;
    std::vector<bulkhead::future<int>> fine;
    for (int i = 0; i != 12; ++i) {
        late.push_back(pool.submit(task_options{.timeout = std::chrono::milliseconds(20 + i)}, hang,
                                   file("on" + std::to_string(i))));
        for (int k = 0; k != 10; ++k) {
            fine.push_back(pool.submit(task_options{.timeout = 60s}, square, k));
        }
    }
    for (auto& f : late) (void)error_of<task_timeout>(std::move(f));
    for (auto& f : fine) BOOST_CHECK_NO_THROW((void)f.get());
    BOOST_TEST(pool.stats().timed_out == 12U);
    BOOST_TEST(pool.stats().succeeded == 120U);
}

BOOST_AUTO_TEST_CASE(a_timeout_inside_a_task_of_many_short_ones_spares_the_others) {
    process_pool pool({.workers = 1, .kill_grace = 100ms});
    for (int i = 0; i != 300; ++i) (void)pool.submit(square, i).get();
    auto late = pool.submit(task_options{.timeout = 100ms}, hang, file("on"));
    std::vector<bulkhead::future<int>> behind;
    for (int i = 0; i != 150; ++i) behind.push_back(pool.submit(square, i));
    (void)error_of<task_timeout>(std::move(late));
    for (int i = 0; i != 150; ++i) BOOST_TEST(behind[static_cast<std::size_t>(i)].get() == i * i);
}

BOOST_AUTO_TEST_SUITE_END()
