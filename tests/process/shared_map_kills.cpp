// Processes are killed at random moments while they change a map.
#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/shared_map.hpp>

#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr unsigned children = 4;
constexpr int keys = 500;

unsigned kills() {
    const char* given = std::getenv("BULKHEAD_TEST_KILLS");
    return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : 400;
}

struct board {
    std::array<std::atomic<unsigned>, children> turns{};
    std::atomic<unsigned> counted{0};
    std::atomic<bool> stop{false};
};

/// Tells whether it is whole: each piece is the key and how many pieces there are.
struct entry {
    std::string key;
    std::vector<std::string> pieces;

    static entry of(int key, unsigned long pieces) {
        const std::string text = std::to_string(key);
        return {text, std::vector<std::string>(pieces, text + "/" + std::to_string(pieces))};
    }
    [[nodiscard]] bool is_whole(int expected_key) const {
        const entry expected = of(expected_key, pieces.size());
        return key == expected.key && pieces == expected.pieces;
    }
};

/// Children run `work(i, random)` until they are killed or told to stop; one after the other is killed at a
/// random moment, and `look` is called. At the end all get on.
void storm(const test::shared<board>& all, const std::function<void(std::mt19937&)>& work,
           const std::function<void()>& look) {
    test::random_numbers random;
    BOOST_TEST_CONTEXT("BULKHEAD_TEST_SEED=" << random.seed()) {
        std::array<pid_t, children> pids{};
        const auto start = [&](unsigned i) {
            const unsigned seed = random(1U << 31);
            pids[i] = test::forked([&, i, seed] {
                std::mt19937 own(seed);
                while (!all->stop) {
                    work(own);
                    ++all->turns[i];
                }
            });
        };
        for (unsigned i = 0; i != children; ++i) start(i);
        for (unsigned kill = 0; kill != kills(); ++kill) {
            ::usleep(random(2000));
            const unsigned victim = random(children);
            BOOST_TEST(test::killed(pids[victim]) == 128 + SIGKILL);
            look();
            start(victim);
        }
        for (auto& turns : all->turns) {
            const unsigned then = turns;
            test::until([&] {
                look();
                return turns > then + 1;
            });
        }
        all->stop = true;
        for (const pid_t pid : pids) BOOST_TEST(test::ended(pid) == 0);
        look();
    }
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(shared_map_kills, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(leave_a_map_whole_or_known_to_be_damaged_and_nobody_waiting) {
    const bulkhead::shared_map<int, entry> m({.capacity_bytes = 1 << 20});
    const test::shared<board> all;
    unsigned damages = 0;
    unsigned looks = 0;
    storm(
        all,
        [&](std::mt19937& random) {
            const int key = static_cast<int>(random() % keys);
            try {
                switch (random() % 6) {
                    case 0:
                        m.insert(key, entry::of(key, random() % 20));
                        break;
                    case 1:
                        m.insert_or_assign(key, entry::of(key, random() % 20));
                        break;
                    case 2:
                        m.erase(key);
                        break;
                    case 3:
                        if (const auto e = m.take(key); e && !e->is_whole(key)) ::_exit(3);
                        break;
                    case 4:
                        m.update(key, entry::of(key, 1), [&](entry& e) {
                            if (!e.is_whole(key)) ::_exit(4);
                            e = entry::of(key, (e.pieces.size() + 1) % 30);
                        });
                        break;
                    default:
                        if (const auto e = m.get(key); e && !e->is_whole(key)) ::_exit(5);
                        break;
                }
            } catch (const bulkhead::map_damaged&) {
                ::usleep(100);  // until somebody clears it
            }
        },
        [&] {
            ++looks;
            if (m.damaged()) {
                ++damages;
                BOOST_CHECK_THROW((void)m.get(1), bulkhead::map_damaged);
                BOOST_CHECK_THROW(m.erase(1), bulkhead::map_damaged);
                m.clear();
                return;
            }
            std::vector<std::pair<int, entry>> items;
            try {
                items = m.items();
            } catch (const bulkhead::map_damaged&) {
                BOOST_TEST(false, "damaged without a death");
            }
            for (const auto& [key, value] : items) BOOST_REQUIRE(value.is_whole(key));
        });
    BOOST_TEST(!m.damaged());
    BOOST_TEST_MESSAGE(kills() << " kills damaged the map " << damages << " times");
    BOOST_TEST(damages < kills() / 2);
}

BOOST_AUTO_TEST_CASE(while_numbers_are_updated_damage_nothing_and_lose_no_update_that_returned) {
    const bulkhead::shared_map<int, std::array<unsigned, 50>> m;
    for (int key = 0; key != 10; ++key) m.insert(key, {});
    const test::shared<board> all;
    storm(
        all,
        [&](std::mt19937& random) {
            m.update(static_cast<int>(random() % 10), [](auto& numbers) {
                for (auto& n : numbers) ++n;
            });
            ++all->counted;
        },
        [&] { BOOST_REQUIRE(!m.damaged()); });
    unsigned total = 0;
    for (const auto& numbers : m.values()) {
        for (const unsigned n : numbers) BOOST_REQUIRE(n == numbers[0]);
        total += numbers[0];
    }
    BOOST_TEST(total >= all->counted);
    BOOST_TEST(total <= all->counted + kills());  // made, and not counted
    BOOST_TEST_MESSAGE(total << " updates, " << all->counted << " of them returned");
}

BOOST_AUTO_TEST_CASE(within_the_function_of_an_update_cost_nothing) {
    const bulkhead::shared_map<std::string, int> m;
    m.insert("a", 1);
    for (int i = 0; i != 20; ++i) {
        const pid_t child = test::forked([&] {
            m.update(i % 2 == 0 ? "a" : "b", 5, [](int& n) {
                n = 99;
                ::kill(::getpid(), SIGKILL);
            });
        });
        BOOST_TEST(test::ended(child) == 128 + SIGKILL);
        BOOST_TEST(!m.damaged());
        BOOST_TEST(m.at("a") == 1 + i);
        BOOST_TEST(m.size() == 1U);
        m.update("a", [](int& n) { ++n; });
    }
}

BOOST_AUTO_TEST_CASE(of_who_has_the_lock_let_those_go_on_who_wait_for_it) {
    const bulkhead::shared_map<std::string, int> m;
    m.insert("a", 1);
    const test::shared<std::atomic<bool>> within;
    const pid_t owner = test::forked([&] {
        m.update("a", [&](int&) {
            *within = true;
            for (;;) ::pause();
        });
    });
    test::until([&] { return within->load(); });
    std::array<pid_t, 3> waiters{};
    for (pid_t& pid : waiters) pid = test::forked([&] { m.update("a", [](int& n) { ++n; }); });
    ::usleep(20'000);  // most of them sleep by now; either way they must go on
    BOOST_TEST(test::killed(owner) == 128 + SIGKILL);
    for (const pid_t pid : waiters) BOOST_TEST(test::ended(pid) == 0);
    BOOST_TEST(m.at("a") == 4);
}

BOOST_AUTO_TEST_CASE(aside_a_child_forked_within_an_update_changes_nothing) {
    const bulkhead::shared_map<std::string, int> m;
    m.insert("a", 1);
    for (const std::string key : {"a", "new"}) {
        pid_t child = -1;
        try {
            m.update(key, 1, [&](int& n) {
                child = ::fork();
                n = child == 0 ? 99 : 2;
            });
            if (child == 0) ::_exit(1);
        } catch (const bulkhead::usage_error&) {
            ::_exit(child == 0 ? 7 : 8);
        }
        BOOST_TEST(test::ended(child) == 7);
        BOOST_TEST(m.at(key) == 2);
        BOOST_TEST(!m.damaged());
    }
}

BOOST_AUTO_TEST_SUITE_END()
