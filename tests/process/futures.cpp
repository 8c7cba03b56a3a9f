// The state table of a future, its callbacks, and what becomes of dropped ones. Both pools.
#include "support/scene.hpp"

#include <atomic>
#include <functional>
#include <future>
#include <memory>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::process_pool;
using bulkhead::task_cancelled;
using bulkhead::usage_error;

template <class T>
void check_empty(future<T>& f) {
    BOOST_TEST(!f.valid());
    BOOST_CHECK_THROW((void)f.get(), usage_error);
    BOOST_CHECK_THROW(f.wait(), usage_error);
    BOOST_CHECK_THROW((void)f.wait_for(1s), usage_error);
    BOOST_CHECK_THROW((void)f.wait_until(std::chrono::steady_clock::now()), usage_error);
    BOOST_CHECK_THROW((void)f.done(), usage_error);
    BOOST_CHECK_THROW((void)f.running(), usage_error);
    BOOST_CHECK_THROW((void)f.cancelled(), usage_error);
    BOOST_CHECK_THROW((void)f.cancel(), usage_error);
    BOOST_CHECK_THROW(f.on_done([] {}), usage_error);
}

template <class T>
void check_open(const future<T>& f, bool running) {
    BOOST_TEST(f.valid());
    BOOST_TEST(!f.done());
    BOOST_TEST(f.running() == running);
    BOOST_TEST(!f.cancelled());
    BOOST_TEST(!f.wait_for(0ms).ready());
    const bool in_time = f.wait_for(0ms);
    BOOST_TEST(!in_time);
    BOOST_TEST((f.wait_for(0ms) == false));
    BOOST_TEST((f.wait_for(1ms) == std::future_status::timeout));
}

template <class T>
void check_ended(const future<T>& f, bool cancelled) {
    BOOST_TEST(f.valid());
    BOOST_TEST(f.done());
    BOOST_TEST(!f.running());
    BOOST_TEST(f.cancelled() == cancelled);
    BOOST_TEST(f.wait_for(0ms).ready());
    BOOST_TEST((f.wait_until(std::chrono::system_clock::now()) == std::future_status::ready));
    f.wait();
}

