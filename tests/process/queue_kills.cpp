// Readers and writers of a queue are killed at random moments.
#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/queue.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using bulkhead::queue;

constexpr unsigned writers = 3;
constexpr unsigned readers = 3;
constexpr unsigned messages_max = 60'000'000;
constexpr unsigned kills_default = 400;

/// BULKHEAD_TEST_KILLS asks for more, for a longer storm by hand.
unsigned kills_wanted() {
    const char* given = std::getenv("BULKHEAD_TEST_KILLS");
    return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                            : kills_default;
}

struct message {
    unsigned writer;
    unsigned number;
    // Some go around the end of the ring's buffer in every possible way.
    std::string padding;
};

/// What the processes of a storm tell each other apart from the queue.
struct ledger {
    struct line {
        std::atomic<unsigned> begun{0};  ///< numbers whose put has begun
        /// Per number: 1 when put had returned, 2 for each time it was got.
        std::array<std::atomic<unsigned char>, messages_max / writers> fate{};
    };
    std::array<line, writers> lines;
    std::atomic<bool> damaged{false};
    std::atomic<bool> out_of_order{false};
    std::atomic<bool> stop{false};
};

std::string padding(unsigned number) {
    return std::string(number * 7 % 60, static_cast<char>(number));
}

void write(const queue<message>& q, ledger& all, unsigned writer) {
    auto& line = all.lines[writer];
    while (!all.stop && line.begun + 1 < line.fate.size()) {
        // A number is used once, so one whose put was cut short is not put again.
        const unsigned number = line.begun++;
        q.put({writer, number, padding(number)});
        line.fate[number] |= 1;
    }
}

void read(const queue<message>& q, ledger& all) {
    std::array<unsigned, writers> next{};
    for (const message& m : q) {
        if (m.writer >= writers || m.padding != padding(m.number)) {
            all.damaged = true;
            return;
        }
        if (m.number < next[m.writer]) all.out_of_order = true;
        next[m.writer] = m.number + 1;
        all.lines[m.writer].fate[m.number] += 2;
    }
}

struct tally {
    unsigned long put = 0;
    unsigned long lost = 0;
    unsigned long doubled = 0;
};

tally count(const ledger& all) {
    tally result;
    for (const auto& line : all.lines) {
        for (unsigned number = 0; number != line.begun; ++number) {
            const unsigned fate = line.fate[number];
            const bool put_returned = (fate & 1) != 0;
            if (put_returned) ++result.put;
            if (put_returned && fate < 2) ++result.lost;
            if (fate >= 4) ++result.doubled;
        }
    }
    return result;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(queue_kills, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(killed_at_random_nobody_hangs_and_only_a_killed_readers_message_is_lost) {
    const unsigned kills = kills_wanted();
    const std::string name = test::unique_name();
    test::random_numbers random;
    BOOST_TEST_CONTEXT("BULKHEAD_TEST_SEED=" << random.seed()) {
        const test::shared<ledger> all;
        const auto q = queue<message>::create(name, {.capacity_bytes = 300});
        std::array<pid_t, writers + readers> pids{};
        const auto start = [&](unsigned i) {
            pids[i] = test::forked([&, i] {
                const auto mine = queue<message>::open(name);
                if (i < writers) {
                    write(mine, *all, i);
                } else {
                    read(mine, *all);
                }
            });
        };
        for (unsigned i = 0; i != pids.size(); ++i) start(i);
        unsigned readers_killed = 0;
        for (unsigned kill = 0; kill != kills; ++kill) {
            ::usleep(random(1500));
            const unsigned victim = random(writers + readers);
            test::killed(pids[victim]);
            if (victim >= writers) ++readers_killed;
            start(victim);
        }
        all->stop = true;
        for (unsigned i = 0; i != writers; ++i) BOOST_TEST(test::ended(pids[i]) == 0);
        q.close();
        for (unsigned i = writers; i != pids.size(); ++i) BOOST_TEST(test::ended(pids[i]) == 0);

        const tally result = count(*all);
        BOOST_TEST_MESSAGE(result.put << " messages, " << result.lost << " lost with "
                                      << readers_killed << " killed readers");
        BOOST_TEST(q.empty());
        BOOST_TEST(result.put > kills);
        BOOST_TEST(result.doubled == 0U);
        BOOST_TEST(result.lost <= readers_killed);
        BOOST_TEST(!all->damaged);
        BOOST_TEST(!all->out_of_order);
        BOOST_TEST(queue<message>::remove(name));
    }
}

BOOST_AUTO_TEST_CASE(a_reader_killed_while_it_waits_keeps_nobody_from_writing_or_reading) {
    for (int round = 0; round != 50; ++round) {
        const queue<int> q;
        const test::shared<std::atomic<int>> waiting;
        const auto reader = [&] {
            ++*waiting;
            if (q.get() != 1) ::_exit(2);
        };
        const pid_t first = test::forked(reader);
        const pid_t second = test::forked(reader);
        test::until([&] { return *waiting == 2; });
        ::usleep(static_cast<useconds_t>(round * 20));
        test::killed(first);
        q.put(1);
        BOOST_TEST(test::ended(second) == 0);
    }
}

BOOST_AUTO_TEST_CASE(a_writer_killed_while_it_waits_for_room_leaves_its_place_to_the_next) {
    for (int round = 0; round != 50; ++round) {
        const queue<int> q({.capacity_bytes = 4});
        q.put(0);
        const test::shared<std::atomic<int>> waiting;
        const auto writer = [&](int value) {
            ++*waiting;
            q.put(value);
        };
        const pid_t first = test::forked([&] { writer(1); });
        const pid_t second = test::forked([&] { writer(2); });
        test::until([&] { return *waiting == 2; });
        ::usleep(static_cast<useconds_t>(round * 20));
        test::killed(first);
        BOOST_TEST(q.get() == 0);
        BOOST_TEST(q.get() == 2);
        BOOST_TEST(test::ended(second) == 0);
    }
}

BOOST_AUTO_TEST_SUITE_END()
