#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/event.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

namespace {

using namespace std::chrono_literals;
using test::forked;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(event, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(is_set_until_it_is_cleared) {
    const bulkhead::event e;
    BOOST_TEST(!e.is_set());
    BOOST_TEST(!e.wait_for(5ms));
    BOOST_TEST(!e.wait_until(std::chrono::system_clock::now() + 5ms));
    e.set();
    e.set();
    BOOST_TEST(e.is_set());
    e.wait();
    BOOST_TEST(e.wait_for(0s));
    e.clear();
    e.clear();
    BOOST_TEST(!e.is_set());
    BOOST_TEST(!e.wait_for(-1s));
}

BOOST_AUTO_TEST_CASE(all_who_wait_go_on_also_if_it_is_cleared_at_once) {
    const bulkhead::event e;
    for (int round = 0; round != 20; ++round) {
        const test::shared<std::atomic<int>> waiting;
        std::vector<pid_t> waiters(4);
        for (auto& pid : waiters) {
            pid = forked([&] {
                ++*waiting;
                if (!e.wait_for(60s)) ::_exit(2);
            });
        }
        // After its note, the first thing that each sleeps for is the event.
        test::until([&] { return *waiting == 4 && std::ranges::all_of(waiters, test::is_asleep); });
        e.set();
        e.clear();
        for (const pid_t pid : waiters) BOOST_TEST(test::ended(pid) == 0);
    }
}

BOOST_AUTO_TEST_CASE(a_killed_waiter_or_setter_changes_nothing) {
    const bulkhead::event e;
    const test::shared<std::atomic<bool>> waiting;
    const pid_t waiter = forked([&] {
        *waiting = true;
        e.wait();
    });
    test::until([&] { return waiting->load(); });
    test::killed(waiter);
    e.set();
    e.clear();
    BOOST_TEST(test::ended(forked([&] {
                   e.set();
                   ::kill(::getpid(), SIGKILL);
               })) == 128 + SIGKILL);
    BOOST_TEST(e.wait_for(0s));
}

BOOST_AUTO_TEST_CASE(has_a_name_until_it_is_removed) {
    const std::string name = test::unique_name();
    BOOST_CHECK_THROW((void)bulkhead::event::open(name), bulkhead::error);
    const auto e = bulkhead::event::create(name);
    BOOST_TEST(test::ended(forked([&] { bulkhead::event::open(name).set(); })) == 0);
    BOOST_TEST(e.is_set());
    BOOST_TEST(bulkhead::event::open_or_create(name).is_set());
    BOOST_TEST(bulkhead::event::remove(name));
    BOOST_TEST(!bulkhead::event::remove(name));
}

BOOST_AUTO_TEST_SUITE_END()
