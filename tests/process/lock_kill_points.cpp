// A process dies at each step of each operation of a lock or its like.
#include "os/kill_point.hpp"

#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/barrier.hpp>
#include <bulkhead/condition_variable.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/event.hpp>
#include <bulkhead/mutex.hpp>
#include <bulkhead/semaphore.hpp>
#include <bulkhead/shared_mutex.hpp>

#include <chrono>
#include <functional>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>

namespace {

using namespace std::chrono_literals;

constexpr unsigned passes[] = {1, 2, 5};

/// For each point and pass: `work` in a child that dies there, if it comes there, then `check`. Each point must
/// be reached.
void at_each(std::span<const std::string_view> points, const std::function<void()>& prepare,
             const std::function<void()>& work, const std::function<void()>& check) {
    for (const auto point : points) {
        int deaths = 0;
        for (const unsigned nth : passes) {
            BOOST_TEST_CONTEXT(point << ", pass " << nth) {
                prepare();
                const pid_t child = test::forked([&] {
                    bulkhead::os::arm_kill_point(point, nth);
                    work();
                });
                const int end = test::ended(child);
                if (end == 128 + SIGKILL) ++deaths;
                BOOST_TEST((end == 0 || end == 128 + SIGKILL));
                check();
            }
        }
        BOOST_TEST(deaths > 0, point << " was never passed");
    }
}

constexpr auto nothing = [] {};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(lock_kill_points, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(a_semaphore_gets_back_what_a_process_had_that_dies_at_any_step) {
    const bulkhead::semaphore s(2);
    at_each(
        bulkhead::os::monitor_kill_points, nothing,
        [&] {
            for (int i = 0; i != 10; ++i) {
                s.acquire();
                s.acquire();
                (void)s.try_acquire_for(1ms);  // to come to where it sleeps
                s.release(2);
            }
        },
        [&] {
            BOOST_TEST(s.try_acquire_for(60s));
            BOOST_TEST(s.try_acquire_for(60s));
            BOOST_TEST(!s.try_acquire());
            s.release(2);
            BOOST_TEST(s.available() == 2);
        });
}

BOOST_AUTO_TEST_CASE(a_waiter_gets_a_permit_that_a_process_releases_and_dies_at_any_step) {
    for (const auto point : bulkhead::os::monitor_kill_points) {
        if (point == "monitor.enlisted") continue;  // of who waits
        BOOST_TEST_CONTEXT(point) {
            const bulkhead::semaphore s(1);
            const test::shared<std::atomic<bool>> has_it;
            const pid_t releaser = test::forked([&] {
                s.acquire();
                *has_it = true;
                ::usleep(5'000);
                bulkhead::os::arm_kill_point(point, 1);
                s.release();
            });
            test::until([&] { return has_it->load(); });
            BOOST_TEST(s.try_acquire_for(60s));
            BOOST_TEST(test::ended(releaser) == 128 + SIGKILL);
            s.release();
            BOOST_TEST(s.available() == 1);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_shared_mutex_is_to_be_had_when_a_process_dies_at_any_step) {
    const bulkhead::shared_mutex m;
    at_each(
        bulkhead::os::shared_mutex_kill_points, nothing,
        [&] {
            for (int i = 0; i != 10; ++i) {
                m.lock();
                m.unlock();
                m.lock_shared();
                m.unlock_shared();
            }
        },
        [&] {
            BOOST_TEST(m.try_lock_shared_for(60s));
            m.unlock_shared();
            BOOST_TEST(m.try_lock_for(60s));
            m.unlock();
            BOOST_TEST((m.lock() == bulkhead::lock_state::clean));
            m.unlock();
        });
}

BOOST_AUTO_TEST_CASE(who_waits_for_a_shared_mutex_gets_it_when_its_holder_dies_at_any_step) {
    for (const auto point : {"shared.leaving", "shared.unlisted"}) {
        BOOST_TEST_CONTEXT(point) {
            const bulkhead::shared_mutex m;
            const test::shared<std::atomic<bool>> has_it;
            const bool alone = std::string_view(point) == "shared.leaving";
            const pid_t holder = test::forked([&] {
                if (alone) {
                    m.lock();
                } else {
                    m.lock_shared();
                }
                *has_it = true;
                ::usleep(5'000);
                bulkhead::os::arm_kill_point(point, 1);
                if (alone) {
                    m.unlock();
                } else {
                    m.unlock_shared();
                }
            });
            test::until([&] { return has_it->load(); });
            BOOST_TEST(m.try_lock_for(60s));
            BOOST_TEST(test::ended(holder) == 128 + SIGKILL);
            BOOST_TEST(!m.inherited());
            m.unlock();
        }
    }
}

BOOST_AUTO_TEST_CASE(who_waits_for_an_event_goes_on_though_its_setter_dies_before_waking_it) {
    const bulkhead::event e;
    at_each(
        bulkhead::os::event_kill_points, [&] { e.clear(); },
        [&] {
            for (int i = 0; i != 10; ++i) {
                e.clear();
                e.set();
            }
        },
        [&] { BOOST_TEST(e.wait_for(60s)); });
    e.clear();
    const pid_t setter = test::forked([&] {
        ::usleep(5'000);
        bulkhead::os::arm_kill_point("event.set", 1);
        e.set();
    });
    BOOST_TEST(e.wait_for(60s));
    BOOST_TEST(test::ended(setter) == 128 + SIGKILL);
}

BOOST_AUTO_TEST_CASE(a_condition_variable_serves_on_when_a_waiter_or_notifier_dies_at_any_step) {
    const bulkhead::mutex m;
    const bulkhead::condition_variable changed;
    const std::span points(bulkhead::os::monitor_kill_points);
    at_each(
        points.first(points.size() - 1), nothing,
        [&] {
            for (int i = 0; i != 5; ++i) {
                std::unique_lock lock(m);
                (void)changed.wait_for(lock, 1ms);
                changed.notify_one();
            }
        },
        [&] {
            const pid_t waiter = test::forked([&] {
                std::unique_lock lock(m);
                if (changed.wait_for(lock, 60s) == std::cv_status::timeout) ::_exit(2);
            });
            int end = -1;
            while (end == -1) {
                changed.notify_one();
                ::usleep(1000);
                end = test::ended_already(waiter);
            }
            BOOST_TEST(end == 0);
        });
}

BOOST_AUTO_TEST_CASE(a_waiter_is_woken_by_a_notifier_that_dies_once_its_notification_counts) {
    const bulkhead::mutex m;
    const bulkhead::condition_variable changed;
    for (const auto point : {"monitor.committed", "monitor.unlocked"}) {
        BOOST_TEST_CONTEXT(point) {
            std::unique_lock lock(m);
            const pid_t notifier = test::forked([&] {
                const std::scoped_lock guard(m);
                bulkhead::os::arm_kill_point(point, 1);
                changed.notify_one();
            });
            BOOST_TEST((changed.wait_for(lock, 60s) == std::cv_status::no_timeout));
            BOOST_TEST(m.inherited());
            BOOST_TEST(test::ended(notifier) == 128 + SIGKILL);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_party_that_dies_at_any_step_of_a_barrier_leaves_nobody_waiting) {
    for (const auto point : bulkhead::os::monitor_kill_points) {
        for (const unsigned nth : {1U, 2U, 3U, 4U}) {
            BOOST_TEST_CONTEXT(point << ", pass " << nth) {
                const bulkhead::barrier b(2);
                const pid_t party = test::forked([&] {
                    bulkhead::os::arm_kill_point(point, nth);
                    for (;;) b.arrive_and_wait();
                });
                bool broken = false;
                bool listed = true;
                int end = -1;
                while (!broken && listed) {
                    try {
                        const auto token = b.arrive();
                        while (listed && !b.wait_for(token, 50ms)) {
                            // A party that died before it was listed was never there.
                            listed = end == -1;
                            if (listed) end = test::ended_already(party);
                        }
                    } catch (const bulkhead::barrier_broken&) {
                        broken = true;
                    }
                }
                if (end == -1) end = test::ended(party);
                BOOST_TEST(end == 128 + SIGKILL);
                BOOST_TEST(b.broken() == broken);
                BOOST_TEST((broken || (!listed && nth == 1)));
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
