#include "ring/robust_mutex.hpp"
#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/guarded.hpp>
#include <bulkhead/mutex.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using bulkhead::guarded;
using bulkhead::lock_state;
using bulkhead::ring::acquired;
using bulkhead::ring::robust_mutex;
using test::forked;

/// Holds the lock and waits to be killed.
pid_t owner_of(const bulkhead::mutex& m) {
    const test::shared<std::atomic<bool>> locked;
    const pid_t pid = forked([&] {
        m.lock();
        *locked = true;
        for (;;) ::pause();
    });
    test::until([&] { return locked->load(); });
    return pid;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(mutex, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(works_with_the_standard_locks) {
    const bulkhead::mutex m;
    const bulkhead::mutex other;
    {
        const std::scoped_lock both(m, other);
        bool got = true;
        std::jthread([&] { got = m.try_lock(); }).join();
        BOOST_TEST(!got);
        std::jthread([&] { got = m.try_lock_for(5ms); }).join();
        BOOST_TEST(!got);
        std::jthread([&] {
            got = m.try_lock_until(std::chrono::system_clock::now() + 5ms);
        }).join();
        BOOST_TEST(!got);
    }
    std::unique_lock lock(m, std::defer_lock);
    BOOST_TEST(lock.try_lock());
    lock.unlock();
    BOOST_TEST(lock.try_lock_for(1h));
    lock.unlock();
    BOOST_TEST((m.lock() == lock_state::clean));
    m.unlock();
}

BOOST_AUTO_TEST_CASE(mistakes_are_usage_errors_and_do_no_harm) {
    const bulkhead::mutex m;
    BOOST_CHECK_THROW(m.unlock(), bulkhead::usage_error);
    m.lock();
    BOOST_CHECK_THROW(m.lock(), bulkhead::usage_error);
    BOOST_CHECK_THROW((void)m.try_lock(), bulkhead::usage_error);
    std::jthread([&] { BOOST_CHECK_THROW(m.unlock(), bulkhead::usage_error); }).join();
    m.unlock();
    BOOST_TEST((m.lock() == lock_state::clean));
    m.unlock();
}

BOOST_AUTO_TEST_CASE(a_killed_owners_lock_goes_to_the_next_who_is_told_once) {
    const bulkhead::mutex m;
    for (int round = 0; round != 20; ++round) {
        test::killed(owner_of(m));
        BOOST_TEST((m.lock() == lock_state::inherited));
        m.unlock();
        BOOST_TEST((m.lock() == lock_state::clean));
        m.unlock();
    }
}

BOOST_AUTO_TEST_CASE(whoever_tries_or_waits_already_inherits_too) {
    const bulkhead::mutex m;
    lock_state how = lock_state::clean;
    test::killed(owner_of(m));
    BOOST_TEST(m.try_lock(&how));
    BOOST_TEST((how == lock_state::inherited));
    m.unlock();

    const pid_t owner = owner_of(m);
    BOOST_TEST(!m.try_lock());
    const test::shared<std::atomic<bool>> waiting;
    const pid_t waiter = forked([&] {
        *waiting = true;
        if (m.lock() != lock_state::inherited) ::_exit(2);
        m.unlock();
    });
    test::until([&] { return waiting->load(); });
    test::killed(owner);
    BOOST_TEST(test::ended(waiter) == 0);
}

BOOST_AUTO_TEST_CASE(the_lock_of_a_thread_that_ended_is_inherited) {
    const bulkhead::mutex m;
    std::jthread([&] { m.lock(); }).join();
    BOOST_TEST((m.lock() == lock_state::inherited));
    m.unlock();
}

BOOST_AUTO_TEST_CASE(a_mutex_has_a_name_until_it_is_removed) {
    const std::string name = test::unique_name();
    BOOST_CHECK_THROW((void)bulkhead::mutex::open(name), bulkhead::error);
    const auto m = bulkhead::mutex::create(name);
    BOOST_CHECK_THROW((void)bulkhead::mutex::create(name), bulkhead::error);
    const std::scoped_lock guard(m);
    BOOST_TEST(test::ended(forked([&] {
                   if (bulkhead::mutex::open(name).try_lock()) ::_exit(2);
                   if (bulkhead::mutex::open_or_create(name).try_lock()) ::_exit(3);
               })) == 0);
    BOOST_TEST(bulkhead::mutex::remove(name));
    BOOST_TEST(!bulkhead::mutex::remove(name));
    BOOST_CHECK_THROW((void)bulkhead::mutex::open("a/b"), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(the_owner_can_ask_whether_its_lock_was_inherited) {
    const bulkhead::mutex m;
    test::killed(owner_of(m));
    {
        const std::scoped_lock guard(m);
        BOOST_TEST(m.inherited());
    }
    const std::scoped_lock guard(m);
    BOOST_TEST(!m.inherited());
}

BOOST_AUTO_TEST_CASE(a_recursive_mutex_is_its_owners_until_it_has_unlocked_it_as_often) {
    const bulkhead::recursive_mutex m;
    const auto another_can = [&] {
        bool got = false;
        std::jthread([&] {
            got = m.try_lock();
            if (got) m.unlock();
        }).join();
        return got;
    };
    {
        const std::scoped_lock outer(m);
        const std::scoped_lock inner(m);
        BOOST_TEST(m.try_lock());
        BOOST_TEST(m.try_lock_for(1s));
        m.unlock();
        m.unlock();
        BOOST_TEST(!another_can());
        std::jthread([&] { BOOST_CHECK_THROW(m.unlock(), bulkhead::usage_error); }).join();
    }
    BOOST_TEST(another_can());
    BOOST_CHECK_THROW(m.unlock(), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(a_killed_owners_recursive_lock_is_inherited_at_depth_one) {
    const std::string name = test::unique_name();
    const auto m = bulkhead::recursive_mutex::create(name);
    for (int round = 0; round != 20; ++round) {
        const test::shared<std::atomic<bool>> locked;
        const pid_t owner = forked([&] {
            const auto same = bulkhead::recursive_mutex::open(name);
            for (int i = 0; i != 5; ++i) same.lock();
            *locked = true;
            for (;;) ::pause();
        });
        test::until([&] { return locked->load(); });
        BOOST_TEST(!m.try_lock());
        test::killed(owner);
        BOOST_TEST((m.lock() == lock_state::inherited));
        BOOST_TEST((m.lock() == lock_state::clean));
        m.unlock();
        m.unlock();
        BOOST_CHECK_THROW(m.unlock(), bulkhead::usage_error);
        BOOST_TEST((m.lock() == lock_state::clean));
        m.unlock();
    }
    BOOST_TEST(bulkhead::recursive_mutex::remove(name));
}

BOOST_AUTO_TEST_CASE(two_processes_change_one_balance_a_thousand_times_each) {
    const guarded<int> balance(0);
    const bulkhead::mutex m;
    const auto change = [&] {
        for (int i = 0; i != 1000; ++i) {
            balance.with_lock([](int& b) { b += 5; });
            const std::scoped_lock guard(m);
            const int now = balance.get();
            balance.with_lock([&](int& b) { b = b - 3 + (now - now); });
        }
    };
    const pid_t first = forked(change);
    const pid_t second = forked(change);
    BOOST_TEST(test::ended(first) == 0);
    BOOST_TEST(test::ended(second) == 0);
    BOOST_TEST(balance.get() == 4000);
}

BOOST_AUTO_TEST_CASE(with_lock_gives_back_the_result_and_an_exception_changes_nothing) {
    const guarded<int> value(1);
    BOOST_TEST(value.with_lock([](int& v) { return ++v * 10; }) == 20);
    BOOST_CHECK_THROW(value.with_lock([](int& v) {
        v = 99;
        throw std::runtime_error("no");
    }),
                      std::runtime_error);
    BOOST_TEST(value.get() == 2);
    BOOST_CHECK_THROW(value.with_lock([&](int&) { (void)value.get(); }), bulkhead::usage_error);
    BOOST_CHECK_THROW(value.with_lock([&](int&) { value.with_lock([](int&) {}); }),
                      bulkhead::usage_error);
    BOOST_TEST(value.get() == 2);
}

BOOST_AUTO_TEST_CASE(killed_inside_with_lock_leaves_a_whole_value) {
    struct pair {
        std::array<unsigned, 100> left;
        std::array<unsigned, 100> right;
    };
    const guarded<pair> value(pair{});
    test::random_numbers random;
    BOOST_TEST_CONTEXT("BULKHEAD_TEST_SEED=" << random.seed()) {
        unsigned changes = 0;
        for (int round = 0; round != 300; ++round) {
            const pid_t changer = forked([&] {
                for (;;) {
                    value.with_lock([](pair& p) {
                        for (auto& l : p.left) ++l;
                        for (auto& r : p.right) ++r;
                    });
                }
            });
            ::usleep(random(1000));
            test::killed(changer);
            const pair now = value.get();
            for (const unsigned n : now.left) BOOST_REQUIRE(n == now.left[0]);
            for (const unsigned n : now.right) BOOST_REQUIRE(n == now.left[0]);
            BOOST_REQUIRE(now.left[0] >= changes);
            changes = now.left[0];
        }
        BOOST_TEST(changes > 0U);
    }
}

BOOST_AUTO_TEST_CASE(a_guarded_value_may_be_larger_than_a_stack) {
    using block = std::array<char, (16 << 20) + 1>;
    const auto initial = std::make_unique<block>();
    initial->back() = 'z';
    const guarded<block> value(*initial);
    value.with_lock([](block& all) { all.front() = 'a'; });
    BOOST_CHECK_THROW(value.with_lock([](block& all) {
        all.front() = 'b';
        throw std::runtime_error("no");
    }),
                      std::runtime_error);
    BOOST_TEST((value.with_lock([](const block& all) {
        return std::pair(all.front(), all.back());
    }) == std::pair('a', 'z')));
}

BOOST_AUTO_TEST_CASE(a_guarded_value_is_looked_at_through_a_pointer_to_its_member) {
    struct account {
        int number;
        int cents;
    };
    const guarded<account> value(account{7, 100});
    BOOST_TEST(value.with_lock(&account::number) == 7);
}

BOOST_AUTO_TEST_CASE(a_guarded_value_has_a_name_until_it_is_removed) {
    const std::string name = test::unique_name();
    BOOST_CHECK_THROW((void)guarded<int>::open(name), bulkhead::error);
    const auto value = guarded<int>::create(name, 5);
    BOOST_TEST(guarded<int>::open_or_create(name, 7).get() == 5);
    BOOST_CHECK_THROW((void)guarded<double>::open(name), bulkhead::error);
    BOOST_TEST(
        test::ended(forked([&] { guarded<int>::open(name).with_lock([](int& v) { ++v; }); })) == 0);
    BOOST_TEST(value.get() == 6);
    BOOST_TEST(guarded<int>::remove(name));
}

BOOST_AUTO_TEST_CASE(an_heir_that_is_stopped_before_it_has_signed_is_waited_for) {
    struct place {
        alignas(robust_mutex) unsigned char lock[sizeof(robust_mutex)];
        std::atomic<bool> is_locked;
    };
    const test::shared<place> at;
    robust_mutex::construct(at->lock);
    auto& lock = *reinterpret_cast<robust_mutex*>(at->lock);
    const pid_t dead = forked([] {});
    BOOST_TEST(test::ended(dead) == 0);
    // What the C library notes of the owner, until an heir has said that all is well.
    for (const int noted : {static_cast<int>(dead), std::numeric_limits<int>::max()}) {
        at->is_locked = false;
        const pid_t heir = forked([&] {
            (void)lock.lock(bulkhead::detail::wait_for_ever, "the lock");
            reinterpret_cast<pthread_mutex_t*>(at->lock)->__data.__owner = noted;
            at->is_locked = true;
            ::raise(SIGSTOP);
        });
        test::until([&] { return at->is_locked.load(); });
        BOOST_TEST((lock.lock(std::chrono::steady_clock::now() + 1s, "the lock") == acquired::no));
        BOOST_TEST(test::killed(heir) == 128 + SIGKILL);
        BOOST_TEST((lock.lock(bulkhead::detail::wait_for_ever, "the lock") == acquired::inherited));
        lock.unlock("the lock");
    }
}

BOOST_AUTO_TEST_SUITE_END()
