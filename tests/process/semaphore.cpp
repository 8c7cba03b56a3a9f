#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/semaphore.hpp>

#include <atomic>
#include <chrono>
#include <thread>

namespace {

using namespace std::chrono_literals;

using test::forked;

/// A child that acquires so many permits and waits to be killed.
pid_t holder_of(const bulkhead::semaphore& s, int permits) {
    const test::shared<std::atomic<bool>> has_them;
    const pid_t pid = forked([&] {
        for (int i = 0; i != permits; ++i) s.acquire();
        *has_them = true;
        for (;;) ::pause();
    });
    test::until([&] { return has_them->load(); });
    return pid;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(semaphore, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(counts_as_the_standard_one) {
    const bulkhead::semaphore s(2);
    s.acquire();
    BOOST_TEST(s.try_acquire());
    BOOST_TEST(!s.try_acquire());
    BOOST_TEST(!s.try_acquire_for(5ms));
    BOOST_TEST(!s.try_acquire_until(std::chrono::system_clock::now() + 5ms));
    s.release(2);
    BOOST_TEST(s.available() == 2);
    s.release(3);
    BOOST_TEST(s.available() == 5);
    s.release(0);
    BOOST_TEST(s.try_acquire_for(1h));
    BOOST_TEST(bulkhead::semaphore(0).available() == 0);
}

BOOST_AUTO_TEST_CASE(impossible_counts_are_usage_errors) {
    BOOST_CHECK_THROW(bulkhead::semaphore(-1), bulkhead::usage_error);
    BOOST_CHECK_THROW(bulkhead::semaphore(bulkhead::semaphore::max() + 1), bulkhead::usage_error);
    const bulkhead::semaphore s(bulkhead::semaphore::max());
    BOOST_CHECK_THROW(s.release(), bulkhead::usage_error);
    BOOST_CHECK_THROW(s.release(-1), bulkhead::usage_error);
    s.acquire();
    s.release();
    BOOST_TEST(s.available() == bulkhead::semaphore::max());
}

BOOST_AUTO_TEST_CASE(one_process_waits_for_what_another_releases) {
    const bulkhead::semaphore s(0);
    const pid_t waiter = forked([&] {
        for (int i = 0; i != 1000; ++i) s.acquire();
    });
    for (int i = 0; i != 1000; ++i) s.release();
    BOOST_TEST(test::ended(waiter) == 0);
    BOOST_TEST(s.available() == 0);
}

BOOST_AUTO_TEST_CASE(the_permits_of_a_killed_process_come_back) {
    const bulkhead::semaphore s(3);
    for (int round = 0; round != 20; ++round) {
        const pid_t holder = holder_of(s, 3);
        BOOST_TEST(!s.try_acquire());
        test::killed(holder);
        BOOST_TEST(s.try_acquire());
        BOOST_TEST(s.available() == 2);
        s.release();
    }
}

BOOST_AUTO_TEST_CASE(one_who_waits_gets_the_permit_of_a_killed_process_also_unreaped) {
    const bulkhead::semaphore s(1);
    const pid_t holder = holder_of(s, 1);
    const test::shared<std::atomic<bool>> waiting;
    const pid_t waiter = forked([&] {
        *waiting = true;
        s.acquire();
    });
    test::until([&] { return waiting->load(); });
    ::usleep(10'000);
    ::kill(holder, SIGKILL);
    BOOST_TEST(test::ended(waiter) == 0);
    BOOST_TEST(test::ended(holder) == 128 + SIGKILL);
}

BOOST_AUTO_TEST_CASE(signals_that_a_killed_process_had_consumed_do_not_come_again) {
    const bulkhead::semaphore s(0);
    s.release(5);
    test::killed(holder_of(s, 4));
    BOOST_TEST(s.try_acquire());
    BOOST_TEST(!s.try_acquire());
    s.release();
    BOOST_TEST(s.available() == 1);
}

BOOST_AUTO_TEST_CASE(a_permit_that_another_has_released_for_it_does_not_come_back_twice) {
    const bulkhead::semaphore s(1);
    const pid_t holder = holder_of(s, 1);
    s.release();
    BOOST_TEST(s.try_acquire());
    test::killed(holder);
    BOOST_TEST(!s.try_acquire());
    s.release();
    BOOST_TEST(s.available() == 1);
}

BOOST_AUTO_TEST_CASE(a_permit_that_changed_hands_comes_back_from_the_last) {
    const bulkhead::semaphore s(1);
    s.acquire();
    const test::shared<std::atomic<bool>> has_it;
    const pid_t heir = forked([&] {
        s.release();
        s.acquire();
        *has_it = true;
        for (;;) ::pause();
    });
    test::until([&] { return has_it->load(); });
    BOOST_TEST(!s.try_acquire());
    test::killed(heir);
    BOOST_TEST(s.try_acquire());
    BOOST_TEST(!s.try_acquire());
}

BOOST_AUTO_TEST_CASE(the_permits_of_a_thread_that_ended_are_still_its_processs) {
    const bulkhead::semaphore s(1);
    std::jthread([&] { s.acquire(); }).join();
    BOOST_TEST(!s.try_acquire());
    s.release();
    BOOST_TEST(s.try_acquire());
}

BOOST_AUTO_TEST_CASE(has_a_name_until_it_is_removed) {
    const std::string name = test::unique_name();
    BOOST_CHECK_THROW((void)bulkhead::semaphore::open(name), bulkhead::error);
    const auto s = bulkhead::semaphore::create(name, 2);
    BOOST_CHECK_THROW((void)bulkhead::semaphore::create(name), bulkhead::error);
    BOOST_TEST(bulkhead::semaphore::open_or_create(name, 7).available() == 2);
    BOOST_TEST(test::ended(forked([&] { bulkhead::semaphore::open(name).acquire(); })) == 0);
    BOOST_TEST(s.try_acquire());
    BOOST_TEST(s.try_acquire());
    BOOST_TEST(bulkhead::semaphore::remove(name));
    BOOST_TEST(!bulkhead::semaphore::remove(name));
}

BOOST_AUTO_TEST_SUITE_END()
