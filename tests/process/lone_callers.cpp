// Callers that wait for the only task there is, and so collect its result themselves.
#include "support/scene.hpp"

#include <atomic>
#include <thread>

namespace {

using namespace test;
using bulkhead::process_pool;
using bulkhead::worker_crashed;

constexpr int rounds = sanitized ? 300 : 3000;

int crash_if_odd(int x) {
    if (x % 2 != 0) ::raise(SIGKILL);
    return x;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(lone_callers, scene)

BOOST_AUTO_TEST_CASE(each_result_comes_to_its_caller) {
    for (const int workers : {1, 2}) {
        process_pool pool(workers);
        for (int i = 0; i != rounds; ++i) BOOST_REQUIRE(pool.submit(square, i).get() == i * i);
        pool.join();
        check_balance(pool.stats());
        BOOST_TEST(pool.stats().succeeded == static_cast<unsigned>(rounds));
    }
}

BOOST_AUTO_TEST_CASE(results_too_large_for_a_caller_and_exceptions_come_too) {
    process_pool pool(1);
    const auto fill = [](std::size_t bytes) { return std::string(bytes, 'f'); };
    for (const std::size_t bytes : {0U, 100U, 300U, 60'000U, 70'000U, 1U << 20, 30U << 20}) {
        BOOST_TEST(pool.submit(fill, bytes).get().size() == bytes);
        BOOST_CHECK_THROW(pool.submit([](int) -> int { throw std::domain_error("no"); }, 1).get(),
                          std::domain_error);
    }
}

BOOST_AUTO_TEST_CASE(a_caller_leaves_what_comes_behind_its_own_large_result_to_the_loop) {
    process_pool pool(1);
    const auto fill = [](std::size_t bytes) { return std::string(bytes, 'f'); };
    const auto report = [](int x) {
        bulkhead::report_progress(7, 7);
        return x;
    };
    for (int round = 0; round != (sanitized ? 10 : 300); ++round) {
        // A worker whose tasks are short is one to wait for.
        for (int i = 0; i != 40; ++i) BOOST_REQUIRE(pool.submit(square, i).get() == i * i);
        auto large = pool.submit(fill, std::size_t{16} << 20);
        while (!large.running() && !large.done()) {
        }
        while (large.running()) {
        }
        std::size_t got = 0;
        std::thread caller([&] { got = large.get().size(); });
        std::atomic<int> told{0};
        auto behind = pool.submit(
            bulkhead::task_options{.on_progress = [&](const auto&) { ++told; }}, report, round);
        BOOST_TEST(behind.get() == round);
        BOOST_TEST(told > 0);
        caller.join();
        BOOST_TEST(got == std::size_t{16} << 20);
    }
}

BOOST_AUTO_TEST_CASE(a_worker_that_dies_under_a_waiting_caller_is_told) {
    process_pool pool({.workers = 2, .crash_limit = 0});
    for (int i = 0; i != 40; ++i) {
        auto f = pool.submit(crash_if_odd, i);
        if (i % 2 != 0) {
            BOOST_CHECK_THROW(f.get(), worker_crashed);
        } else {
            BOOST_TEST(f.get() == i);
        }
    }
}

BOOST_AUTO_TEST_CASE(callbacks_run_on_the_pools_thread_whoever_collects) {
    process_pool pool(1);
    std::atomic<int> called{0};
    std::atomic<int> here{0};
    const auto caller = std::this_thread::get_id();
    int late = 0;
    for (int i = 0; i != rounds; ++i) {
        auto f = pool.submit(square, i);
        bool before = true;
        f.on_done([&, i] {
            ++called;
            if (std::this_thread::get_id() == caller) ++here;
            (void)i;
        });
        if (f.done()) before = false;  // then it may have run at once, here
        if (!before) ++late;
        BOOST_REQUIRE(f.get() == i * i);
    }
    pool.join();
    BOOST_TEST(called == rounds);
    BOOST_TEST(here <= late);
}

BOOST_AUTO_TEST_CASE(many_callers_lose_nothing_while_workers_are_killed) {
    process_pool pool({.workers = 2, .crash_limit = 0});
    (void)pool.submit(square, 1).get();
    std::atomic<int> right{0};
    std::atomic<int> crashed{0};
    std::atomic<bool> over{false};
    {
        std::vector<std::jthread> callers;
        for (int t = 0; t != 3; ++t) {
            callers.emplace_back([&, t] {
                for (int i = 0; i != rounds / 3; ++i) {
                    try {
                        auto f = pool.submit(square, i + t);
                        if (f.get() == (i + t) * (i + t)) ++right;
                    } catch (const worker_crashed&) {
                        ++crashed;
                    }
                }
            });
        }
        std::jthread killer([&] {
            for (int i = 0; i != 30 && !over; ++i) {
                for (const auto& worker : pool.workers()) {
                    // The keeper of the pid: a worker is reaped only under the pool's lock, and a pid is
                    // not used again so soon.
                    if (worker.pid != 0 && i % 2 == 0) ::kill(worker.pid, SIGKILL);
                }
                std::this_thread::sleep_for(2ms);
            }
        });
        callers.clear();
        over = true;
    }
    BOOST_TEST(right + crashed == rounds / 3 * 3);
    pool.join();
    check_balance(pool.stats());
    BOOST_TEST(pool.submit(square, 9).get() == 81);
}

BOOST_AUTO_TEST_SUITE_END()
