// What a task says of how far it is, and what others get to know of it.
#include "support/scene.hpp"

#include <boost/mpl/list.hpp>

#include <atomic>
#include <mutex>
#include <ranges>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::process_pool;
using bulkhead::report_progress;
using bulkhead::task_options;
using bulkhead::task_progress;
using bulkhead::thread_pool;

using both = boost::mpl::list<process_pool, thread_pool>;

/// Says 3 of 10, waits, says 9 of 10.
int report_and_hold(const fs::path& started, const fs::path& release) {
    report_progress(3, 10);
    announce_pid(started);
    await(release);
    report_progress(9, 10);
    return 1;
}

/// Says one step after another for as long as it takes until it is told to end.
int report_steps(const fs::path& release) {
    int step = 0;
    while (!fs::exists(release)) {
        report_progress(++step);
        ::usleep(1000);
    }
    ++step;
    report_progress(step, step);
    return step;
}

void report_and_die(int done) {
    report_progress(done, 10);
    ::raise(SIGKILL);
}

/// In its first run says something and dies; in the next it says nothing for a while.
void die_once(const fs::path& ran, const fs::path& started, const fs::path& release) {
    if (!fs::exists(ran)) {
        announce(ran);
        report_and_die(5);
    }
    announce_pid(started);
    await(release);
}

