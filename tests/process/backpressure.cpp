// A full backlog holds its submitters back, and memory stays bounded.
#include "support/scene.hpp"

#include <atomic>
#include <deque>
#include <limits>
#include <ranges>

namespace {

using namespace test;
using bulkhead::task_options;

std::uint64_t resident_kib() {
    std::ifstream status("/proc/self/status");
    std::string word;
    while (status >> word) {
        std::uint64_t kib = 0;
        if (word == "VmRSS:" && status >> kib) return kib;
    }
    return 0;
}

/// A thread that submits one task, and where it is.
template <class Pool>
class submitter {
public:
    explicit submitter(Pool& pool)
        : thread_([this, &pool] {
              tid_ = ::gettid();
              try {
                  result_ = pool.submit(square, 3);
              } catch (const bulkhead::pool_closed&) {
                  refused_ = true;
              }
              returned_ = true;
          }) {}

    /// Waits until it sleeps in submit().
    void await_asleep() {
        until([&] {
            const int tid = tid_;
            return returned_ || (tid != 0 && process_state(std::to_string(::getpid()) + "/task/" +
                                                           std::to_string(tid)) == 'S');
        });
    }
    [[nodiscard]] bool returned() const { return returned_; }
    [[nodiscard]] bool refused() {
        thread_.join();
        return refused_;
    }
    [[nodiscard]] int result() {
        thread_.join();
        return result_.get();
    }

private:
    std::atomic<int> tid_{0};
    std::atomic<bool> returned_{false};
    std::atomic<bool> refused_{false};
    bulkhead::future<int> result_;
    std::jthread thread_;
};

constexpr int many = sanitized ? 50'000 : 1'000'000;
constexpr std::uint64_t growth_kib_max = 64 * 1024;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(backpressure, scene)

BOOST_AUTO_TEST_CASE_TEMPLATE(submit_waits_at_a_full_backlog_and_try_submit_says_no, Pool,
                              executors) {
    Pool pool({.workers = 1, .backlog_max = 2});
    auto running = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    auto first = pool.submit(square, 1);
    auto second = pool.submit(square, 2);
    BOOST_TEST(!pool.try_submit(square, 4).has_value());
    BOOST_TEST(!pool.try_submit(task_options{.priority = 9}, square, 4).has_value());

    submitter blocked(pool);
    blocked.await_asleep();
    BOOST_TEST(!blocked.returned());
    BOOST_TEST(pool.stats().submitted == 3U);

    announce(file("go"));
    BOOST_TEST(blocked.result() == 9);
    BOOST_TEST(running.get() > 0);
    BOOST_TEST(first.get() == 1);
    BOOST_TEST(second.get() == 4);
    pool.join();
    auto again = pool.try_submit(square, 5);
    BOOST_REQUIRE(again.has_value());
    BOOST_TEST(again->get() == 25);
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(close_refuses_those_who_wait_for_room, Pool, executors) {
    Pool pool({.workers = 1, .backlog_max = 1});
    auto running = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    auto queued = pool.submit(square, 1);
    submitter blocked(pool);
    blocked.await_asleep();
    pool.close();
    BOOST_TEST(blocked.refused());
    announce(file("go"));
    BOOST_TEST(queued.get() == 1);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_cancelled_task_makes_room, Pool, executors) {
    Pool pool({.workers = 1, .backlog_max = 1});
    auto running = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    auto queued = pool.submit(square, 1);
    submitter blocked(pool);
    blocked.await_asleep();
    BOOST_TEST(queued.cancel());
    until([&] { return blocked.returned(); });
    announce(file("go"));
    BOOST_TEST(blocked.result() == 9);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_million_tiny_tasks_with_dropped_futures_take_bounded_memory, Pool,
                              executors) {
    Pool pool({.workers = 1, .backlog_max = 1000});
    for (int i = 0; i != 1000; ++i) (void)pool.submit(square, i);
    const auto before = resident_kib();
    for (int i = 0; i != many; ++i) (void)pool.submit(square, i % 1000);
    const auto after = resident_kib();
    if constexpr (!sanitized) BOOST_TEST(after < before + growth_kib_max);
    pool.join();
    BOOST_TEST(pool.stats().succeeded == static_cast<unsigned>(many) + 1000U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_million_mapped_items_with_a_slow_reader_take_bounded_memory, Pool,
                              executors) {
    Pool pool(2);
    const auto before = resident_kib();
    std::uint64_t most = 0;
    int position = 0;
    for (const int y :
         pool.map(square, std::views::iota(0, many) |
                              std::views::transform([](int i) { return i % 1000; }))) {
        if (y != square(position % 1000)) BOOST_ERROR("wrong at " << position);
        if (++position % (many / 10) == 0) {
            // The reader pauses until the workers have nothing more to do.
            pool.join();
            most = std::max(most, resident_kib());
        }
    }
    BOOST_TEST(position == many);
    if constexpr (!sanitized) BOOST_TEST(most < before + growth_kib_max);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_slow_reader_of_futures_is_served_in_any_order, Pool, executors) {
    Pool pool(2);
    std::deque<bulkhead::future<int>> window;
    for (int i = 0; i != 20'000; ++i) {
        window.push_back(pool.submit(square, i));
        if (window.size() == 5000) {
            // Newest first, as nobody would expect.
            while (!window.empty()) {
                const int expected = i - (4999 - static_cast<int>(window.size()) + 1);
                BOOST_TEST(window.back().get() == square(expected));
                window.pop_back();
            }
        }
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_backlog_without_a_bound_never_holds_anybody_back, Pool, executors) {
    options_of<Pool> options;
    options.workers = 2;
    options.backlog_max = std::numeric_limits<std::size_t>::max();
    Pool pool(options);
    BOOST_TEST(pool.submit(square, 3).get() == 9);
    BOOST_TEST(pool.try_submit(square, 4).value().get() == 16);
}

BOOST_AUTO_TEST_SUITE_END()
