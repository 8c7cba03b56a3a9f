// A map of many processes. Deaths within its operations are shared_map_kills.cpp's and
// shared_map_kill_points.cpp's.
#include "ring/map_layout.hpp"
#include "ring/shared_object.hpp"

#include "support/scene.hpp"

#include <bulkhead/detail/catalog.hpp>

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <tuple>

namespace {

using namespace test;
using bulkhead::process_pool;
template <class K, class V>
using dict = bulkhead::shared_map<K, V>;  // the suite has its name
using words = dict<std::string, int>;

struct place {
    int row;
    int column;
};

struct reading {
    std::string sensor;
    double value;
    std::vector<int> history;
    bool operator==(const reading&) const = default;
};

std::string name_of(const char* what) { return std::string(what) + std::to_string(::getpid()); }

/// Whether `statement` throws an E whose sentence has `part`.
template <class E, class F>
bool refuses(F&& statement, const std::string& part) {
    try {
        statement();
    } catch (const E& refusal) {
        BOOST_TEST_MESSAGE(refusal.what());
        return contains(refusal.what(), part);
    }
    return false;
}

void count_up(const words& all, int times) {
    for (int i = 0; i != times; ++i) {
        all.update("total", [](int& n) { ++n; });
        all.update("by " + std::to_string(i % 10), 0, [](int& n) { ++n; });
    }
}

/// Entries of one size until there is no room; how many.
int fill(const dict<int, std::string>& m, std::size_t bytes) {
    for (int i = 0;; ++i) {
        try {
            if (!m.insert(i, std::string(bytes, 'x'))) return -1;
        } catch (const std::length_error&) {
            return i;
        }
    }
}

std::string path_of(const std::string& name) {
    return "/dev/shm/bulkhead-" + std::to_string(::geteuid()) + "-shared_map-" + name;
}

template <class T>
void overwrite(const std::string& name, std::size_t where, T with) {
    const int fd = ::open(path_of(name).c_str(), O_RDWR | O_CLOEXEC);
    const auto place = static_cast<off_t>(sizeof(bulkhead::ring::object_header) + where);
    BOOST_REQUIRE(::pwrite(fd, &with, sizeof with, place) == static_cast<ssize_t>(sizeof with));
    ::close(fd);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(shared_map, scene)

BOOST_AUTO_TEST_CASE(it_does_what_a_dict_does) {
    const words m;
    BOOST_TEST(m.empty());
    BOOST_TEST(m.insert("one", 1));
    BOOST_TEST(!m.insert("one", 11));
    BOOST_TEST(m.at("one") == 1);
    BOOST_TEST(!m.insert_or_assign("one", 11));
    BOOST_TEST(m.insert_or_assign("two", 2));
    BOOST_TEST(m.get("one").value() == 11);
    BOOST_TEST(!m.get("three"));
    BOOST_TEST(m.get_or("three", 3) == 3);
    BOOST_TEST(m.get_or("two", 3) == 2);
    BOOST_TEST(refuses<std::out_of_range>([&] { (void)m.at("three"); },
                                          "an anonymous shared_map has no such key"));
    BOOST_TEST(m.contains("two"));
    BOOST_TEST(!m.contains("three"));
    BOOST_TEST(m.size() == 2U);
    BOOST_TEST(m.update("two", [](int& n) { return n *= 10; }) == 20);
    BOOST_TEST(m.update("four", 4, [](int& n) { return ++n; }) == 5);
    BOOST_TEST(refuses<std::out_of_range>([&] { m.update("three", [](int&) {}); }, "no such key"));

    auto items = m.items();
    std::sort(items.begin(), items.end());
    BOOST_TEST(
        (items == std::vector<std::pair<std::string, int>>{{"four", 5}, {"one", 11}, {"two", 20}}));
    auto keys = m.keys();
    std::sort(keys.begin(), keys.end());
    BOOST_TEST(keys == (std::vector<std::string>{"four", "one", "two"}));
    const auto values = m.values();
    BOOST_TEST(std::accumulate(values.begin(), values.end(), 0) == 36);

    BOOST_TEST(m.erase("one"));
    BOOST_TEST(!m.erase("one"));
    BOOST_TEST(m.take("two").value() == 20);
    BOOST_TEST(!m.take("two"));
    m.clear();
    BOOST_TEST(m.empty());
    BOOST_TEST(m.items().empty());
    BOOST_TEST(!m.damaged());
    BOOST_TEST(m.capacity_bytes() == std::size_t{16} << 20);
    const words other({.capacity_bytes = 1 << 20});
    BOOST_TEST(other.capacity_bytes() == std::size_t{1} << 20);
}

BOOST_AUTO_TEST_CASE(no_update_of_many_processes_and_threads_is_lost) {
    const words m;
    m.insert("total", 0);
    process_pool pool(4);
    std::vector<bulkhead::future<void>> all;
    for (int i = 0; i != 16; ++i) all.push_back(pool.submit(count_up, m, 2500));
    std::vector<std::thread> threads;
    for (int i = 0; i != 2; ++i) threads.emplace_back(count_up, m, 2500);
    for (auto& f : all) f.get();
    for (auto& t : threads) t.join();
    BOOST_TEST(m.at("total") == 18 * 2500);
    BOOST_TEST(m.size() == 11U);
    for (int i = 0; i != 10; ++i) BOOST_TEST(m.at("by " + std::to_string(i)) == 18 * 250);
}

BOOST_AUTO_TEST_CASE(it_goes_to_tasks_and_processes_and_comes_back) {
    const words m;
    process_pool pool(2);
    const auto same = pool.submit(
                              [](const words& all) {
                                  all.insert("in a task", 1);
                                  return all;
                              },
                              m)
                          .get();
    BOOST_TEST(same.at("in a task") == 1);
    bulkhead::process other([](const words& all) { all.insert("in a process", 2); }, m);
    BOOST_TEST(other.join().exit_code() == 0);
    BOOST_TEST(m.at("in a process") == 2);
}

BOOST_AUTO_TEST_CASE(content_outlives_the_process_that_put_it_in) {
    const dict<int, std::string> m;
    bulkhead::process writer(
        [](const dict<int, std::string>& all) {
            for (int i = 0; i != 1000; ++i) all.insert(i, std::string(100, 'x'));
            ::kill(::getpid(), SIGKILL);
        },
        m);
    BOOST_TEST(writer.join().signal() == SIGKILL);
    BOOST_TEST(m.size() == 1000U);
    BOOST_TEST(m.at(999) == std::string(100, 'x'));
}

BOOST_AUTO_TEST_CASE(keys_and_values_are_of_any_type_with_a_codec) {
    const dict<std::string, std::vector<std::string>> lists;
    lists.update("a", {}, [](auto& list) { list.push_back("x"); });
    lists.update("a", [](auto& list) { list.push_back(std::string(1000, 'y')); });
    BOOST_TEST(lists.at("a") == (std::vector<std::string>{"x", std::string(1000, 'y')}));
    lists.insert("", {});
    BOOST_TEST(lists.at("").empty());

    const dict<place, reading> structs;
    const reading r{"north", 1.5, {1, 2, 3}};
    structs.insert({1, 2}, r);
    BOOST_TEST((structs.at({1, 2}) == r));
    BOOST_TEST(!structs.contains({2, 1}));
    structs.update({1, 2}, [](reading& x) { x.history.resize(5000); });
    BOOST_TEST(structs.at({1, 2}).history.size() == 5000U);

    const dict<std::tuple<char, double, std::optional<int>>, std::unique_ptr<int>> odd;
    BOOST_TEST(odd.insert({'a', -0.5, 7}, std::make_unique<int>(5)));
    BOOST_TEST(odd.insert({'a', -0.5, std::nullopt}, nullptr));
    BOOST_TEST(*odd.at({'a', -0.5, 7}) == 5);
    BOOST_TEST(odd.update({'b', 0, 1}, std::make_unique<int>(1), [](auto& p) { return ++*p; }) ==
               2);
    BOOST_TEST(odd.items().size() == 3U);

    const dict<std::map<std::string, int>, std::set<int>> nested;
    nested.insert({{"a", 1}, {"b", 2}}, {3, 4});
    BOOST_TEST((nested.at({{"a", 1}, {"b", 2}}) == std::set<int>{3, 4}));

    const dict<std::chrono::seconds, std::string> large;
    const std::string megabyte(1'000'000, 'm');
    large.insert(5s, megabyte);
    BOOST_TEST((large.at(5s) == megabyte));
    large.update(5s, [](std::string& text) { text = "small"; });
    large.update(5s, [&](std::string& text) { text += megabyte; });
    BOOST_TEST((large.take(5s).value() == "small" + megabyte));
}

BOOST_AUTO_TEST_CASE(values_of_all_sizes_grow_and_shrink_in_their_places) {
    const dict<int, std::string> m({.capacity_bytes = 1 << 20});
    for (int round = 0; round != 3; ++round) {
        for (std::size_t size = 0; size < 10'000; size += 1 + size / 7) {
            for (int key = 0; key != 3; ++key) {
                const auto next = size * static_cast<std::size_t>(key + round + 1) % 9001;
                m.insert_or_assign(key, std::string(next, static_cast<char>('a' + key)));
                for (int other = 0; other != 3; ++other) {
                    const auto value = m.get_or(other, "");
                    BOOST_REQUIRE(value ==
                                  std::string(value.size(), static_cast<char>('a' + other)));
                    if (other == key) BOOST_REQUIRE(value.size() == next);
                }
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(an_exception_within_an_update_leaves_the_old_value_and_the_lock_free) {
    const words m;
    m.insert("a", 1);
    const auto fail = [](int& n) {
        n = 99;
        throw std::runtime_error("not today");
    };
    BOOST_CHECK_THROW(m.update("a", fail), std::runtime_error);
    BOOST_CHECK_THROW(m.update("b", 5, fail), std::runtime_error);
    BOOST_TEST(m.at("a") == 1);
    BOOST_TEST(!m.contains("b"));
    process_pool pool(1);
    pool.submit([](const words& all) { all.update("a", [](int& n) { ++n; }); }, m).get();
    BOOST_TEST(m.at("a") == 2);
    BOOST_TEST(!m.damaged());
}

BOOST_AUTO_TEST_CASE(using_the_map_within_its_own_update_is_refused_and_another_map_is_not) {
    const words m;
    const words other;
    m.insert("a", 1);
    const auto within = [&](auto&& operation) {
        return refuses<bulkhead::usage_error>([&] { m.update("a", [&](int&) { operation(); }); },
                                              "this thread has locked an anonymous shared_map");
    };
    BOOST_TEST(within([&] { (void)m.get("a"); }));
    BOOST_TEST(within([&] { m.insert("b", 2); }));
    BOOST_TEST(within([&] { m.update("a", [](int& n) { ++n; }); }));
    BOOST_TEST(within([&] { (void)m.items(); }));
    BOOST_TEST(within([&] { m.clear(); }));
    BOOST_TEST(within([&] { (void)m.damaged(); }));
    m.update("a", [&](int& n) { other.update("a", n, [](int& k) { ++k; }); });
    BOOST_TEST(other.at("a") == 2);
    BOOST_TEST(m.at("a") == 1);
}

BOOST_AUTO_TEST_CASE(a_full_map_refuses_what_does_not_fit_and_is_as_before) {
    const dict<int, std::string> m({.capacity_bytes = 64 << 10});
    const int count = fill(m, 100);
    BOOST_TEST(count > 200);
    BOOST_TEST(m.size() == static_cast<std::size_t>(count));
    BOOST_TEST(refuses<std::length_error>([&] { m.insert(-1, std::string(2000, 'y')); },
                                          "no room for an entry of 2012 bytes"));
    BOOST_CHECK_THROW(m.update(0, [](std::string& text) { text.resize(70'000); }),
                      std::length_error);
    BOOST_CHECK_THROW(m.insert_or_assign(1, std::string(3000, 'y')), std::length_error);
    BOOST_TEST(!m.damaged());
    BOOST_TEST(m.size() == static_cast<std::size_t>(count));
    for (const auto& value : m.values()) BOOST_REQUIRE(value == std::string(100, 'x'));
    m.insert_or_assign(0, std::string(100, 'z'));  // fits where the old one was
    BOOST_TEST(m.at(0) == std::string(100, 'z'));
    BOOST_TEST(m.erase(7));
    BOOST_TEST(m.insert(-7, std::string(100, 'w')));
    BOOST_TEST(m.insert_or_assign(-7, "") == false);  // smaller always fits
    BOOST_TEST(m.at(-7) == "");
}

BOOST_AUTO_TEST_CASE(what_was_erased_makes_room_again_and_none_of_it_is_lost) {
    const dict<int, std::string> m({.capacity_bytes = 64 << 10});
    const int count = fill(m, 50);
    for (int round = 0; round != 20; ++round) {
        for (int i = 0; i != count; ++i) BOOST_REQUIRE(m.erase((i * 7919 + round) % count) == true);
        BOOST_REQUIRE(m.empty());
        BOOST_REQUIRE(fill(m, 50) == count);
    }
    m.clear();
    BOOST_TEST(fill(m, 50) == count);
}

BOOST_AUTO_TEST_CASE(capacities_that_cannot_be_are_refused) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{4095}, ~std::size_t{0}}) {
        BOOST_CHECK_THROW(words({.capacity_bytes = bytes}), bulkhead::usage_error);
    }
    const words small({.capacity_bytes = 4096});
    BOOST_TEST(small.insert("a", 1));
    const auto name = name_of("huge-map");
    BOOST_TEST(refuses<bulkhead::error>(
        [&] { (void)words::create(name, {.capacity_bytes = std::size_t{1} << 40}); },
        "shared_map '" + name + "'"));
}

BOOST_AUTO_TEST_CASE(named_ones_are_found_by_other_processes_until_they_are_removed) {
    const auto name = name_of("words");
    BOOST_CHECK_THROW((void)words::open(name), bulkhead::error);
    {
        const auto made = words::create(name);
        BOOST_TEST(made.capacity_bytes() == std::size_t{1} << 20);
        made.insert("a", 1);
    }
    BOOST_CHECK_THROW((void)words::create(name), bulkhead::error);
    BOOST_TEST(words::open(name).at("a") == 1);
    BOOST_TEST(words::open_or_create(name).at("a") == 1);
    BOOST_CHECK_THROW((void)words::open_or_create(name, {.capacity_bytes = 2 << 20}),
                      bulkhead::error);
    bulkhead::process other([](const std::string& of) { words::open(of).insert("b", 2); }, name);
    BOOST_TEST(other.join().exit_code() == 0);
    BOOST_TEST(words::open(name).at("b") == 2);
    BOOST_TEST(words::remove(name));
    BOOST_TEST(!words::remove(name));
    BOOST_CHECK_THROW((void)words::open("no/name"), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(another_type_or_kind_of_object_is_refused) {
    const auto name = name_of("typed");
    const auto made = words::create(name);
    BOOST_TEST(
        refuses<bulkhead::error>([&] { (void)dict<std::string, long>::open(name); }, "it holds"));
    BOOST_CHECK_THROW((void)(dict<int, std::string>::open(name)), bulkhead::error);
    BOOST_CHECK_THROW((void)bulkhead::queue<int>::open(name), bulkhead::error);
    const auto array = bulkhead::shared_array<int>::create(name, 100);
    BOOST_REQUIRE(::rename(path_of(name).c_str(), (path_of(name) + "-aside").c_str()) == 0);
    BOOST_REQUIRE(
        ::rename(
            ("/dev/shm/bulkhead-" + std::to_string(::geteuid()) + "-shared_array-" + name).c_str(),
            path_of(name).c_str()) == 0);
    BOOST_TEST(refuses<bulkhead::error>([&] { (void)words::open(name); },
                                        "it is a shared_array, not a shared_map"));
    BOOST_TEST(words::remove(name));
    BOOST_TEST(words::remove(name + "-aside"));
}

BOOST_AUTO_TEST_CASE(memory_that_is_no_map_of_this_library_is_refused_when_it_is_opened) {
    using bulkhead::ring::map_layout;
    // In another process: this one would find its own mapping.
    const auto opens = [](const std::string& name) {
        bulkhead::process opener(
            [](const std::string& of) {
                try {
                    (void)words::open(of);
                } catch (const bulkhead::error& refusal) {
                    ::_exit(contains(refusal.what(), "Boost") ? 3 : 4);
                }
            },
            name);
        return opener.join().exit_code();
    };
    const auto name = name_of("overwritten");
    { (void)words::create(name); }
    BOOST_TEST(opens(name) == 0);
    overwrite(name, offsetof(map_layout, container_word), std::uint64_t{108000} << 32);
    BOOST_TEST(opens(name) == 3);
    overwrite(name, offsetof(map_layout, container_word), bulkhead::ring::map_container_word);
    overwrite(name, offsetof(map_layout, capacity_bytes), std::uint64_t{1} << 62);
    BOOST_TEST(opens(name) == 4);
    BOOST_TEST(words::remove(name));
}

BOOST_AUTO_TEST_CASE(garbage_in_its_phase_or_lock_is_told_and_a_damaged_one_can_be_cleared) {
    using bulkhead::ring::map_layout;
    const auto name = name_of("garbage");
    const auto m = words::create(name);
    m.insert("a", 1);
    overwrite(name, offsetof(map_layout, phase), std::uint32_t{77});
    BOOST_TEST(m.damaged());
    BOOST_TEST(refuses<bulkhead::map_damaged>([&] { (void)m.get("a"); }, "clear()"));
    BOOST_CHECK_THROW(m.insert("b", 1), bulkhead::map_damaged);
    BOOST_CHECK_THROW((void)m.size(), bulkhead::map_damaged);
    BOOST_CHECK_THROW((void)m.items(), bulkhead::map_damaged);
    BOOST_CHECK_THROW(m.update("a", 1, [](int&) {}), bulkhead::map_damaged);
    m.clear();
    BOOST_TEST(!m.damaged());
    BOOST_TEST(m.insert("a", 2));
    // A log that leads out of the memory.
    overwrite(name, offsetof(map_layout, log_place), ~std::uint64_t{0} - 100);
    overwrite(name, offsetof(map_layout, log_bytes), std::uint64_t{100});
    overwrite(name, offsetof(map_layout, phase), std::uint32_t{2});
    BOOST_CHECK_THROW((void)m.get("a"), bulkhead::map_damaged);
    m.clear();
    overwrite(name, offsetof(map_layout, lock) + 16, ~std::uint64_t{0});
    BOOST_TEST(refuses<bulkhead::error>([&] { (void)m.get("a"); }, "the lock of shared_map"));
    BOOST_TEST(words::remove(name));
}

BOOST_AUTO_TEST_CASE(handles_of_anonymous_objects_are_refused_and_of_named_ones_kept) {
    const dict<int, bulkhead::queue<int>> queues;
    BOOST_TEST(refuses<bulkhead::codec_error>([&] { queues.insert(1, bulkhead::queue<int>()); },
                                              "neither key nor value of a shared_map"));
    BOOST_TEST(queues.empty());
    const auto name = name_of("in-a-map");
    queues.insert(1, bulkhead::queue<int>::create(name));
    queues.at(1).put(5);
    BOOST_TEST(bulkhead::queue<int>::open(name).get() == 5);
    BOOST_TEST(bulkhead::queue<int>::remove(name));
}

BOOST_AUTO_TEST_CASE(tools_find_it_and_what_is_in_it) {
    const auto name = name_of("listed");
    const auto m = words::create(name);
    m.insert("a", 1);
    m.insert("b", 1);
    const auto report = [&] {
        for (const auto& one : bulkhead::detail::list_objects()) {
            if (one.name == name) return one;
        }
        throw std::runtime_error("not listed");
    };
    const auto detail = [&](const std::string& what) -> std::int64_t {
        for (const auto& [key, value] : report().details) {
            if (key == what) return value;
        }
        return -1;
    };
    BOOST_TEST(report().kind == "shared_map");
    BOOST_TEST(contains(report().holds, "int"), report().holds);
    BOOST_TEST(detail("entries") == 2);
    BOOST_TEST(detail("capacity_bytes") == 1 << 20);
    BOOST_TEST(detail("free_bytes") > (1 << 20) - 1000);
    BOOST_TEST(detail("damaged") == -1);
    overwrite(name, offsetof(bulkhead::ring::map_layout, phase), std::uint32_t{1});
    BOOST_TEST(detail("damaged") == 1);
    BOOST_TEST(words::remove(name));
}

BOOST_AUTO_TEST_CASE(a_handle_that_ends_within_an_update_does_not_take_the_map_along) {
    auto m = std::make_unique<words>();
    m->update("a", 1, [&](int&) { m.reset(); });
    BOOST_TEST((m == nullptr));
}

BOOST_AUTO_TEST_SUITE_END()
