// A process dies at each step of each operation of a map.
#include "os/kill_point.hpp"

#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/shared_map.hpp>

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace {

using map = bulkhead::shared_map<int, std::string>;

const std::string before = "before";
const std::string same_room = "after";
const std::string larger(500, 'l');
const std::string huge(100'000, 'h');
const std::string huge_too(100'000, 'H');

/// What is left of a map with the entries 1 to 20 when a process dies at `point`, at its `nth` pass of it, of
/// an operation.
class remains {
public:
    remains(std::string_view point, unsigned nth,
            const std::function<void(const map&)>& operation) {
        for (int key = 1; key != 21; ++key) m.insert(key, key == 2 ? huge : before);
        const pid_t child = test::forked([&] {
            bulkhead::os::arm_kill_point(point, nth);
            operation(m);
        });
        died = test::ended(child) == 128 + SIGKILL;
    }
    remains(std::string_view point, const std::function<void(const map&)>& operation)
        : remains(point, 1, operation) {
        BOOST_TEST(died, point << " was not passed");
    }

    /// The value of 1, which the operation was about; all others are as they were.
    std::optional<std::string> value(int of = 1) const {
        BOOST_TEST(!m.damaged());
        for (int key = 1; key != 21; ++key) {
            if (key != of) BOOST_TEST((m.get(key) == (key == 2 ? huge : before)));
        }
        BOOST_TEST(m.size() == m.items().size());
        return m.get(of);
    }

    /// Every operation says so, in every process, until it is cleared.
    void check_damaged() const {
        BOOST_TEST(m.damaged());
        const auto all_refuse = [&] {
            int refusals = 0;
            const auto refused = [&](auto&& operation) {
                refusals += test::throws<bulkhead::map_damaged>(operation, "clear()") ? 1 : 0;
            };
            refused([&] { m.insert(1, before); });
            refused([&] { m.insert_or_assign(1, before); });
            refused([&] { m.update(1, before, [](std::string&) {}); });
            refused([&] { (void)m.get(1); });
            refused([&] { (void)m.contains(1); });
            refused([&] { (void)m.take(1); });
            refused([&] { m.erase(1); });
            refused([&] { (void)m.size(); });
            refused([&] { (void)m.items(); });
            refused([&] { (void)m.keys(); });
            return refusals;
        };
        BOOST_TEST(all_refuse() == 10);
        BOOST_TEST(test::ended(test::forked([&] { ::_exit(all_refuse()); })) == 10);
        m.clear();
        check_usable();
    }

    void check_usable() const {
        BOOST_TEST(!m.damaged());
        BOOST_TEST(m.empty());
        for (int key = 0; key != 100; ++key) m.insert(key, larger);
        m.update(0, [](std::string& text) { text = huge; });
        BOOST_TEST(m.size() == 100U);
        BOOST_TEST((m.at(0) == huge));
        BOOST_TEST((m.take(99).value() == larger));
    }

    map m;
    bool died = false;
};

using points = std::initializer_list<const char*>;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(shared_map_kill_points, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(a_new_entry_is_there_or_not_or_the_map_is_known_to_be_damaged) {
    const auto insert = [](const map& m) { m.insert(21, same_room); };
    BOOST_TEST(!remains("map.locked", insert).value(21).has_value());
    for (const char* point : points{"map.changing", "map.allocated", "map.changed"}) {
        BOOST_TEST_CONTEXT(point) { remains(point, insert).check_damaged(); }
    }
    for (const char* point : points{"map.settled", "map.unlocked"}) {
        BOOST_TEST_CONTEXT(point) { BOOST_TEST((remains(point, insert).value(21) == same_room)); }
    }
}

BOOST_AUTO_TEST_CASE(an_erased_entry_is_gone_or_not_or_the_map_is_known_to_be_damaged) {
    for (const bool take : {false, true}) {
        const auto erase = [take](const map& m) {
            if (take) {
                (void)m.take(1);
            } else {
                m.erase(1);
            }
        };
        BOOST_TEST((remains("map.locked", erase).value() == before));
        for (const char* point : points{"map.changing", "map.changed"}) {
            BOOST_TEST_CONTEXT(point) { remains(point, erase).check_damaged(); }
        }
        for (const char* point : points{"map.settled", "map.unlocked"}) {
            BOOST_TEST_CONTEXT(point) { BOOST_TEST(!remains(point, erase).value().has_value()); }
        }
    }
}

BOOST_AUTO_TEST_CASE(a_value_that_fits_is_replaced_wholly_or_not_at_all_and_nothing_is_damaged) {
    const std::initializer_list<std::function<void(const map&)>> ways = {
        [](const map& m) { m.insert_or_assign(1, same_room); },
        [](const map& m) { m.update(1, [](std::string& text) { text = same_room; }); },
    };
    for (const auto& replace : ways) {
        BOOST_TEST((remains("map.locked", replace).value() == before));
        for (const char* point : points{"map.logged", "map.replaced", "map.unlocked"}) {
            BOOST_TEST_CONTEXT(point) {
                BOOST_TEST((remains(point, replace).value() == same_room));
            }
        }
    }
    const std::string largest(4096 - 8, 'a');  // and its length
    const std::string other(4096 - 8, 'b');
    const auto replace_largest = [&](const map& m) {
        m.insert_or_assign(3, largest);
        m.insert_or_assign(3, other);
    };
    BOOST_TEST((remains("map.logged", replace_largest).value(3) == other));
}

BOOST_AUTO_TEST_CASE(a_value_that_moves_or_is_large_is_replaced_or_the_map_is_known_to_be_damaged) {
    const auto grow = [](const map& m) { m.insert_or_assign(1, larger); };
    BOOST_TEST((remains("map.locked", grow).value() == before));
    for (const char* point : points{"map.changing", "map.allocated", "map.changed"}) {
        BOOST_TEST_CONTEXT(point) { remains(point, grow).check_damaged(); }
    }
    BOOST_TEST((remains("map.settled", grow).value() == larger));

    const auto write = [](const map& m) { m.insert_or_assign(2, huge_too); };
    for (const char* point : points{"map.changing", "map.changed"}) {
        BOOST_TEST_CONTEXT(point) { remains(point, write).check_damaged(); }
    }
    BOOST_TEST((remains("map.settled", write).m.at(2) == huge_too));
}

BOOST_AUTO_TEST_CASE(who_dies_while_it_finishes_a_dead_ones_work_leaves_it_to_the_next) {
    const remains first("map.logged", [](const map& m) { m.insert_or_assign(1, same_room); });
    for (int i = 0; i != 3; ++i) {
        const pid_t heir = test::forked([&] {
            bulkhead::os::arm_kill_point("map.replaced", 1);
            (void)first.m.get(1);
        });
        BOOST_TEST(test::ended(heir) == 128 + SIGKILL);
    }
    BOOST_TEST((first.value() == same_room));
}

BOOST_AUTO_TEST_CASE(a_clear_that_is_cut_short_is_done_by_another) {
    const auto clear = [](const map& m) { m.clear(); };
    BOOST_TEST((remains("map.locked", clear).value() == before));
    for (const char* point : points{"map.changing", "map.changed"}) {
        BOOST_TEST_CONTEXT(point) { remains(point, clear).check_damaged(); }
    }
    remains("map.settled", clear).check_usable();

    const remains damaged("map.allocated", [](const map& m) { m.insert(21, before); });
    const pid_t cleaner = test::forked([&] {
        bulkhead::os::arm_kill_point("map.changed", 1);
        damaged.m.clear();
    });
    BOOST_TEST(test::ended(cleaner) == 128 + SIGKILL);
    damaged.check_damaged();
}

BOOST_AUTO_TEST_CASE(who_waits_is_told_of_the_damage_and_does_not_hang) {
    for (const char* point : points{"map.allocated", "map.settled"}) {
        const map m;
        m.insert(1, before);
        const bool damages = std::string_view(point) == "map.allocated";
        const test::shared<std::atomic<bool>> within;
        const pid_t owner = test::forked([&] {
            m.update(21, "", [&](std::string&) {
                *within = true;
                ::usleep(50'000);
                bulkhead::os::arm_kill_point(point, 1);
            });
        });
        test::until([&] { return within->load(); });
        const pid_t waiter = test::forked([&] {
            try {
                (void)m.get(1);
            } catch (const bulkhead::map_damaged&) {
                ::_exit(3);
            }
        });
        BOOST_TEST(test::ended(owner) == 128 + SIGKILL);
        BOOST_TEST(test::ended(waiter) == (damages ? 3 : 0));
    }
}

BOOST_AUTO_TEST_CASE(in_a_mix_of_operations_each_point_is_met_and_leaves_a_map_whole_or_damaged) {
    const auto work = [](const map& m) {
        for (int round = 0; round != 3; ++round) {
            for (int key = 1; key != 21; ++key) m.insert_or_assign(key, std::string(10, 'a'));
            for (int key = 21; key != 30; ++key) m.insert(key, larger);
            for (int key = 21; key != 30; ++key) m.update(key, [](auto& text) { text += text; });
            for (int key = 21; key != 30; ++key) m.erase(key);
            for (int key = 1; key != 21; ++key) m.insert_or_assign(key, std::string(12, 'b'));
        }
    };
    for (const auto point : bulkhead::os::shared_map_kill_points) {
        for (const unsigned nth : {1U, 2U, 5U, 17U}) {
            BOOST_TEST_CONTEXT(point << ", pass " << nth) {
                const remains left(point, nth, work);
                BOOST_TEST(left.died);
                const bool may_be_damaged =
                    point == "map.changing" || point == "map.allocated" || point == "map.changed";
                BOOST_TEST(left.m.damaged() == may_be_damaged);
                if (may_be_damaged) {
                    left.check_damaged();
                    continue;
                }
                for (const auto& [key, value] : left.m.items()) {
                    BOOST_TEST((value == huge || value == before ||
                                value.find_first_not_of(value[0]) == std::string::npos));
                    BOOST_TEST((key >= 1 && key < 30));
                }
                left.m.clear();
                left.check_usable();
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
