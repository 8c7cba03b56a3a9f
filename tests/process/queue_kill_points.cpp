// A reader or a writer of a queue dies at each step of an operation.
#include "os/kill_point.hpp"

#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/queue.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
using bulkhead::queue;

constexpr unsigned passes[] = {1, 2, 5};
constexpr int messages = 40;

struct progress {
    std::atomic<int> done{0};
};

std::vector<int> drained(const queue<int>& q) {
    std::vector<int> all;
    while (const auto one = q.try_get()) all.push_back(*one);
    return all;
}

std::vector<int> numbers(int from, int to) {
    std::vector<int> all(static_cast<std::size_t>(to - from));
    std::iota(all.begin(), all.end(), from);
    return all;
}

/// Of another length each, so that they lie in every way around the end of the buffer.
std::vector<int> loaned(int number) { return numbers(number, number + number * 13 % 40 + 1); }

void check_usable(const queue<int>& q) {
    for (int i = 0; i != 100; ++i) {
        BOOST_TEST(q.put_for(i, 60s));
        BOOST_TEST(q.get_for(60s).value_or(-1) == i);
    }
    BOOST_TEST(q.size() == 0U);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(queue_kill_points, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(a_writer_killed_at_any_step_has_put_its_message_whole_or_not_at_all) {
    for (const auto point : bulkhead::os::ring_kill_points) {
        int deaths = 0;
        for (const unsigned nth : passes) {
            BOOST_TEST_CONTEXT(point << ", pass " << nth) {
                const queue<int> q({.capacity_bytes = 256});
                const test::shared<progress> written;
                const pid_t writer = test::forked([&] {
                    bulkhead::os::arm_kill_point(point, nth);
                    for (int i = 0; i != messages; ++i) {
                        if (!q.put_for(i, 20ms)) break;  // full, and nobody reads
                        ++written->done;
                    }
                });
                const int end = test::ended(writer);
                if (end == 128 + SIGKILL) ++deaths;
                BOOST_TEST((end == 0 || end == 128 + SIGKILL));
                const int done = written->done;
                const auto there = drained(q);
                const int count = static_cast<int>(there.size());
                BOOST_TEST((count == done || (end != 0 && count == done + 1)),
                           count << " there, " << done << " put");
                BOOST_TEST(there == numbers(0, count));
                check_usable(q);
            }
        }
        BOOST_TEST(deaths > 0, point << " was never passed");
    }
}

BOOST_AUTO_TEST_CASE(a_reader_killed_at_any_step_costs_at_most_the_message_in_its_hands) {
    for (const auto point : bulkhead::os::ring_kill_points) {
        int deaths = 0;
        for (const unsigned nth : passes) {
            BOOST_TEST_CONTEXT(point << ", pass " << nth) {
                const queue<int> q;
                const test::shared<progress> read;
                for (int i = 0; i != messages; ++i) q.put(i);
                const pid_t reader = test::forked([&] {
                    bulkhead::os::arm_kill_point(point, nth);
                    while (q.get_for(20ms)) ++read->done;
                });
                const int end = test::ended(reader);
                if (end == 128 + SIGKILL) ++deaths;
                BOOST_TEST((end == 0 || end == 128 + SIGKILL));
                const int done = read->done;
                const auto left = drained(q);
                const int first = messages - static_cast<int>(left.size());
                BOOST_TEST((first == done || (end != 0 && first == done + 1)),
                           first << " taken, " << done << " returned");
                BOOST_TEST(left == numbers(first, messages));
                check_usable(q);
            }
        }
        BOOST_TEST(deaths > 0, point << " was never passed");
    }
}

BOOST_AUTO_TEST_CASE(a_reader_killed_while_others_wait_keeps_no_message_from_them) {
    for (const auto point : bulkhead::os::ring_kill_points) {
        BOOST_TEST_CONTEXT(point) {
            const queue<int> q;
            const test::shared<progress> read;
            const pid_t survivor = test::forked([&] {
                while (const auto one = q.get_for(60s)) {
                    ++read->done;
                    if (*one == messages - 1) return;
                }
            });
            const pid_t victim = test::forked([&] {
                bulkhead::os::arm_kill_point(point, 1);
                while (const auto one = q.get_for(20ms)) {
                    ++read->done;
                    if (*one == messages - 1) q.put(*one);  // for the survivor to see
                }
            });
            for (int i = 0; i != messages; ++i) q.put(i);
            const int end = test::ended(victim);
            if (end == 128 + SIGKILL) {
                // The last may have died with it.
                q.put(messages - 1);
            }
            BOOST_TEST(test::ended(survivor) == 0);
            BOOST_TEST(read->done >= messages - 1);
        }
    }
}

BOOST_AUTO_TEST_CASE(
    a_loan_or_borrowed_message_whose_holder_dies_at_any_step_is_whole_or_not_there) {
    for (const auto point : bulkhead::os::ring_kill_points) {
        int deaths = 0;
        for (const unsigned nth : passes) {
            BOOST_TEST_CONTEXT(point << ", pass " << nth) {
                const queue<std::vector<int>> q({.capacity_bytes = 1000});
                const test::shared<std::atomic<int>> put;
                const test::shared<std::atomic<int>> taken;
                const pid_t writer = test::forked([&] {
                    bulkhead::os::arm_kill_point(point, nth);
                    for (int i = 0; i != messages; ++i) {
                        auto room = q.loan_for(loaned(i).size(), 20ms);
                        if (!room) break;
                        std::ranges::copy(loaned(i), room->begin());
                        room->put();
                        ++*put;
                    }
                });
                int end = test::ended(writer);
                if (end != 0) ++deaths;
                BOOST_TEST((end == 0 || end == 128 + SIGKILL));
                const int there = static_cast<int>(q.size());
                BOOST_TEST((there == *put || (end != 0 && there == *put + 1)));
                const pid_t reader = test::forked([&] {
                    bulkhead::os::arm_kill_point(point, nth);
                    while (auto message = q.borrow_for(20ms)) {
                        message->release();
                        ++*taken;
                    }
                });
                end = test::ended(reader);
                if (end != 0) ++deaths;
                BOOST_TEST((end == 0 || end == 128 + SIGKILL));
                int next = there - static_cast<int>(q.size());
                BOOST_TEST((next == *taken || (end != 0 && next == *taken + 1)));
                while (const auto left = q.try_borrow()) {
                    BOOST_TEST(std::ranges::equal(*left, loaned(next)));
                    ++next;
                }
                BOOST_TEST(next == there);
                q.put(numbers(7, 77));
                BOOST_TEST((q.get() == numbers(7, 77)));
            }
        }
        BOOST_TEST(deaths > 1, point << " was not passed by both");
    }
}

BOOST_AUTO_TEST_CASE(a_reader_killed_at_any_step_of_going_to_the_beginning_leaves_a_whole_queue) {
    for (const std::string_view point : {"ring.copied", "ring.state_written", "ring.committed"}) {
        for (const unsigned nth : {1U, 2U, 3U}) {
            BOOST_TEST_CONTEXT(point << ", pass " << nth) {
                const queue<std::string> q;
                const std::string text((1 << 20) - 8, 'x');
                for (int i = 0; i != 16; ++i) q.put(text);
                for (int i = 0; i != 15; ++i) (void)q.get();
                for (int i = 0; i != 2; ++i) q.put(text);
                for (int i = 0; i != 2; ++i) (void)q.get();
                const pid_t reader = test::forked([&] {
                    bulkhead::os::arm_kill_point(point, nth);
                    (void)q.get();
                });
                BOOST_TEST(test::ended(reader) == 128 + SIGKILL);
                const bool left = !q.empty();
                BOOST_TEST(left == (nth == 1 && point != "ring.committed"));
                if (left) BOOST_TEST((q.get() == text));
                BOOST_TEST(q.try_put(std::string(16 << 20, 'y')));
                BOOST_TEST(q.get().size() == std::size_t{16} << 20);
                q.close();
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