template <class T>
int callbacks_now(future<T>& f) {
    const auto called = std::make_shared<std::atomic<int>>(0);  // may outlive this call
    f.on_done([called] { ++*called; });
    return *called;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(futures, scene)

BOOST_AUTO_TEST_CASE_TEMPLATE(every_member_in_every_state, Pool, executors) {
    Pool pool(1);
    auto running = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    auto pending = pool.submit(square, 6);
    auto failing = pool.submit([]() -> int { throw std::domain_error("failed"); });
    auto cancelled = pool.submit(square, 7);

    until([&] { return running.running(); });
    check_open(running, true);
    check_open(pending, false);
    check_open(failing, false);
    BOOST_TEST(callbacks_now(pending) == 0);

    BOOST_TEST(cancelled.cancel());
    check_ended(cancelled, true);
    BOOST_TEST(callbacks_now(cancelled) == 1);
    BOOST_TEST(cancelled.cancel());
    BOOST_CHECK_THROW((void)cancelled.get(), task_cancelled);
    check_empty(cancelled);

    announce(file("go"));
    running.wait();
    check_ended(running, false);
    BOOST_TEST(!running.cancel());
    BOOST_TEST(callbacks_now(running) == 1);
    BOOST_TEST(running.get() > 0);
    check_empty(running);

    pending.wait();
    check_ended(pending, false);
    auto moved = std::move(pending);
    check_empty(pending);  // NOLINT(bugprone-use-after-move)
    BOOST_TEST(moved.get() == 36);
    check_empty(moved);

    failing.wait();
    check_ended(failing, false);
    BOOST_TEST(!failing.cancel());
    BOOST_TEST(callbacks_now(failing) == 1);
    BOOST_CHECK_THROW((void)failing.get(), std::domain_error);
    check_empty(failing);

    future<int> of_nothing;
    check_empty(of_nothing);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(get_throws_only_from_its_own_future, Pool, executors) {
    Pool pool(1);
    auto bad = pool.submit([]() -> int { throw std::range_error("bad"); });
    auto good = pool.submit(square, 3);
    BOOST_TEST(good.get() == 9);
    (void)error_of<std::range_error>(std::move(bad));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(callbacks_are_called_once_before_and_after_the_end, Pool, executors) {
    Pool pool(2);
    for (int i = 0; i != 200; ++i) {
        std::atomic<int> called{0};
        auto f = pool.submit(square, i);
        f.on_done([&] { ++called; });
        f.on_done([&](future<int> done) {
            if (done.done()) ++called;
        });
        f.on_done([&](const future<int>&) { ++called; });
        f.wait();
        f.on_done([&] { ++called; });
        until([&] { return called == 4; });
        BOOST_TEST(f.get() == i * i);
    }
    std::atomic<int> taken{0};
    auto f = pool.submit(square, 9);
    f.on_done([&](future<int> done) { taken = done.get(); });
    until([&] { return taken == 81; });
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_throwing_callback_is_reported_and_harms_nothing, Pool, executors) {
    std::atomic<int> reported{0};
    std::atomic<int> good{0};
    options_of<Pool> options;
    options.workers = 1;
    options.on_event = [&](const bulkhead::pool_event& e) {
        if (e.what != bulkhead::pool_event::kind::callback_failed) return;
        if (contains(e.message, "in a callback") || contains(e.message, "not derived")) ++reported;
    };
    Pool pool(options);
    auto f = pool.submit(square, 2);
    f.on_done([] { throw std::runtime_error("in a callback"); });
    f.on_done([&] { ++good; });
    f.on_done([] { throw 5; });
    f.wait();
    f.on_done([] { throw std::runtime_error("in a callback, afterwards"); });
    until([&] { return good == 1 && reported == 3; });
    BOOST_TEST(f.get() == 4);
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(callbacks_submit_a_hundred_deep_and_never_wait_for_the_backlog, Pool,
                              executors) {
    std::atomic<int> depth{0};
    Pool pool({.workers = 1, .backlog_max = 1});
    std::function<void()> next = [&] {
        if (++depth < 100) pool.submit(square, depth.load()).on_done(next);
    };
    pool.submit(square, 0).on_done(next);
    until([&] { return depth == 100; });
    pool.join();
    BOOST_TEST(pool.stats().succeeded == 100U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(callbacks_run_in_the_order_of_their_registration, Pool, executors) {
    Pool pool(1);
    auto f = pool.submit(hold, file("on"), file("go"));
    std::vector<int> order;
    std::atomic<bool> last{false};
    for (int i = 0; i != 10; ++i) f.on_done([&order, i] { order.push_back(i); });
    f.on_done([&] { last = true; });
    announce(file("go"));
    until([&] { return last.load(); });
    BOOST_TEST((order == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_callback_may_own_what_only_moves, Pool, executors) {
    Pool pool(1);
    std::promise<int> promise;
    auto answer = promise.get_future();
    auto f = pool.submit(square, 5);
    f.on_done(
        [promise = std::move(promise)](future<int> g) mutable { promise.set_value(g.get()); });
    BOOST_TEST(answer.get() == 25);
    auto g = pool.submit(square, 6);
    std::atomic<bool> called{false};
    g.on_done([owned = std::make_unique<int>(1), &called] { called = *owned == 1; });
    g.on_progress([owned = std::make_unique<int>(1)](const bulkhead::task_progress&) {});
    until([&] { return called.load(); });
}

BOOST_AUTO_TEST_CASE(a_callback_that_would_wait_for_its_own_pool_for_ever_is_told) {
    process_pool pool(1);
    auto held = pool.submit(hold, file("started"), file("release"));
    auto behind = pool.submit(square, 7);
    std::promise<std::string> told;
    held.on_done([&] {
        auto late = pool.submit(square, 8);
        (void)late.wait_for(1ms);
        try {
            (void)late.get();
            told.set_value("it did not wait");
        } catch (const usage_error& e) {
            told.set_value(e.what());
        }
    });
    announce(file("release"));
    BOOST_TEST(contains(told.get_future().get(), "would wait for ever"));
    BOOST_TEST(behind.get() == 49);
}

BOOST_AUTO_TEST_CASE(callbacks_are_called_when_the_worker_dies_and_when_cancelled) {
    process_pool pool(1);
    std::atomic<int> called{0};
    auto crashed = pool.submit([] { ::raise(SIGKILL); });
    crashed.on_done([&] { ++called; });
    auto running = pool.submit(hang, file("on"));
    running.on_done([&] { ++called; });
    await(file("on"));
    auto queued = pool.submit(square, 1);
    queued.on_done([&] { ++called; });
    BOOST_TEST(queued.cancel());
    BOOST_TEST(running.cancel());
    until([&] { return called == 3; });
}

BOOST_AUTO_TEST_CASE_TEMPLATE(dropped_futures_do_not_stop_their_tasks, Pool, executors) {
    {
        Pool pool(2);
        for (int i = 0; i != 100; ++i) {
            (void)pool.submit(append_line, file("log"), std::to_string(i));
            (void)pool.submit([] { throw std::runtime_error("unheard"); });
        }
        pool.join();
        const auto stats = pool.stats();
        BOOST_TEST(stats.succeeded == 100U);
        BOOST_TEST(stats.failed == 100U);
    }
    BOOST_TEST(lines_of(file("log")).size() == 100U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(futures_outlive_their_pool, Pool, executors) {
    future<int> value;
    future<int> error;
    future<std::string> large;
    {
        Pool pool(1);
        value = pool.submit(square, 12);
        error = pool.submit([]() -> int { throw std::out_of_range("late"); });
        large =
            pool.submit([](std::size_t n) { return std::string(n, 'z'); }, std::size_t{5'000'000});
    }
    BOOST_TEST(!value.cancel());
    BOOST_TEST(!value.running());
    int called = 0;
    value.on_done([&] { ++called; });
    BOOST_TEST(called == 1);
    value.on_done([] { throw std::runtime_error("to nobody"); });
    BOOST_TEST(value.get() == 144);
    (void)error_of<std::out_of_range>(std::move(error));
    BOOST_TEST(large.get().size() == 5'000'000U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(many_threads_submit_and_wait_at_once, Pool, executors) {
    Pool pool(2);
    std::atomic<int> right{0};
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t != 8; ++t) {
            threads.emplace_back([&] {
                for (int i = 0; i != 500; ++i) {
                    if (pool.submit(square, i).get() == i * i) ++right;
                }
            });
        }
    }
    BOOST_TEST(right == 4000);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(of_two_futures_of_one_task_the_first_get_takes_and_the_second_is_told,
                              Pool, executors) {
    Pool pool(1);
    const auto check = [&](auto function) {
        auto mine = pool.submit(function, 7);
        std::promise<void> taken;
        mine.on_done([&](auto its) {
            try {
                (void)its.get();
            } catch (const std::invalid_argument&) {
            }
            taken.set_value();
        });
        taken.get_future().wait();
        BOOST_TEST(mine.done());
        BOOST_CHECK_EXCEPTION((void)mine.get(), usage_error, [](const usage_error& refused) {
            return contains(refused.what(), "has been taken already");
        });
        BOOST_TEST(!mine.valid());
    };
    check(square);
    check([](int x) { return std::string(static_cast<std::size_t>(x) * 1000, 'x'); });
    check([](int x) -> int { throw std::invalid_argument(std::to_string(x)); });
}

BOOST_AUTO_TEST_SUITE_END()
