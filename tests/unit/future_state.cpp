// detail::future_state: done once, every waiter woken, every callback run once.
#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/future.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using bulkhead::detail::future_state;
using bulkhead::detail::state_ptr;
using clock_type = future_state::clock;

std::atomic<int> alive{0};

class manual_state final : public future_state {
public:
    manual_state() { ++alive; }
    ~manual_state() override { --alive; }
    [[nodiscard]] bool running() const override { return false; }
    [[nodiscard]] bool failed() const override { return false; }
    [[nodiscard]] bool cancelled() const override { return false; }
    bool cancel() override { return false; }
    void request_cancel() override {}
    void abandon() override {}
    void take(result_reader, void*) override {}
    void end() { finish(); }

    std::atomic<int> failures{0};

private:
    void callback_failed(std::exception_ptr) noexcept override { ++failures; }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(future_state)

BOOST_AUTO_TEST_CASE(a_wait_ends_at_its_deadline_or_with_the_end) {
    state_ptr state(new manual_state);
    BOOST_TEST(!state->done());
    BOOST_TEST(!state->wait(clock_type::now() - 1h));
    BOOST_TEST(!state->wait(clock_type::now() + 1ms));
    static_cast<manual_state&>(*state).end();
    BOOST_TEST(state->done());
    BOOST_TEST(state->wait(clock_type::now() - 1h));
    BOOST_TEST(state->wait(std::nullopt));
}

BOOST_AUTO_TEST_CASE(every_waiter_is_woken) {
    for (int round = 0; round != 200; ++round) {
        state_ptr state(new manual_state);
        std::atomic<int> woken{0};
        {
            std::vector<std::jthread> waiters;
            for (int i = 0; i != 4; ++i) {
                waiters.emplace_back([&, i] {
                    const bool done = i % 2 == 0 ? state->wait(std::nullopt)
                                                 : state->wait(clock_type::now() + 1h);
                    if (done) ++woken;
                });
            }
            static_cast<manual_state&>(*state).end();
        }
        BOOST_TEST(woken == 4);
    }
}

BOOST_AUTO_TEST_CASE(callbacks_run_once_in_order_and_later_ones_at_once) {
    state_ptr state(new manual_state);
    std::vector<int> order;
    for (int i = 0; i != 5; ++i) state->on_done([&, i] { order.push_back(i); });
    BOOST_TEST(order.empty());
    static_cast<manual_state&>(*state).end();
    BOOST_TEST((order == std::vector<int>{0, 1, 2, 3, 4}));
    state->on_done([&] { order.push_back(5); });
    BOOST_TEST(order.size() == 6U);
}

BOOST_AUTO_TEST_CASE(a_callback_may_register_another_and_sees_the_state_done) {
    state_ptr state(new manual_state);
    int called = 0;
    state->on_done([&] {
        if (state->done()) ++called;
        state->on_done([&] { ++called; });
    });
    static_cast<manual_state&>(*state).end();
    BOOST_TEST(called == 2);
}

BOOST_AUTO_TEST_CASE(a_throwing_callback_is_reported_and_the_others_run) {
    state_ptr state(new manual_state);
    int called = 0;
    state->on_done([] { throw std::runtime_error("one"); });
    state->on_done([&] { ++called; });
    auto& manual = static_cast<manual_state&>(*state);
    manual.end();
    state->on_done([] { throw 5; });
    BOOST_TEST(called == 1);
    BOOST_TEST(manual.failures == 2);
}

BOOST_AUTO_TEST_CASE(callbacks_registered_while_it_ends_run_exactly_once) {
    for (int round = 0; round != 500; ++round) {
        state_ptr state(new manual_state);
        std::atomic<int> called{0};
        {
            std::vector<std::jthread> threads;
            for (int i = 0; i != 3; ++i) {
                threads.emplace_back([&] {
                    for (int k = 0; k != 10; ++k) state->on_done([&] { ++called; });
                });
            }
            threads.emplace_back([&] { static_cast<manual_state&>(*state).end(); });
        }
        BOOST_TEST(called == 30);
    }
}

BOOST_AUTO_TEST_CASE(the_last_reference_destroys_with_callbacks_that_never_ran) {
    const auto watched = std::make_shared<int>(1);
    {
        const state_ptr state(new manual_state);
        const state_ptr copy = state;
        state->on_done([watched] {});
        state->on_done([watched] {});
        BOOST_TEST(watched.use_count() == 3);
        BOOST_TEST(alive == 1);
    }
    BOOST_TEST(alive == 0);
    BOOST_TEST(watched.use_count() == 1);
}

BOOST_AUTO_TEST_CASE(callbacks_are_destroyed_after_they_ran) {
    const auto watched = std::make_shared<int>(1);
    state_ptr state(new manual_state);
    state->on_done([watched] {});
    static_cast<manual_state&>(*state).end();
    BOOST_TEST(watched.use_count() == 1);
}

BOOST_AUTO_TEST_CASE(a_failed_state_is_done_from_the_start) {
    bulkhead::future<int> f(bulkhead::detail::make_failed_state(
        std::make_exception_ptr(std::domain_error("from the start")), nullptr));
    BOOST_TEST(f.valid());
    BOOST_TEST(f.done());
    BOOST_TEST(!f.running());
    BOOST_TEST(!f.cancelled());
    BOOST_TEST(!f.cancel());
    int called = 0;
    f.on_done([&] { ++called; });
    BOOST_TEST(called == 1);
    BOOST_CHECK_THROW((void)f.get(), std::domain_error);
    BOOST_TEST(!f.valid());
    BOOST_CHECK_THROW((void)f.get(), bulkhead::usage_error);
}

BOOST_AUTO_TEST_SUITE_END()
