#include "support/forked.hpp"
#include "support/scene.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/bulkhead.hpp>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using test::forked;

int phases(const bulkhead::barrier& b, int how_many) {
    for (int i = 0; i != how_many; ++i) b.arrive_and_wait();
    return how_many;
}

void never_arrives(const bulkhead::barrier&, const bulkhead::event& started) {
    started.set();
    for (;;) ::pause();
}

/// 0: the phase was completed, 3: the barrier was broken.
void code_of(const bulkhead::barrier& b) {
    try {
        b.arrive_and_wait();
    } catch (const bulkhead::barrier_broken&) {
        ::_exit(3);
    }
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(barrier, test::scene)

BOOST_AUTO_TEST_CASE(threads_wait_for_each_other_phase_after_phase) {
    constexpr int parties = 4;
    const bulkhead::barrier b(parties);
    std::atomic<int> arrived{0};
    std::atomic<bool> early{false};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i != parties; ++i) {
            threads.emplace_back([&] {
                for (int phase = 1; phase <= 200; ++phase) {
                    ++arrived;
                    b.arrive_and_wait();
                    if (arrived < phase * parties) early = true;
                }
            });
        }
    }
    BOOST_TEST(!early);
    BOOST_TEST(arrived == 200 * parties);
}

BOOST_AUTO_TEST_CASE(arrivals_may_be_apart_from_waiting_and_several_at_once) {
    const bulkhead::barrier b(3);
    auto token = b.arrive(2);
    BOOST_TEST(!b.wait_for(token, 5ms));
    auto last = b.arrive();
    b.wait(std::move(last));
    BOOST_TEST(b.wait_for(token, 0s));
    b.wait(std::move(token));
    BOOST_CHECK_THROW((void)b.arrive(4), bulkhead::usage_error);
    BOOST_CHECK_THROW((void)b.arrive(0), bulkhead::usage_error);
    BOOST_CHECK_THROW(bulkhead::barrier(0), bulkhead::usage_error);
    BOOST_CHECK_THROW(bulkhead::barrier(bulkhead::barrier::max() + 1), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(who_drops_is_not_waited_for_in_the_phases_that_follow) {
    const bulkhead::barrier b(2);
    b.arrive_and_drop();
    b.arrive_and_wait();
    b.arrive_and_wait();
    b.arrive_and_drop();
    BOOST_CHECK_THROW((void)b.arrive(), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(tasks_and_processes_meet_and_may_leave_again_and_again) {
    const bulkhead::barrier b(3);
    for (int round = 0; round != 3; ++round) {
        bulkhead::process_pool pool({.workers = 2});
        auto first = pool.submit(phases, b, 5);
        auto second = pool.submit(phases, b, 5);
        bulkhead::process third(phases, b, 5);
        BOOST_TEST(first.get() == 5);
        BOOST_TEST(second.get() == 5);
        third.join();
        BOOST_TEST(third.status().exit_code() == 0);
    }
    BOOST_TEST(!b.broken());
}

BOOST_AUTO_TEST_CASE(a_process_killed_before_it_arrives_breaks_the_barrier) {
    const bulkhead::barrier b(2);
    const bulkhead::event started;
    bulkhead::process party(never_arrives, b, started);
    started.wait();
    auto token = b.arrive();
    BOOST_TEST(!b.wait_for(token, 5ms));
    party.kill();
    BOOST_CHECK_THROW(b.wait(std::move(token)), bulkhead::barrier_broken);
    BOOST_TEST(b.broken());
    BOOST_CHECK_THROW((void)b.arrive(), bulkhead::barrier_broken);
    BOOST_CHECK_THROW(b.arrive_and_wait(), bulkhead::barrier_broken);
    party.join();
}

BOOST_AUTO_TEST_CASE(a_party_that_is_dead_is_told_of_without_a_wait) {
    const auto with_a_dead_party = [] {
        bulkhead::barrier b(2);
        const pid_t other = forked([&] {
            b.arrive_and_wait();
            ::_exit(0);  // with its handle
        });
        b.arrive_and_wait();
        BOOST_TEST(test::ended(other) == 0);
        return b;
    };
    BOOST_TEST(with_a_dead_party().broken());
    BOOST_CHECK_THROW((void)with_a_dead_party().arrive(), bulkhead::barrier_broken);
}

BOOST_AUTO_TEST_CASE(who_completes_a_phase_needs_no_living_party) {
    const bulkhead::barrier b(2);
    const pid_t other = forked([&] {
        (void)b.arrive();
        ::_exit(0);  // with its handle
    });
    BOOST_TEST(test::ended(other) == 0);
    b.arrive_and_wait();
}

BOOST_AUTO_TEST_CASE(abort_lets_everybody_go) {
    const bulkhead::barrier b(2);
    std::jthread waiter([&] { BOOST_CHECK_THROW(b.arrive_and_wait(), bulkhead::barrier_broken); });
    b.abort();
    waiter.join();
    BOOST_TEST(b.broken());
}

BOOST_AUTO_TEST_CASE(a_phase_that_was_complete_is_complete_though_the_barrier_broke_then) {
    const bulkhead::barrier b(1);
    auto token = b.arrive();
    b.abort();
    b.wait(std::move(token));
}

BOOST_AUTO_TEST_CASE(a_thousand_kills_of_parties_leave_nobody_waiting) {
    constexpr int parties = 3;
    constexpr int at_once = 10;
    constexpr int rounds = test::sanitized ? 20 : 100;  // 30 busy processes: 10 minutes under ASan
    test::random_numbers random;
    BOOST_TEST_CONTEXT("BULKHEAD_TEST_SEED=" << random.seed()) {
        for (int round = 0; round != rounds; ++round) {
            std::vector<bulkhead::barrier> barriers;
            for (int i = 0; i != at_once; ++i) barriers.emplace_back(parties);
            std::vector<pid_t> pids;
            const test::shared<std::atomic<int>> listed;
            for (const auto& b : barriers) {
                for (int i = 0; i != parties; ++i) {
                    pids.push_back(forked([&] {
                        code_of(b);
                        ++*listed;
                        for (;;) code_of(b);
                    }));
                }
            }
            test::until([&] { return *listed == parties * at_once; });
            ::usleep(random(3000));
            for (std::size_t i = 0; i != at_once; ++i) {
                BOOST_REQUIRE(test::killed(pids[i * parties + random(parties)]) == 128 + SIGKILL);
            }
            for (const pid_t pid : pids) {
                const int end = test::ended(pid);
                BOOST_REQUIRE((end == 3 || end == -1));  // -1: the one that was killed
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(has_a_name_until_it_is_removed) {
    const std::string name = test::unique_name();
    BOOST_CHECK_THROW((void)bulkhead::barrier::open(name), bulkhead::error);
    const auto b = bulkhead::barrier::create(name, 2);
    const pid_t other = forked([&] {
        const auto same = bulkhead::barrier::open_or_create(name, 9);
        same.arrive_and_wait();
    });
    b.arrive_and_wait();
    BOOST_TEST(test::ended(other) == 0);
    BOOST_TEST(bulkhead::barrier::remove(name));
    BOOST_TEST(!bulkhead::barrier::remove(name));
}

BOOST_AUTO_TEST_SUITE_END()
