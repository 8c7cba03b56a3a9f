#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/shared_mutex.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <thread>

namespace {

using namespace std::chrono_literals;
using bulkhead::lock_state;
using test::forked;

/// A child that takes the lock, alone or shared, and waits to be killed.
pid_t holder_of(const bulkhead::shared_mutex& m, bool alone) {
    const test::shared<std::atomic<bool>> locked;
    const pid_t pid = forked([&] {
        if (alone) {
            m.lock();
        } else {
            m.lock_shared();
        }
        *locked = true;
        for (;;) ::pause();
    });
    test::until([&] { return locked->load(); });
    return pid;
}

bool another_can_share(const bulkhead::shared_mutex& m) {
    bool got = false;
    std::jthread([&] {
        got = m.try_lock_shared();
        if (got) m.unlock_shared();
    }).join();
    return got;
}

bool another_can_lock(const bulkhead::shared_mutex& m) {
    bool got = false;
    std::jthread([&] {
        got = m.try_lock();
        if (got) m.unlock();
    }).join();
    return got;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(shared_mutex, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(works_with_the_standard_locks) {
    const bulkhead::shared_mutex m;
    {
        const std::shared_lock reader(m);
        BOOST_TEST(another_can_share(m));
        BOOST_TEST(!another_can_lock(m));
    }
    {
        const std::unique_lock writer(m);
        BOOST_TEST(!another_can_share(m));
        BOOST_TEST(!another_can_lock(m));
    }
    const std::scoped_lock guard(m);
    std::jthread([&] {
        std::shared_lock late(m, std::defer_lock);
        BOOST_TEST(!late.try_lock_for(5ms));
        BOOST_TEST(!late.try_lock_until(std::chrono::system_clock::now() + 5ms));
        std::unique_lock alone(m, std::defer_lock);
        BOOST_TEST(!alone.try_lock_for(5ms));
    }).join();
}

BOOST_AUTO_TEST_CASE(mistakes_are_usage_errors_and_do_no_harm) {
    const bulkhead::shared_mutex m;
    BOOST_CHECK_THROW(m.unlock(), bulkhead::usage_error);
    BOOST_CHECK_THROW(m.unlock_shared(), bulkhead::usage_error);
    m.lock();
    BOOST_CHECK_THROW(m.lock(), bulkhead::usage_error);
    BOOST_CHECK_THROW(m.lock_shared(), bulkhead::usage_error);
    BOOST_CHECK_THROW(m.unlock_shared(), bulkhead::usage_error);
    m.unlock();
    m.lock_shared();
    BOOST_CHECK_THROW(m.lock_shared(), bulkhead::usage_error);
    BOOST_CHECK_THROW(m.lock(), bulkhead::usage_error);
    BOOST_CHECK_THROW(m.unlock(), bulkhead::usage_error);
    m.unlock_shared();
    BOOST_TEST((m.lock() == lock_state::clean));
    m.unlock();
}

BOOST_AUTO_TEST_CASE(a_killed_sharers_share_is_released) {
    const bulkhead::shared_mutex m;
    for (int round = 0; round != 20; ++round) {
        const pid_t first = holder_of(m, false);
        const pid_t second = holder_of(m, false);
        BOOST_TEST(!m.try_lock());
        test::killed(first);
        BOOST_TEST(!m.try_lock());
        test::killed(second);
        lock_state how = lock_state::inherited;
        BOOST_TEST(m.try_lock(&how));
        BOOST_TEST((how == lock_state::clean));
        m.unlock();
    }
}

BOOST_AUTO_TEST_CASE(one_who_waits_alone_goes_on_when_the_sharer_is_killed_also_unreaped) {
    const bulkhead::shared_mutex m;
    const pid_t sharer = holder_of(m, false);
    const test::shared<std::atomic<bool>> waiting;
    const pid_t waiter = forked([&] {
        *waiting = true;
        if (m.lock() != lock_state::clean) ::_exit(2);
        m.unlock();
    });
    test::until([&] { return waiting->load(); });
    ::usleep(10'000);
    ::kill(sharer, SIGKILL);
    BOOST_TEST(test::ended(waiter) == 0);
    BOOST_TEST(test::ended(sharer) == 128 + SIGKILL);
}

BOOST_AUTO_TEST_CASE(who_waits_alone_keeps_new_sharers_out_and_a_killed_one_lets_them_in) {
    const bulkhead::shared_mutex m;
    m.lock_shared();
    const pid_t waiter = forked([&] { m.lock(); });
    test::until([&] { return !another_can_share(m); });
    test::killed(waiter);
    BOOST_TEST(another_can_share(m));
    m.unlock_shared();
}

BOOST_AUTO_TEST_CASE(everybody_is_told_of_a_killed_owner_until_one_had_the_lock_alone) {
    const bulkhead::shared_mutex m;
    test::killed(holder_of(m, true));
    for (int i = 0; i != 2; ++i) {
        BOOST_TEST((m.lock_shared() == lock_state::inherited));
        m.unlock_shared();
    }
    {
        const std::scoped_lock guard(m);
        BOOST_TEST(m.inherited());
    }
    BOOST_TEST((m.lock_shared() == lock_state::clean));
    m.unlock_shared();
    {
        const std::scoped_lock guard(m);
        BOOST_TEST(!m.inherited());
    }
    test::killed(holder_of(m, true));
    test::killed(holder_of(m, true));
    BOOST_TEST((m.lock() == lock_state::inherited));
    m.unlock();
}

BOOST_AUTO_TEST_CASE(the_shares_of_threads_that_ended_are_released) {
    const bulkhead::shared_mutex m;
    std::jthread([&] { m.lock_shared(); }).join();
    BOOST_TEST((m.lock() == lock_state::clean));
    m.unlock();
}

BOOST_AUTO_TEST_CASE(has_a_name_until_it_is_removed) {
    const std::string name = test::unique_name();
    BOOST_CHECK_THROW((void)bulkhead::shared_mutex::open(name), bulkhead::error);
    const auto m = bulkhead::shared_mutex::create(name);
    const std::shared_lock guard(m);
    BOOST_TEST(test::ended(forked([&] {
                   const auto same = bulkhead::shared_mutex::open_or_create(name);
                   if (same.try_lock()) ::_exit(2);
                   if (!same.try_lock_shared()) ::_exit(3);
               })) == 0);
    BOOST_TEST(bulkhead::shared_mutex::remove(name));
    BOOST_TEST(!bulkhead::shared_mutex::remove(name));
}

BOOST_AUTO_TEST_CASE(readers_see_what_a_writer_wrote_whole) {
    const bulkhead::shared_mutex m;
    struct numbers {
        long left = 0;
        long right = 0;
    };
    const test::shared<numbers> both;
    const auto write = [&] {
        for (int i = 0; i != 5000; ++i) {
            const std::scoped_lock guard(m);
            ++both->left;
            ++both->right;
        }
    };
    const auto read = [&] {
        for (int i = 0; i != 5000; ++i) {
            const std::shared_lock guard(m);
            if (both->left != both->right) ::_exit(2);
        }
    };
    const pid_t pids[] = {forked(write), forked(write), forked(read), forked(read)};
    for (const pid_t pid : pids) BOOST_TEST(test::ended(pid) == 0);
    BOOST_TEST(both->left == 10000);
}

BOOST_AUTO_TEST_SUITE_END()
