#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/condition_variable.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/mutex.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using test::forked;

/// What children and test share.
struct counts {
    std::atomic<int> waiting{0};
    std::atomic<int> woken{0};
    std::atomic<bool> ready{false};
};

/// A mutex, a condition variable and what they are about.
struct meeting {
    bulkhead::mutex m;
    bulkhead::condition_variable changed;
    test::shared<counts> all;

    /// A child that waits once, without a predicate.
    [[nodiscard]] pid_t waiter() const {
        return forked([&] {
            std::unique_lock lock(m);
            ++all->waiting;
            if (changed.wait_for(lock, 60s) == std::cv_status::timeout) ::_exit(2);
            ++all->woken;
        });
    }
    /// Until so many children have begun to wait.
    void until_waiting(int how_many) const {
        test::until([&] { return all->waiting == how_many; });
        const std::scoped_lock they_have_let_go_of_it(m);
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(condition_variable, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(waits_as_the_standard_one) {
    const bulkhead::mutex m;
    const bulkhead::condition_variable changed;
    std::unique_lock lock(m);
    changed.notify_one();
    changed.notify_all();
    BOOST_TEST((changed.wait_for(lock, 120ms) == std::cv_status::timeout));
    BOOST_TEST(lock.owns_lock());
    BOOST_TEST((changed.wait_until(lock, std::chrono::system_clock::now() + 5ms) ==
                std::cv_status::timeout));
    BOOST_TEST(!changed.wait_for(lock, 5ms, [] { return false; }));
    BOOST_TEST(changed.wait_for(lock, 0s, [] { return true; }));
    BOOST_TEST(
        !changed.wait_until(lock, std::chrono::steady_clock::now() + 5ms, [] { return false; }));
    changed.wait(lock, [] { return true; });
    lock.unlock();
    BOOST_CHECK_THROW(changed.wait(lock), std::system_error);
    BOOST_CHECK_THROW(changed.wait(m), bulkhead::usage_error);
    BOOST_TEST(m.try_lock());
    m.unlock();
}

BOOST_AUTO_TEST_CASE(notify_one_wakes_one_and_notify_all_the_rest) {
    const meeting all;
    std::vector<pid_t> waiters(5);
    for (auto& pid : waiters) pid = all.waiter();
    all.until_waiting(5);
    for (int woken = 1; woken != 3; ++woken) {
        all.changed.notify_one();
        test::until([&] { return all.all->woken == woken; });
        ::usleep(120'000);
        BOOST_TEST(all.all->woken == woken);
    }
    all.changed.notify_all();
    for (const pid_t pid : waiters) BOOST_TEST(test::ended(pid) == 0);
}

BOOST_AUTO_TEST_CASE(a_notification_goes_to_a_living_waiter) {
    for (int round = 0; round != 10; ++round) {
        const meeting all;
        const pid_t first = all.waiter();
        all.until_waiting(1);
        const pid_t second = all.waiter();
        all.until_waiting(2);
        test::killed(first);
        all.changed.notify_one();
        BOOST_TEST(test::ended(second) == 0);
    }
}

BOOST_AUTO_TEST_CASE(a_notification_for_one_who_dies_before_it_returns_goes_to_the_next) {
    for (int round = 0; round != 10; ++round) {
        const meeting all;
        const pid_t first = all.waiter();
        all.until_waiting(1);
        ::kill(first, SIGSTOP);
        const pid_t second = all.waiter();
        // It may have been stopped inside, where nobody else comes.
        while (all.all->waiting != 2 || !all.m.try_lock_for(100ms)) {
            ::kill(first, SIGCONT);
            ::usleep(1000);
            ::kill(first, SIGSTOP);
            ::usleep(1000);
        }
        all.m.unlock();
        all.changed.notify_one();
        test::killed(first);
        BOOST_TEST(test::ended(second) == 0);
    }
}

BOOST_AUTO_TEST_CASE(a_predicate_is_looked_at_also_when_who_made_it_true_died_before_notifying) {
    const meeting all;
    const pid_t waiter = forked([&] {
        std::unique_lock lock(all.m);
        ++all.all->waiting;
        all.changed.wait(lock, [&] { return all.all->ready.load(); });
    });
    all.until_waiting(1);
    BOOST_TEST(test::ended(forked([&] {
                   all.m.lock();
                   all.all->ready = true;
                   ::kill(::getpid(), SIGKILL);
               })) == 128 + SIGKILL);
    BOOST_TEST(test::ended(waiter) == 0);
    const std::scoped_lock guard(all.m);
    BOOST_TEST(!all.m.inherited());  // the waiter was told
}

BOOST_AUTO_TEST_CASE(a_wait_that_inherits_the_lock_can_tell) {
    const meeting all;
    const pid_t waiter = forked([&] {
        std::unique_lock lock(all.m);
        ++all.all->waiting;
        if (all.changed.wait_for(lock, 60s) == std::cv_status::timeout) ::_exit(2);
        if (!all.m.inherited()) ::_exit(3);
    });
    all.until_waiting(1);
    BOOST_TEST(test::ended(forked([&] {
                   all.m.lock();
                   all.changed.notify_one();
                   ::usleep(20'000);
                   ::kill(::getpid(), SIGKILL);
               })) == 128 + SIGKILL);
    BOOST_TEST(test::ended(waiter) == 0);
}

BOOST_AUTO_TEST_CASE(messages_pass_between_two_processes) {
    const bulkhead::recursive_mutex m;
    const bulkhead::condition_variable changed;
    const test::shared<std::atomic<int>> turn;
    const auto play = [&](int mine) {
        for (int round = 0; round != 500; ++round) {
            std::unique_lock lock(m);
            changed.wait(lock, [&] { return *turn % 2 == mine; });
            ++*turn;
            changed.notify_one();
        }
    };
    const pid_t other = forked([&] { play(1); });
    play(0);
    BOOST_TEST(test::ended(other) == 0);
    BOOST_TEST(*turn == 1000);
}

BOOST_AUTO_TEST_CASE(has_a_name_until_it_is_removed) {
    const std::string name = test::unique_name();
    BOOST_CHECK_THROW((void)bulkhead::condition_variable::open(name), bulkhead::error);
    const auto c = bulkhead::condition_variable::create(name);
    const bulkhead::mutex m;
    std::unique_lock lock(m);
    const pid_t notifier = forked([&] {
        const std::scoped_lock guard(m);
        bulkhead::condition_variable::open_or_create(name).notify_all();
    });
    BOOST_TEST((c.wait_for(lock, 60s) == std::cv_status::no_timeout));
    BOOST_TEST(test::ended(notifier) == 0);
    BOOST_TEST(bulkhead::condition_variable::remove(name));
    BOOST_TEST(!bulkhead::condition_variable::remove(name));
}

BOOST_AUTO_TEST_CASE(almost_a_thousand_threads_can_wait_and_are_woken) {
    constexpr int many = test::sanitized ? 100 : 990;
    const bulkhead::mutex m;
    const bulkhead::condition_variable changed;
    bool go = false;
    std::atomic<int> waiting{0};
    std::vector<std::jthread> threads;
    for (int i = 0; i != many; ++i) {
        threads.emplace_back([&] {
            std::unique_lock lock(m);
            ++waiting;
            while (!go) changed.wait(lock);
        });
    }
    test::until([&] { return waiting == many; });
    {
        const std::scoped_lock lock(m);
        go = true;
    }
    changed.notify_all();
}

BOOST_AUTO_TEST_SUITE_END()
