// Workers in waiting take the places of those that die.
#include "support/family.hpp"
#include "support/scene.hpp"

#include <algorithm>
#include <set>

namespace {

using namespace test;
using bulkhead::process_pool;
using bulkhead::worker_crashed;

/// The processes of this test that are not in `known`, nor a keeper.
std::vector<pid_t> others(const scene& at, const std::vector<pid_t>& known) {
    std::vector<pid_t> found;
    for (const pid_t pid : processes_marked(at.mark())) {
        if (std::count(known.begin(), known.end(), pid) == 0 && !is_keeper(pid)) {
            found.push_back(pid);
        }
    }
    return found;
}

std::vector<pid_t> await_spares(const scene& at, const process_pool& pool, std::size_t count) {
    std::vector<pid_t> found;
    // One that was killed this moment may still be counted.
    until([&] {
        found = others(at, pids_of(pool));
        return pool.stats().spares == count && found.size() == count;
    });
    return found;
}

void crash() { ::_exit(1); }

}  // namespace

BOOST_FIXTURE_TEST_SUITE(spares, scene)

BOOST_AUTO_TEST_CASE(a_spare_takes_the_place_of_a_crashed_worker) {
    process_pool pool(1);
    BOOST_TEST(pool.submit(square, 3).get() == 9);
    for (int i = 0; i != 5; ++i) {
        const auto spare = await_spares(*this, pool, 1);
        (void)error_of<worker_crashed>(pool.submit(crash));
        BOOST_TEST(pool.submit(whoami).get() == spare.at(0));
    }
    BOOST_TEST(pool.stats().restarts == 5U);
    BOOST_TEST(pool.workers().size() == 1U);
}

BOOST_AUTO_TEST_CASE(as_many_as_asked_for_stand_by) {
    process_pool pool({.workers = 2, .spare_workers = 3});
    const auto spares = await_spares(*this, pool, 3);
    for (const pid_t pid : pids_of(pool)) ::kill(pid, SIGKILL);
    until([&] { return pool.stats().restarts == 2U; });
    const auto now = pids_of(pool);
    for (const pid_t pid : now) {
        BOOST_TEST(std::count(spares.begin(), spares.end(), pid) == 1);
    }
    BOOST_TEST(await_spares(*this, pool, 3).size() == 3U);
}

BOOST_AUTO_TEST_CASE(none_stands_by_where_none_is_wanted) {
    process_pool pool({.workers = 1, .spare_workers = 0});
    for (int i = 0; i != 3; ++i) (void)error_of<worker_crashed>(pool.submit(crash));
    BOOST_TEST(pool.submit(square, 3).get() == 9);
    ::usleep(100'000);
    BOOST_TEST(others(*this, pids_of(pool)).empty());
    BOOST_TEST(pool.stats().spares == 0U);
}

BOOST_AUTO_TEST_CASE(a_killed_spare_is_replaced_and_costs_nothing) {
    process_pool pool(1);
    std::set<pid_t> seen;
    for (int i = 0; i != 3; ++i) {
        const auto spare = await_spares(*this, pool, 1);
        seen.insert(spare.at(0));
        ::kill(spare.at(0), SIGKILL);
        await_dead(spare.at(0));
        BOOST_TEST(pool.submit(square, i).get() == i * i);
    }
    BOOST_TEST(seen.size() == 3U);
    BOOST_TEST(pool.stats().restarts == 0U);
    BOOST_TEST(pool.stats().crashed == 0U);
}

BOOST_AUTO_TEST_CASE(a_stopped_spare_delays_neither_the_end_nor_a_task) {
    process_pool pool({.workers = 2, .kill_grace = 50ms});
    const auto spare = await_spares(*this, pool, 1);
    ::kill(spare.at(0), SIGSTOP);
    const auto pids = pids_of(pool);
    ::kill(pids[0], SIGKILL);
    until([&] { return pool.stats().restarts == 1U; });
    for (int i = 0; i != 100; ++i) BOOST_TEST(pool.submit(square, i).get() == i * i);
    pool.shutdown();
    BOOST_TEST(is_gone(spare.at(0)));
}

BOOST_AUTO_TEST_CASE(the_initializer_runs_when_a_spare_takes_a_place_and_not_before) {
    const auto log = file("log");
    process_pool pool(
        {.workers = 1,
         .initializer = {[](const fs::path& to) { append_line(to, std::to_string(::getpid())); },
                         log}});
    BOOST_TEST(pool.submit(square, 2).get() == 4);
    const auto spare = await_spares(*this, pool, 1);
    BOOST_TEST(lines_of(log).size() == 1U);
    (void)error_of<worker_crashed>(pool.submit(crash));
    BOOST_TEST(pool.submit(whoami).get() == spare.at(0));
    BOOST_TEST(lines_of(log).size() == 2U);
    BOOST_TEST(lines_of(log).back() == std::to_string(spare.at(0)));
}

BOOST_AUTO_TEST_CASE(they_end_when_all_workers_rest_and_come_back_with_them) {
    process_pool pool({.workers = 2, .idle_timeout = 100ms});
    BOOST_TEST(pool.submit(square, 2).get() == 4);
    until([&] { return processes_marked(mark()).empty(); });
    BOOST_TEST(pool.submit(square, 3).get() == 9);
    until([&] { return processes_marked(mark()).empty(); });
}

BOOST_AUTO_TEST_CASE(what_a_former_spare_writes_is_told_with_its_task) {
    std::atomic<bool> told{false};
    process_pool pool({.workers = 1, .worker_output = [&](const bulkhead::output_line& line) {
                           if (line.text == "here" && line.task_name == "speaker") told = true;
                       }});
    (void)await_spares(*this, pool, 1);
    (void)error_of<worker_crashed>(pool.submit(crash));
    auto f = pool.submit(
        bulkhead::task_options{.name = "speaker"},
        [](const fs::path& on, const fs::path& go) {
            std::puts("here");
            std::fflush(stdout);
            announce(on);
            await(go);
        },
        file("on"), file("go"));
    await(file("on"));
    until([&] { return told.load(); });
    announce(file("go"));
    f.get();
}

BOOST_AUTO_TEST_CASE(pools_that_come_and_go_leave_no_spare) {
    for (int i = 0; i != 30; ++i) {
        process_pool pool(1);
        (void)pool.submit(square, i).get();
        ::usleep(static_cast<useconds_t>(i) * 2000);
        if (i % 3 == 0) pool.terminate();
    }
}

BOOST_AUTO_TEST_CASE(too_many_are_refused) {
    BOOST_CHECK_THROW(process_pool({.workers = 1, .spare_workers = 65}), bulkhead::usage_error);
}

BOOST_AUTO_TEST_SUITE_END()
