// Workers that are replaced after so many tasks, that rest, that are added and taken away, and what
// each does first.
#include "support/scene.hpp"

#include <algorithm>
#include <new>
#include <ranges>
#include <set>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::pool_broken;
using bulkhead::process_pool;

int initialised_with = 0;

void initialise(const fs::path& log, int value) {
    append_line(log, std::to_string(::getpid()));
    initialised_with = value;
}
int what_was_initialised() { return initialised_with; }

void initialise_by_throwing(const fs::path& log) {
    append_line(log, "start");
    throw std::runtime_error("no model file");
}
/// Derives from nothing.
struct no_model {
    int code;
};
void initialise_by_throwing_an_own_type(const fs::path& log) {
    append_line(log, "start");
    throw no_model{3};
}
void initialise_by_crashing(const fs::path& log) {
    append_line(log, "start");
    ::raise(SIGSEGV);
}
void initialise_slowly_at_first(const fs::path& on, const fs::path& over) {
    if (fs::exists(on)) return;
    announce(on);
    std::this_thread::sleep_for(3800ms);
    announce(over);
}
void initialise_by_hanging(const fs::path& log) {
    append_line(log, "start");
    while (true) ::pause();
}

pid_t pid_after(std::chrono::microseconds time) {
    ::usleep(static_cast<useconds_t>(time.count()));
    return ::getpid();
}

template <class F>
void check_broken_by(const scene& at, F initializer, const std::string& cause,
                     std::chrono::nanoseconds timeout = 0ns) {
    const auto log = at.file("log");
    process_pool pool({.workers = 2, .task_timeout = timeout, .initializer = {initializer, log}});
    std::vector<future<int>> all;
    try {
        for (int i = 0; i != 10; ++i) all.push_back(pool.submit(square, i));
    } catch (const pool_broken&) {  // it was quicker
    }
    for (auto& f : all) {
        const auto error = error_of<pool_broken>(std::move(f));
        BOOST_TEST(contains(error.what(), cause), error.what());
    }
    until([&] { return pool.workers()[0].pid == 0 && pool.workers()[1].pid == 0; });
    BOOST_CHECK_THROW((void)pool.submit(square, 1), pool_broken);
    const auto starts = lines_of(log).size();
    BOOST_TEST(starts >= 1U);
    BOOST_TEST(starts <= bulkhead::start_failures_max + 1U);  // one may have been under way
    fs::remove(log);
}

}  // namespace

BULKHEAD_EXCEPTION(no_model);

BOOST_FIXTURE_TEST_SUITE(recycling, scene)

