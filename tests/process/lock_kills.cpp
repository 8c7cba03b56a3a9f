// Owners and waiters of locks and their like are killed at random moments; barrier.cpp has the barrier's.
#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/condition_variable.hpp>
#include <bulkhead/event.hpp>
#include <bulkhead/mutex.hpp>
#include <bulkhead/semaphore.hpp>
#include <bulkhead/shared_mutex.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <functional>
#include <mutex>

namespace {

using namespace std::chrono_literals;

constexpr unsigned kills = 1000;
constexpr unsigned children = 4;

/// What the children say of themselves. Bit i of `inside` is child i's, bit 16 + i when it is there alone.
struct board {
    std::atomic<unsigned> inside{0};
    std::atomic<unsigned> dooms{0};  ///< odd while one is killed, until its bits are gone
    std::atomic<unsigned> rounds{0};
    std::array<std::atomic<unsigned>, children> turns{};
    std::atomic<bool> violated{false};
    std::atomic<bool> late{false};
    std::atomic<bool> stop{false};

    /// Between these, child `bits` says that it is inside; `allowed` judges all that are.
    void enter(unsigned bits, const std::function<bool(unsigned)>& allowed) {
        const unsigned before = dooms;
        const unsigned all = inside.fetch_or(bits) | bits;
        if (before % 2 == 0 && dooms == before && !allowed(all)) violated = true;
    }
    void leave(unsigned bits) {
        inside.fetch_and(~bits);
        ++rounds;
    }
};

/// Children run `work(i)` until they are killed or told to stop; a thousand are killed. All that live at the
/// end must end by themselves, `wake` helping those who wait.
void storm(
    const test::shared<board>& all, const std::function<void(unsigned)>& work,
    const std::function<void()>& wake = [] {}) {
    test::random_numbers random;
    BOOST_TEST_CONTEXT("BULKHEAD_TEST_SEED=" << random.seed()) {
        std::array<pid_t, children> pids{};
        const auto start = [&](unsigned i) {
            pids[i] = test::forked([&, i] {
                while (!all->stop) {
                    work(i);
                    ++all->turns[i];
                }
            });
        };
        for (unsigned i = 0; i != children; ++i) start(i);
        for (unsigned kill = 0; kill != kills; ++kill) {
            ::usleep(random(1000));
            const unsigned victim = random(children);
            ++all->dooms;
            test::killed(pids[victim]);
            all->inside.fetch_and(~(0x10001U << victim));
            ++all->dooms;
            start(victim);
        }
        // Nobody was left waiting: each gets on.
        for (auto& turns : all->turns) {
            const unsigned then = turns;
            test::until([&] { return turns > then + 1; });
        }
        all->stop = true;
        wake();
        for (const pid_t pid : pids) BOOST_TEST(test::ended(pid) == 0);
        BOOST_TEST(!all->violated);
        BOOST_TEST(!all->late);
        BOOST_TEST(all->rounds > kills / 4);
        BOOST_TEST_MESSAGE(all->rounds << " rounds");
    }
}

bool one(unsigned inside) { return std::popcount(inside) == 1; }

}  // namespace

BOOST_FIXTURE_TEST_SUITE(lock_kills, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(of_a_mutex_leave_one_inside_and_nobody_waiting) {
    const bulkhead::mutex m;
    const test::shared<board> all;
    storm(all, [&](unsigned i) {
        m.lock();
        all->enter(1U << i, one);
        all->leave(1U << i);
        m.unlock();
    });
}

BOOST_AUTO_TEST_CASE(of_a_recursive_mutex_leave_one_inside_and_nobody_waiting) {
    const bulkhead::recursive_mutex m;
    const test::shared<board> all;
    storm(all, [&](unsigned i) {
        m.lock();
        all->enter(1U << i, one);
        m.lock();
        m.unlock();
        all->leave(1U << i);
        m.unlock();
    });
}

BOOST_AUTO_TEST_CASE(of_a_shared_mutex_leave_one_alone_or_many_sharing_and_nobody_waiting) {
    const bulkhead::shared_mutex m;
    const test::shared<board> all;
    storm(all, [&](unsigned i) {
        if (i == 0) {
            m.lock();
            all->enter(0x10000U << i, one);
            all->leave(0x10000U << i);
            m.unlock();
        } else {
            m.lock_shared();
            all->enter(1U << i, [](unsigned inside) { return inside >> 16 == 0; });
            all->leave(1U << i);
            m.unlock_shared();
        }
    });
}

BOOST_AUTO_TEST_CASE(of_a_semaphore_leave_no_more_inside_than_permitted_and_nobody_waiting) {
    const bulkhead::semaphore s(2);
    const test::shared<board> all;
    storm(all, [&](unsigned i) {
        s.acquire();
        all->enter(1U << i, [](unsigned inside) { return std::popcount(inside) <= 2; });
        all->leave(1U << i);
        s.release();
    });
    BOOST_TEST(s.try_acquire());
    BOOST_TEST(s.available() == 1);
    s.release();
}

BOOST_AUTO_TEST_CASE(of_those_who_set_and_await_an_event_leave_nobody_waiting) {
    const bulkhead::event e;
    const test::shared<board> all;
    const auto await = [&] {
        if (!e.wait_for(60s)) all->late = true;
        ++all->rounds;
    };
    // The last change of those who stop is a set().
    const auto change = [&] {
        e.clear();
        ::usleep(50);
        e.set();
    };
    storm(
        all, [&](unsigned i) { i % 2 == 0 ? change() : await(); }, [&] { e.set(); });
}

BOOST_AUTO_TEST_CASE(of_those_who_notify_and_wait_for_a_condition_leave_nobody_waiting) {
    const bulkhead::mutex m;
    const bulkhead::condition_variable changed;
    const test::shared<board> all;
    const test::shared<std::atomic<int>> tokens;
    storm(
        all,
        [&](unsigned i) {
            std::unique_lock lock(m);
            if (i % 2 == 0) {
                if (*tokens < 10) ++*tokens;
                changed.notify_one();
            } else {
                if (!changed.wait_for(lock, 60s, [&] { return *tokens > 0 || all->stop; })) {
                    all->late = true;
                }
                if (*tokens > 0) --*tokens;
                ++all->rounds;
            }
        },
        [&] { changed.notify_all(); });
}

BOOST_AUTO_TEST_CASE(of_those_who_notify_and_wait_for_no_condition_leave_nobody_waiting) {
    const bulkhead::mutex m;
    const bulkhead::condition_variable changed;
    const test::shared<board> all;
    storm(
        all,
        [&](unsigned i) {
            std::unique_lock lock(m);
            if (i % 2 == 0) {
                changed.notify_one();
            } else {
                if (changed.wait_for(lock, all->stop ? 0s : 60s) == std::cv_status::timeout &&
                    !all->stop) {
                    all->late = true;
                }
                ++all->rounds;
            }
        },
        [&] {
            // Who was about to wait when the others stopped notifying.
            for (int i = 0; i != 100; ++i) {
                ::usleep(1000);
                changed.notify_all();
            }
        });
}

BOOST_AUTO_TEST_SUITE_END()