/// What a watcher was told.
class record {
public:
    void add(const task_progress& said) {
        const std::lock_guard lock(mutex_);
        all_.push_back(said);
    }
    [[nodiscard]] std::vector<task_progress> all() const {
        const std::lock_guard lock(mutex_);
        return all_;
    }
    [[nodiscard]] auto adder() {
        return [this](const task_progress& said) { add(said); };
    }

private:
    mutable std::mutex mutex_;
    std::vector<task_progress> all_;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(progress, scene)

BOOST_AUTO_TEST_CASE_TEMPLATE(a_future_tells_how_far_its_task_is_and_was, Pool, both) {
    Pool pool(2);
    auto f = pool.submit(report_and_hold, file("started"), file("release"));
    await(file("started"));
    BOOST_CHECK(f.progress() == (task_progress{3, 10}));
    announce(file("release"));
    f.wait();
    BOOST_CHECK(f.progress() == (task_progress{9, 10}));
    BOOST_TEST(f.get() == 1);
    auto silent = pool.submit(square, 3);
    silent.wait();
    BOOST_CHECK(silent.progress() == task_progress());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(watchers_are_told_in_order_not_too_often_and_of_the_end, Pool, both) {
    record heard;
    record heard_too;
    std::atomic<bool> ended{false};
    std::atomic<bool> too_late{false};
    const auto start = std::chrono::steady_clock::now();
    int steps = 0;
    {
        Pool pool(1);
        auto f = pool.submit(task_options{.on_progress =
                                              [&](const task_progress& said) {
                                                  heard.add(said);
                                                  too_late = too_late || ended;
                                              }},
                             report_steps, file("release"));
        f.on_progress([&](std::uint64_t done, std::uint64_t total) {
            heard_too.add({done, total});
        });
        f.on_done([&] { ended = true; });
        until([&] { return heard.all().size() >= 4 && heard_too.all().size() >= 3; });
        announce(file("release"));
        steps = f.get();
    }
    const auto took = std::chrono::steady_clock::now() - start;
    const auto all = heard.all();
    BOOST_CHECK(std::ranges::is_sorted(all, {}, &task_progress::done));
    const auto last = static_cast<std::uint64_t>(steps);
    BOOST_CHECK(all.back() == (task_progress{last, last}));
    BOOST_CHECK(heard_too.all().back() == (task_progress{last, last}));
    BOOST_TEST(all.size() <= static_cast<std::size_t>(took / bulkhead::progress_interval) + 2);
    BOOST_TEST(!too_late);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(who_has_the_result_has_been_told_everything, Pool, both) {
    Pool pool(2);
    for (int i = 1; i != (sanitized ? 50 : 500); ++i) {
        std::uint64_t last = 0;  // no longer there when a watcher is called too late
        std::uint64_t calls = 0;
        auto f = pool.submit(
            task_options{.on_progress =
                             [&last, calls = std::uint64_t{0},
                              &all = calls](const task_progress& said) mutable {
                                 last = said.done;
                                 all = ++calls;
                             }},
            [](int x) {
                report_progress(x, 1000);
                return x;
            },
            i);
        BOOST_TEST_REQUIRE(f.get() == i);
        BOOST_TEST_REQUIRE(last == static_cast<std::uint64_t>(i));
        BOOST_TEST_REQUIRE(calls >= 1U);
    }
}

BOOST_AUTO_TEST_CASE(a_watcher_keeps_its_own_state) {
    process_pool pool(1);
    std::atomic<int> calls{0};
    std::atomic<int> greatest{0};
    auto f = pool.submit(task_options{.on_progress =
                                          [&, own = 0](const task_progress&) mutable {
                                              greatest = ++own;
                                              ++calls;
                                          }},
                         report_steps, file("release"));
    until([&] { return calls >= 3; });
    announce(file("release"));
    (void)f.get();
    BOOST_TEST(greatest == calls);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_watcher_that_throws_harms_nothing, Pool, both) {
    std::atomic<int> failures{0};
    const auto count = [&](const bulkhead::pool_event& event) {
        if (event.what == bulkhead::pool_event::kind::callback_failed) ++failures;
    };
    Pool pool({.workers = 1, .on_event = count});
    auto f = pool.submit(task_options{.on_progress =
                                          [](const task_progress&) {
                                              throw std::runtime_error("a watcher's own trouble");
                                          }},
                         report_and_hold, file("started"), file("release"));
    await(file("started"));
    announce(file("release"));
    BOOST_TEST(f.get() == 1);
    pool.join();
    BOOST_TEST(failures >= 1);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(who_begins_to_watch_a_task_that_has_ended_hears_nothing, Pool, both) {
    std::atomic<int> called{0};
    {
        Pool pool(1);
        auto f = pool.submit(
            [](int x) {
                report_progress(x, x);
                return x;
            },
            4);
        f.wait();
        f.on_progress([&](const task_progress&) { ++called; });
        BOOST_TEST(pool.submit(square, 2).get() == 4);
    }
    BOOST_TEST(called == 0);
}

BOOST_AUTO_TEST_CASE(a_crash_leaves_what_the_task_said_last) {
    record heard;
    process_pool pool(2);
    auto f = pool.submit(task_options{.on_progress = heard.adder()}, report_and_die, 7);
    f.wait();
    BOOST_CHECK(f.progress() == (task_progress{7, 10}));
    BOOST_CHECK_THROW(f.get(), bulkhead::worker_crashed);
    pool.join();
    BOOST_REQUIRE(heard.all().size() == 1U);
    BOOST_CHECK(heard.all().front() == (task_progress{7, 10}));
}

BOOST_AUTO_TEST_CASE(another_run_of_a_task_begins_at_nothing) {
    process_pool pool(1);
    auto f = pool.submit(task_options{.retries = 1}, die_once, file("ran"), file("started"),
                         file("release"));
    await(file("started"));
    BOOST_CHECK(f.progress() == task_progress());
    announce(file("release"));
    f.wait();
    BOOST_CHECK(f.progress() == task_progress());
    f.get();
}

BOOST_AUTO_TEST_CASE(all_threads_of_a_task_report_for_it) {
    process_pool pool(1);
    auto f = pool.submit(
        [](int x) {
            std::jthread([] { report_progress(1, 2); }).join();
            return x;
        },
        5);
    f.wait();
    BOOST_CHECK(f.progress() == (task_progress{1, 2}));
}

BOOST_AUTO_TEST_CASE(reports_of_waiting_and_dropped_tasks_and_of_none_are_nothing) {
    report_progress(1, 2);
    report_progress(-1, -2);
    BOOST_CHECK_THROW((void)future<int>().progress(), bulkhead::usage_error);
    process_pool pool(1);
    auto running = pool.submit(report_and_hold, file("started"), file("release"));
    record heard;
    auto waiting = pool.submit(task_options{.on_progress = heard.adder()}, square, 2);
    BOOST_CHECK(waiting.progress() == task_progress());
    BOOST_TEST(waiting.cancel());
    BOOST_CHECK(waiting.progress() == task_progress());
    { auto dropped = pool.submit(task_options{.on_progress = heard.adder()}, square, 2); }
    announce(file("release"));
    running.wait();
    pool.shutdown();
    BOOST_CHECK(running.progress() == (task_progress{9, 10}));
    BOOST_TEST(heard.all().empty());
}

BOOST_AUTO_TEST_CASE(items_of_a_map_may_report_and_nobody_hears_it) {
    process_pool pool(2);
    const auto report = [](int x) {
        report_progress(x, 100);
        return 2 * x;
    };
    int expected = 0;
    for (const int y : pool.map(report, std::views::iota(0, 100))) {
        BOOST_TEST(y == 2 * expected++);
    }
    BOOST_TEST(expected == 100);
}

BOOST_AUTO_TEST_SUITE_END()
