// Messages filled and read in the queue's own memory.
#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/mutex.hpp>
#include <bulkhead/queue.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using bulkhead::queue;
using numbers = std::vector<std::uint64_t>;

template <class Message>
std::string text_of(const Message& message) {
    return std::string(message.begin(), message.end());
}

void put_by_loan(const queue<std::string>& q, const std::string& text) {
    auto room = q.loan(text.size());
    std::ranges::copy(text, room.begin());
    room.put();
}

numbers counted(std::uint64_t first, std::size_t count) {
    numbers all(count);
    std::iota(all.begin(), all.end(), first);
    return all;
}

std::size_t length_of(std::uint64_t number) { return number * 13 % 40 + 1; }

}  // namespace

BOOST_FIXTURE_TEST_SUITE(loan, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(what_is_put_by_a_loan_is_got_and_what_is_put_is_borrowed) {
    const queue<std::string> q;
    put_by_loan(q, "filled in place");
    BOOST_TEST(q.size() == 1U);
    BOOST_TEST(q.get() == "filled in place");
    q.put("read in place");
    {
        const auto message = q.borrow();
        BOOST_TEST(text_of(message) == "read in place");
        BOOST_TEST(q.size() == 1U);
    }
    BOOST_TEST(q.empty());
    put_by_loan(q, "");
    BOOST_TEST(q.borrow().size() == 0U);
    const queue<std::vector<double>> values;
    auto room = values.loan(3);
    const std::span<double> all = room;
    std::ranges::fill(all, 1.5);
    room[2] = 2.5;
    room.put();
    BOOST_TEST(values.get() == (std::vector<double>{1.5, 1.5, 2.5}),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_loan_that_is_not_put_is_no_message) {
    const queue<std::string> q;
    {
        auto room = q.loan(100);
        std::ranges::fill(room, 'x');
    }
    BOOST_TEST(q.empty());
    q.put("next");
    BOOST_TEST(q.get() == "next");
}

BOOST_AUTO_TEST_CASE(part_of_a_loan_can_be_put) {
    const queue<std::string> q({.capacity_bytes = 100});
    auto room = q.loan(100);
    std::ranges::copy(std::string_view("short"), room.begin());
    room.put(5);
    BOOST_TEST(q.try_put(std::string(80, 'y')));
    BOOST_TEST(q.get() == "short");
}

BOOST_AUTO_TEST_CASE(any_size_passes_around_the_end_of_the_buffer) {
    std::mt19937 random(3);
    for (const std::size_t capacity : {8U, 64U, 100U, 1000U}) {
        const queue<std::string> q({.capacity_bytes = capacity});
        for (unsigned i = 0; i != 3000; ++i) {
            const std::string text(random() % (capacity + 1), static_cast<char>(i));
            if (random() % 2 == 0) {
                put_by_loan(q, text);
            } else {
                q.put(text);
            }
            if (random() % 2 == 0) {
                BOOST_REQUIRE(text_of(q.borrow()) == text);
            } else {
                BOOST_REQUIRE(q.get() == text);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(without_room_or_message_a_try_says_no) {
    const queue<std::string> q({.capacity_bytes = 8});
    BOOST_TEST(!q.try_borrow().has_value());
    BOOST_TEST(!q.borrow_for(5ms).has_value());
    q.put("12345678");
    BOOST_TEST(!q.try_loan(8).has_value());
    BOOST_TEST(!q.loan_for(8, 5ms).has_value());
    BOOST_TEST(q.try_borrow().has_value());
    BOOST_TEST(q.empty());
    auto room = q.loan_for(8, 1h);
    BOOST_REQUIRE(room.has_value());
    room->put(0);
    q.close();
    BOOST_CHECK_THROW((void)q.loan(1), bulkhead::queue_closed);
    BOOST_TEST(q.borrow().size() == 0U);
    BOOST_CHECK_THROW((void)q.borrow(), bulkhead::queue_closed);
    BOOST_CHECK_THROW((void)q.borrow_for(1ms), bulkhead::queue_closed);
    BOOST_TEST(!q.try_borrow().has_value());
}

BOOST_AUTO_TEST_CASE(more_than_the_capacity_is_refused) {
    const queue<numbers> q({.capacity_bytes = 64});
    BOOST_CHECK_THROW((void)q.loan(9), std::length_error);
    BOOST_CHECK_THROW((void)q.loan(SIZE_MAX), std::length_error);
    BOOST_TEST(q.loan(8).size() == 8U);
}

BOOST_AUTO_TEST_CASE(wrong_use_is_told) {
    const queue<std::string> q;
    {
        auto room = q.loan(4);
        BOOST_CHECK_THROW(room.put(5), bulkhead::usage_error);
        BOOST_CHECK_THROW((void)q.loan(1), bulkhead::usage_error);
        BOOST_CHECK_THROW(q.put("x"), bulkhead::usage_error);
        std::thread([&] { BOOST_CHECK_THROW(room.put(), bulkhead::usage_error); }).join();
        room.put(4);
        BOOST_CHECK_THROW(room.put(), bulkhead::usage_error);
    }
    auto message = q.borrow();
    BOOST_CHECK_THROW((void)q.borrow(), bulkhead::usage_error);
    BOOST_CHECK_THROW((void)q.get(), bulkhead::usage_error);
    std::thread([&] { BOOST_CHECK_THROW(message.release(), bulkhead::usage_error); }).join();
    q.put("writers go on");
    BOOST_TEST(q.size() == 2U);
    message.release();
    message.release();
    BOOST_TEST(message.size() == 0U);
    BOOST_TEST(q.get() == "writers go on");
}

BOOST_AUTO_TEST_CASE(who_has_a_loan_can_get_and_who_has_borrowed_can_put) {
    const queue<std::string> q;
    q.put(std::string(1'500'000, 'x'));
    {
        const auto room = q.loan(1);
        BOOST_TEST(q.get().size() == 1'500'000U);
    }
    q.put(std::string(1'500'000, 'y'));
    const auto message = q.borrow();
    q.put("z");
    BOOST_TEST(message[0] == 'y');
}

BOOST_AUTO_TEST_CASE(one_that_is_destroyed_elsewhere_is_its_threads_until_that_ends) {
    using loaned = bulkhead::loaned_message<char>;
    // In a child, as the memory stays mapped in this process.
    const pid_t child = test::forked([] {
        const queue<std::string> q;
        std::unique_ptr<loaned> room;
        std::atomic<bool> made{false};
        std::atomic<bool> stop{false};
        std::jthread holder([&] {
            {
                const queue<std::string> other;
                auto wrong = std::unique_ptr<loaned>(new loaned(other.loan(1)));
                std::jthread([&] { wrong.reset(); }).join();
            }
            room = std::unique_ptr<loaned>(new loaned(q.loan(1)));
            made = true;
            test::until([&] { return stop.load(); });
            // Walks the thread's list of robust locks.
            const bulkhead::mutex m;
            m.lock();
            m.unlock();
        });
        test::until([&] { return made.load(); });
        room.reset();
        if (q.try_put("x")) ::_exit(2);
        stop = true;
        holder.join();
        q.put("next");
        if (q.get() != "next") ::_exit(3);
    });
    BOOST_TEST(test::ended(child) == 0);
}

BOOST_AUTO_TEST_CASE(other_threads_wait_until_it_ends) {
    const queue<std::string> q;
    std::atomic<bool> ended{false};
    std::jthread other;
    {
        auto room = q.loan(1);
        BOOST_TEST(!std::async(std::launch::async, [&] { return q.try_put("x"); }).get());
        other = std::jthread([&] {
            q.put("second");
            if (!ended) std::abort();
        });
        room[0] = '1';
        ended = true;
        room.put();
    }
    other.join();
    BOOST_TEST(q.get() == "1");
    BOOST_TEST(q.get() == "second");
}

BOOST_AUTO_TEST_CASE(a_killed_holder_of_a_loan_has_put_nothing_and_keeps_nobody) {
    const queue<std::string> q({.capacity_bytes = 1000});
    const test::shared<std::atomic<int>> holds;
    for (int round = 0; round != 30; ++round) {
        *holds = 0;
        const pid_t holder = test::forked([&] {
            auto room = q.loan(900);
            std::ranges::fill(room, 'x');
            *holds = 1;
            while (true) ::pause();
        });
        test::until([&] { return *holds == 1; });
        const pid_t next = test::forked([&] { q.put("next"); });
        test::killed(holder);
        BOOST_TEST(q.get() == "next");
        BOOST_TEST(test::ended(next) == 0);
        BOOST_TEST(q.empty());
    }
}

BOOST_AUTO_TEST_CASE(what_a_killed_reader_had_borrowed_is_read_by_the_next) {
    const queue<std::string> q({.capacity_bytes = 1000});
    const test::shared<std::atomic<int>> holds;
    for (int round = 0; round != 30; ++round) {
        *holds = 0;
        q.put("precious");
        const pid_t holder = test::forked([&] {
            const auto message = q.borrow();
            *holds = static_cast<int>(message.size());
            while (true) ::pause();
        });
        test::until([&] { return *holds == 8; });
        const pid_t next = test::forked([&] {
            if (q.get() != "precious") ::_exit(2);
        });
        q.put("more");
        test::killed(holder);
        BOOST_TEST(test::ended(next) == 0);
        BOOST_TEST(q.get() == "more");
    }
}

BOOST_AUTO_TEST_CASE(killed_at_random_nobody_hangs_and_nothing_is_lost_doubled_or_torn) {
    constexpr unsigned holders = 4;  // the first half of them writes
    constexpr int kills = 300;
    test::random_numbers random;
    BOOST_TEST_CONTEXT("BULKHEAD_TEST_SEED=" << random.seed()) {
        struct ledger {
            std::atomic<std::uint64_t> begun{0};
            /// Per number: 1 when put() had returned, 2 when it is about to be taken, 4 for each time it was.
            std::array<std::atomic<unsigned char>, 4'000'000> fate{};
            std::atomic<bool> wrong{false};
            std::atomic<bool> stop{false};
        };
        const test::shared<ledger> all;
        const queue<numbers> q({.capacity_bytes = 1000});
        const auto write = [&] {
            while (!all->stop && all->begun + holders < all->fate.size()) {
                const std::uint64_t number = all->begun++;
                auto room = q.loan(length_of(number));
                std::ranges::copy(counted(number, room.size()), room.begin());
                room.put();
                all->fate[number] |= 1;
            }
        };
        const auto read = [&] {
            try {
                while (true) {
                    auto message = q.borrow();
                    const std::uint64_t number = message.size() == 0 ? 0 : message[0];
                    if (number >= all->begun ||
                        !std::ranges::equal(message, counted(number, length_of(number)))) {
                        all->wrong = true;
                        return;
                    }
                    all->fate[number] |= 2;
                    message.release();
                    all->fate[number] += 4;
                }
            } catch (const bulkhead::queue_closed&) {  // all done
            }
        };
        std::vector<pid_t> pids(holders);
        const auto start = [&](unsigned i) {
            pids[i] = test::forked([&] { i < holders / 2 ? write() : read(); });
        };
        for (unsigned i = 0; i != holders; ++i) start(i);
        for (int kill = 0; kill != kills; ++kill) {
            ::usleep(random(1500));
            const unsigned victim = random(holders);
            test::killed(pids[victim]);
            start(victim);
        }
        test::until([&] { return all->begun > 1000U; });
        all->stop = true;
        for (unsigned i = 0; i != holders / 2; ++i) BOOST_TEST(test::ended(pids[i]) == 0);
        q.close();
        for (unsigned i = holders / 2; i != holders; ++i) BOOST_TEST(test::ended(pids[i]) == 0);
        BOOST_TEST(!all->wrong);
        unsigned lost = 0;
        unsigned doubled = 0;
        for (std::uint64_t number = 0; number != all->begun; ++number) {
            const unsigned fate = all->fate[number];
            // A reader that died about to take it may have taken it, and not noted that.
            if ((fate & 1) != 0 && fate < 2) ++lost;
            if (fate >= 8) ++doubled;
        }
        BOOST_TEST(lost == 0U);
        BOOST_TEST(doubled == 0U);
    }
}

BOOST_AUTO_TEST_SUITE_END()