BOOST_AUTO_TEST_CASE(a_worker_is_replaced_after_its_number_of_tasks_and_nothing_is_lost) {
    process_pool pool({.workers = 1, .tasks_per_worker_max = 2});
    std::vector<future<pid_t>> all;
    for (int i = 0; i != 10; ++i) all.push_back(pool.submit(whoami));
    std::vector<pid_t> pids;
    for (auto& f : all) pids.push_back(f.get());
    BOOST_TEST(std::set<pid_t>(pids.begin(), pids.end()).size() == 5U);
    for (std::size_t i = 0; i != 10; i += 2) BOOST_TEST(pids[i] == pids[i + 1]);
    BOOST_TEST(pool.stats().crashed == 0U);
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_CASE(many_tasks_through_short_lived_workers_all_succeed) {
    process_pool pool({.workers = 2, .tasks_per_worker_max = 7});
    std::vector<future<int>> all;
    for (int i = 0; i != 200; ++i) all.push_back(pool.submit(square, i));
    for (int i = 0; i != 200; ++i) BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
    int position = 0;
    for (const int y : pool.map(square, std::views::iota(0, 500))) {
        BOOST_TEST(y == position * position);
        ++position;
    }
    BOOST_TEST(position == 500);
}

BOOST_AUTO_TEST_CASE(idle_workers_rest_and_come_back_when_there_is_work) {
    process_pool pool({.workers = 2, .idle_timeout = 20ms});
    for (int round = 0; round != 3; ++round) {
        BOOST_TEST(pool.submit(square, round).get() == round * round);
        until([&] {
            const auto workers = pool.workers();
            return std::all_of(workers.begin(), workers.end(),
                               [](const auto& w) { return w.pid == 0; });
        });
        BOOST_TEST(pool.workers().size() == 2U);
    }
    std::vector<future<pid_t>> both;
    for (int i = 0; i != 2; ++i) {
        both.push_back(pool.submit(hold, file("on" + std::to_string(i)), file("go")));
    }
    for (int i = 0; i != 2; ++i) await(file("on" + std::to_string(i)));  // both at the same time
    announce(file("go"));
    BOOST_TEST(both[0].get() != both[1].get());
}

BOOST_AUTO_TEST_CASE(an_idle_timeout_of_a_moment_loses_nothing_under_load) {
    process_pool pool({.workers = 2, .idle_timeout = 1ms});
    for (int i = 0; i != 300; ++i) {
        auto f = pool.submit(square, i);
        if (i % 3 == 0) ::usleep(static_cast<useconds_t>(i % 7 * 500));
        BOOST_TEST(f.get() == i * i);
    }
    check_balance(pool.stats());
    BOOST_TEST(pool.stats().crashed == 0U);
}

BOOST_AUTO_TEST_CASE(a_pool_can_be_resized_under_load_and_survivors_keep_their_processes) {
    process_pool pool(3);
    std::atomic<bool> stop{false};
    std::atomic<int> done{0};
    std::jthread load([&] {
        std::vector<future<pid_t>> window;
        while (!stop) {
            for (int i = 0; i != 30; ++i) window.push_back(pool.submit(pid_after, 200us));
            for (auto& f : window) {
                if (f.get() > 0) ++done;
            }
            window.clear();
        }
    });
    auto before = pids_of(pool);
    for (const int size : {12, 2, 1, 12, 6, 1, 8, 5}) {
        pool.resize(size);
        BOOST_TEST(pool.workers().size() >= static_cast<std::size_t>(size));
        until([&] { return pool.workers().size() == static_cast<std::size_t>(size); });
        const auto now = pids_of(pool);
        for (std::size_t i = 0; i != std::min(before.size(), now.size()); ++i) {
            BOOST_TEST(now[i] == before[i]);
        }
        before = now;
    }
    stop = true;
    load.join();
    BOOST_TEST(done > 0);
    BOOST_TEST(pool.stats().crashed == 0U);
    check_balance(pool.stats());
    BOOST_CHECK_THROW(pool.resize(-1), bulkhead::usage_error);
    BOOST_CHECK_THROW(pool.resize(4097), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(each_new_worker_runs_the_initializer_before_its_tasks) {
    const auto log = file("log");
    process_pool pool(
        {.workers = 2, .tasks_per_worker_max = 5, .initializer = {initialise, log, 42}});
    for (int i = 0; i != 20; ++i) BOOST_TEST(pool.submit(what_was_initialised).get() == 42);
    pool.shutdown();
    const auto starts = lines_of(log);
    BOOST_TEST(starts.size() >= 4U);
    BOOST_TEST((std::set<std::string>(starts.begin(), starts.end()).size() == starts.size()));
    BOOST_TEST(pool.stats().submitted == 20U);
    BOOST_TEST(pool.stats().succeeded == 20U);
}

BOOST_AUTO_TEST_CASE(an_initializer_that_throws_crashes_or_hangs_breaks_the_pool_with_the_cause) {
    check_broken_by(*this, initialise_by_throwing, "no model file");
    check_broken_by(*this, initialise_by_throwing_an_own_type, "no_model");
    check_broken_by(*this, initialise_by_crashing, "SIGSEGV");
    check_broken_by(*this, initialise_by_hanging, "longer than its time limit", 100ms);
}

BOOST_AUTO_TEST_CASE(an_initializer_has_its_time_limit_and_not_nearly_twice_that) {
    std::string told;
    process_pool pool({.workers = 1,
                       .task_timeout = 2s,
                       .initializer = {initialise_slowly_at_first, file("on"), file("over")},
                       .on_event = [&](const bulkhead::pool_event& e) {
                           if (!e.message.empty()) told = e.message;
                       }});
    BOOST_TEST(pool.submit(square, 2).get() == 4);
    BOOST_TEST(!fs::exists(file("over")));
    BOOST_TEST(contains(told, "longer than its time limit"), told);
}

BOOST_AUTO_TEST_CASE(a_task_that_wants_more_memory_than_its_worker_may_have_fails_alone) {
    if (sanitized) return;  // a sanitizer's own memory counts too
    process_pool pool({.workers = 1, .worker_memory_max_bytes = 64 << 20});
    const pid_t pid = pool.submit(whoami).get();
    for (int round = 0; round != 3; ++round) {
        auto greedy = pool.submit([] { return std::vector<char>(std::size_t{1} << 30).size(); });
        auto modest = pool.submit([] { return std::vector<char>(std::size_t{1} << 20).size(); });
        BOOST_CHECK_THROW((void)greedy.get(), std::bad_alloc);
        BOOST_TEST(modest.get() == std::size_t{1} << 20);
    }
    BOOST_TEST(pool.submit(whoami).get() == pid);
    BOOST_CHECK_THROW(process_pool({.workers = 1, .worker_memory_max_bytes = 1000}),
                      bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(a_worker_that_leaks_is_replaced_before_its_tasks_fail) {
    if (sanitized) return;  // a sanitizer's own memory counts too
    process_pool pool({.workers = 1, .worker_memory_max_bytes = 64 << 20});
    std::vector<future<pid_t>> all;
    for (int i = 0; i != 100; ++i) {
        all.push_back(pool.submit([] {
            auto* leaked = new std::vector<char>(std::size_t{2} << 20, 'x');
            return leaked->front() == 'x' ? ::getpid() : 0;
        }));
    }
    std::set<pid_t> pids;
    for (auto& f : all) pids.insert(f.get());
    BOOST_TEST(pids.size() >= 4U);
    BOOST_TEST(pool.stats().crashed == 0U);
}

BOOST_AUTO_TEST_CASE(a_worker_that_leaks_in_a_map_of_large_results_is_replaced_too) {
    if (sanitized) return;  // a sanitizer's own memory counts too
    process_pool pool({.workers = 1, .worker_memory_max_bytes = 64 << 20});
    int number = 0;
    for (const auto& result : pool.map(
             [](int item) {
                 auto* leaked = new std::vector<char>(std::size_t{2} << 20, 'x');
                 return std::vector<char>(300'000, static_cast<char>(leaked->front() + item % 2));
             },
             std::views::iota(0, 100))) {
        BOOST_TEST(result.at(299'999) == 'x' + number++ % 2);
    }
    BOOST_TEST(number == 100);
    BOOST_TEST(pool.stats().crashed == 0U);
    BOOST_TEST(pool.stats().restarts >= 3U);
}

BOOST_AUTO_TEST_CASE(a_worker_resized_away_and_back_while_it_initialises_costs_no_task) {
    const auto go = file("go");
    process_pool pool(
        {.workers = 3, .initializer = {[](const fs::path& may_end) { await(may_end); }, go}});
    pool.resize(1);
    pool.resize(3);
    announce(go);
    std::vector<future<pid_t>> all;
    for (int i = 0; i != 300; ++i) all.push_back(pool.submit(pid_after, 2ms));
    for (auto& f : all) BOOST_TEST(f.get() > 0);
    BOOST_TEST(pool.stats().crashed == 0U);
    until([&] { return pids_of(pool).size() == 3; });
}

BOOST_AUTO_TEST_SUITE_END()
