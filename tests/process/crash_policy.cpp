// Retries, the crash limit, and what is told of crashes.
#include "support/scene.hpp"

#include <algorithm>
#include <mutex>
#include <ranges>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::process_pool;
using bulkhead::task_options;
using bulkhead::worker_crashed;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(crash_policy, scene)

BOOST_AUTO_TEST_CASE(a_crash_is_retried_as_often_as_asked) {
    process_pool pool(1);
    const auto dies_until = [](const fs::path& log, std::size_t runs) {
        append_line(log, "run");
        if (lines_of(log).size() < runs) ::raise(SIGKILL);
        return lines_of(log).size();
    };
    auto enough = pool.submit(task_options{.retries = 2}, dies_until, file("a"), std::size_t{3});
    BOOST_TEST(enough.get() == 3U);
    BOOST_TEST(pool.stats().retried == 2U);
    auto few = pool.submit(task_options{.retries = 1}, dies_until, file("b"), std::size_t{9});
    BOOST_TEST(error_of<worker_crashed>(std::move(few)).status().signal() == SIGKILL);
    BOOST_TEST(lines_of(file("b")).size() == 2U);
    BOOST_TEST(pool.stats().crashed == 1U);

    auto thrown = pool.submit(
        task_options{.retries = 5},
        [](const fs::path& log) {
            append_line(log, "run");
            throw std::logic_error("once");
        },
        file("c"));
    (void)error_of<std::logic_error>(std::move(thrown));
    BOOST_TEST(lines_of(file("c")).size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_poison_task_stops_after_its_retries_and_harms_no_other) {
    for (const int workers : {1, 2, 4}) {
        const auto poison_log = file("poison" + std::to_string(workers));
        const auto log = file("others" + std::to_string(workers));
        std::ofstream(log).close();
        process_pool pool(workers);
        std::vector<future<int>> others;
        const auto submit_some = [&] {
            for (int i = 0; i != 50; ++i) {
                const int number = static_cast<int>(others.size());
                others.push_back(pool.submit(
                    [](const fs::path& to, int one) {
                        append_line(to, std::to_string(one));
                        return one * one;
                    },
                    log, number));
            }
        };
        submit_some();
        auto poison = pool.submit(
            task_options{.retries = 6},
            [](const fs::path& to) {
                append_line(to, "run");
                ::raise(SIGSEGV);
            },
            poison_log);
        submit_some();
        for (std::size_t i = 0; i != others.size(); ++i) {
            BOOST_TEST(others[i].get() == static_cast<int>(i * i));
        }
        BOOST_TEST(error_of<worker_crashed>(std::move(poison)).status().signal() == SIGSEGV);
        BOOST_TEST(lines_of(poison_log).size() == 7U);
        BOOST_TEST(lines_of(log).size() == others.size());  // each ran once
        BOOST_TEST(pool.stats().crashed == 1U);
        BOOST_TEST(pool.stats().retried == 6U);
    }
}

BOOST_AUTO_TEST_CASE(crash_limit_breaks_the_pool_and_fails_what_is_queued) {
    process_pool pool({.workers = 1, .crash_limit = 3});
    std::vector<future<void>> all;
    for (int i = 0; i != 10; ++i) all.push_back(pool.submit([] { ::raise(SIGKILL); }));
    int crashed = 0;
    int broken = 0;
    for (auto& f : all) {
        try {
            f.get();
        } catch (const worker_crashed&) {
            ++crashed;
        } catch (const bulkhead::pool_broken& e) {
            BOOST_TEST(contains(e.what(), "SIGKILL"));
            ++broken;
        }
    }
    BOOST_TEST(crashed == 3);
    BOOST_TEST(broken == 7);
    BOOST_CHECK_THROW((void)pool.submit(square, 1), bulkhead::pool_broken);
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_CASE(items_of_a_chunk_that_end_between_crashes_keep_the_pool_below_its_limit) {
    process_pool pool({.workers = 1, .crash_limit = 3});
    auto items = pool.map(
        bulkhead::map_options{.chunk_size = 100},
        [](int item) {
            if (item % 20 == 10) ::raise(SIGKILL);
            return item;
        },
        std::views::iota(0, 100));
    int number = 0;
    for (auto it = items.begin(); it != items.end(); ++it, ++number) {
        try {
            BOOST_TEST(*it == number);
        } catch (const worker_crashed&) {
            BOOST_TEST(number % 20 == 10);
        }
    }
    BOOST_TEST(number == 100);
    BOOST_TEST(pool.submit(square, 2).get() == 4);
}

BOOST_AUTO_TEST_CASE(what_a_stopped_worker_of_a_broken_pool_had_not_begun_fails_as_well) {
    process_pool pool({.workers = 2, .crash_limit = 1});
    auto first = pool.submit(hold, file("on0"), file("go"));
    auto second = pool.submit(hold, file("on1"), file("go"));
    await(file("on0"));
    await(file("on1"));
    announce(file("go"));
    (void)second.get();
    ::kill(first.get(), SIGSTOP);
    std::vector<future<int>> all;
    for (int i = 0; i != 10; ++i) all.push_back(pool.submit(square, i));
    std::vector<future<void>> crashes;
    for (int i = 0; i != 3; ++i) {
        try {
            crashes.push_back(pool.submit([] { ::raise(SIGKILL); }));
        } catch (const bulkhead::pool_broken&) {
        }
    }
    for (std::size_t i = 0; i != all.size(); ++i) {  // one that never ends is the watchdog's
        try {
            BOOST_TEST(all[i].get() == static_cast<int>(i * i));
        } catch (const bulkhead::pool_broken&) {
        }
    }
    check_balance(pool.stats());
    for (auto& f : crashes) BOOST_CHECK_THROW(f.get(), bulkhead::error);
}

BOOST_AUTO_TEST_CASE(finished_tasks_between_crashes_keep_the_pool_below_its_crash_limit) {
    process_pool pool({.workers = 1, .crash_limit = 2});
    for (int i = 0; i != 6; ++i) {
        (void)error_of<worker_crashed>(pool.submit([] { ::raise(SIGKILL); }));
        BOOST_TEST(pool.submit(square, i).get() == i * i);
    }
}

BOOST_AUTO_TEST_CASE(events_tell_of_starts_deaths_and_crashes) {
    std::mutex mutex;
    std::vector<bulkhead::pool_event> events;
    const auto count = [&](bulkhead::pool_event::kind kind) {
        const std::lock_guard lock(mutex);
        return std::count_if(events.begin(), events.end(),
                             [&](const auto& e) { return e.what == kind; });
    };
    using kind = bulkhead::pool_event::kind;
    pid_t pid = 0;
    {
        process_pool pool({.workers = 1, .on_event = [&](const bulkhead::pool_event& e) {
                               const std::lock_guard lock(mutex);
                               events.push_back(e);
                               throw std::runtime_error("an observer's own trouble");
                           }});
        pid = pool.submit(whoami).get();
        (void)error_of<worker_crashed>(
            pool.submit(task_options{.name = "boom"}, [] { ::raise(SIGUSR1); }));
        BOOST_TEST(pool.submit(square, 3).get() == 9);
    }
    BOOST_TEST(count(kind::worker_started) == 2);
    BOOST_TEST(count(kind::worker_died) == 2);
    BOOST_TEST(count(kind::task_crashed) == 1);
    for (const auto& e : events) {
        if (e.what != kind::task_crashed) continue;
        BOOST_TEST(e.pid == pid);
        BOOST_TEST(e.task_name == "boom");
        BOOST_TEST(e.status.signal() == SIGUSR1);
    }
}

BOOST_AUTO_TEST_SUITE_END()
