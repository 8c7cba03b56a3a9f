// Bare values and arrays that several processes see.
#include "support/program.hpp"
#include "support/scene.hpp"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <span>
#include <sstream>
#include <sys/resource.h>

namespace {

using namespace test;
using bulkhead::process_pool;
using bulkhead::shared_array;
using bulkhead::shared_value;

struct sample {
    double x;
    std::array<int, 3> n;
};

std::string name_of(const char* what) { return std::string(what) + std::to_string(::getpid()); }

void count_up(const shared_value<std::atomic<int>>& hits, int times) {
    for (int i = 0; i != times; ++i) ++*hits;
}

/// Its quarter of the array, doubled, without a copy.
void double_quarter(const shared_array<double>& all, std::size_t quarter) {
    const std::size_t part = all.size() / 4;
    for (double& x : all.span().subspan(quarter * part, part)) x *= 2;
}

/// Reads all of it; how many pages this process had to look up for that.
long page_faults_of_reading(const shared_array<char>& all) {
    struct rusage before {};
    struct rusage after {};
    ::getrusage(RUSAGE_THREAD, &before);
    long sum = 0;
    for (std::size_t i = 0; i < all.size(); i += 4096) sum += all[i];
    ::getrusage(RUSAGE_THREAD, &after);
    return sum == 0 ? -1 : after.ru_minflt - before.ru_minflt;
}

bool maps_as_much(pid_t pid, std::size_t bytes) {
    std::istringstream lines(content("/proc/" + std::to_string(pid) + "/maps"));
    for (std::string line; std::getline(lines, line);) {
        std::size_t from = 0;
        std::size_t to = 0;
        if (contains(line, "/memfd:") && std::sscanf(line.c_str(), "%zx-%zx", &from, &to) == 2 &&
            to - from >= bytes) {
            return true;
        }
    }
    return false;
}

std::uint64_t mapped_where(const shared_array<char>& all) {
    return reinterpret_cast<std::uintptr_t>(all.data());
}

void write_until_killed(const shared_array<int>& all, const fs::path& on) {
    announce_pid(on);
    for (int round = 1;; ++round) std::fill(all.begin(), all.end(), round);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(shared_memory, scene)

BOOST_AUTO_TEST_CASE(a_value_is_one_for_all_processes) {
    const shared_value<std::atomic<int>> hits;
    BOOST_TEST(*hits == 0);
    process_pool pool(3);
    std::vector<bulkhead::future<void>> all;
    for (int i = 0; i != 20; ++i) all.push_back(pool.submit(count_up, hits, 1000));
    for (auto& f : all) f.get();
    ++*hits;
    BOOST_TEST(*hits == 20'001);
    const shared_value<sample> made(sample{1.5, {1, 2, 3}});
    BOOST_TEST(
        pool.submit([](const shared_value<sample>& s) { return s->x + s->n[2]; }, made).get() ==
        4.5);
    shared_value<int> seven(7);
    const auto copy = seven;
    *copy = 8;
    BOOST_TEST(*seven == 8);
}

BOOST_AUTO_TEST_CASE(an_array_is_worked_on_in_place) {
    shared_array<double> a(1'000'000);
    std::span<double> s = a;
    BOOST_TEST(s.size() == 1'000'000U);
    BOOST_TEST(std::all_of(s.begin(), s.end(), [](double x) { return x == 0; }));
    std::iota(a.begin(), a.end(), 0.0);
    process_pool pool(2);
    std::vector<bulkhead::future<void>> all;
    for (std::size_t i = 0; i != 4; ++i) all.push_back(pool.submit(double_quarter, a, i));
    for (auto& f : all) f.get();
    for (std::size_t i = 0; i != a.size(); ++i) BOOST_REQUIRE(a[i] == 2.0 * static_cast<double>(i));
}

BOOST_AUTO_TEST_CASE(a_process_maps_an_array_once) {
    const shared_array<char> a(1 << 20, 'a');
    process_pool pool(1);
    BOOST_TEST(pool.submit(mapped_where, a).get() != 0U);
    BOOST_TEST(pool.submit([](const shared_array<char>& one,
                              const shared_array<char>& two) { return one.data() == two.data(); },
                           a, a)
                   .get());
    BOOST_TEST(pool.submit([](const shared_array<char>& x) { return x; }, a).get().data() ==
               a.data());
}

BOOST_AUTO_TEST_CASE(tasks_one_after_another_find_an_array_mapped) {
    const shared_array<char> a(std::size_t{8} << 20, 'a');
    process_pool pool(1);
    BOOST_TEST(pool.submit(page_faults_of_reading, a).get() > 0);
    // Unless this machine lets more than a second pass between two tasks.
    until([&] {
        auto one = pool.submit(page_faults_of_reading, a);
        auto two = pool.submit(page_faults_of_reading, a);
        auto next = pool.submit(page_faults_of_reading, a);
        return one.get() >= 0 && two.get() >= 0 && next.get() < 10;
    });
}

BOOST_AUTO_TEST_CASE(a_worker_lets_an_array_go_that_is_no_longer_handed_to_it) {
    constexpr std::size_t bytes = std::size_t{512} << 20;  // more than a compartment
    process_pool pool(2);
    pid_t idle = 0;
    {
        const shared_array<char> a(bytes);
        for (int i = 0; i != 3; ++i) {
            idle = pool.submit([](const shared_array<char>&) { return ::getpid(); }, a).get();
        }
    }
    until([&] { return !maps_as_much(idle, bytes); });
    pid_t busy = 0;
    {
        const shared_array<char> a(bytes);
        for (int i = 0; i != 3; ++i) {
            busy = pool.submit([](const shared_array<char>&) { return ::getpid(); }, a).get();
        }
    }
    until([&] {
        for (int i = 0; i != 10; ++i) (void)pool.submit(square, i).get();
        return !maps_as_much(busy, bytes);
    });
}

BOOST_AUTO_TEST_CASE(arrays_of_one_task_each_are_gone_with_their_tasks) {
    constexpr std::size_t bytes = std::size_t{200} << 20;  // more than a compartment
    process_pool pool(1);
    for (int i = 0; i != 20; ++i) {
        const shared_array<char> a(bytes);
        BOOST_TEST(pool.submit([](const shared_array<char>& x) { return x.size(); }, a).get() ==
                   bytes);
    }
    const auto [pid, any] =
        pool.submit([] { return std::pair(::getpid(), maps_as_much(::getpid(), bytes)); }).get();
    BOOST_TEST(pid > 0);
    BOOST_TEST(!any);
}

BOOST_AUTO_TEST_CASE(bounds_sizes_and_names_are_checked) {
    const shared_array<int> a(3, 5);
    BOOST_TEST(a.at(2) == 5);
    BOOST_CHECK_THROW((void)a.at(3), std::out_of_range);
    const shared_array<int> none(0);
    BOOST_TEST(none.empty());
    BOOST_TEST(none.span().empty());
    BOOST_CHECK_THROW(shared_array<int>(~std::size_t{0} / 2), std::length_error);
    BOOST_CHECK_THROW(shared_array<char>(std::size_t{1} << 46), bulkhead::error);
    BOOST_CHECK_THROW((void)shared_array<int>::open("no/name"), bulkhead::usage_error);
    BOOST_CHECK_THROW((void)shared_array<int>::open(name_of("missing")), bulkhead::error);
    const std::array<int, 4> values{1, 2, 3, 4};
    const shared_array<int> copied{std::span<const int>(values)};
    BOOST_TEST(std::equal(copied.begin(), copied.end(), values.begin(), values.end()));
}

BOOST_AUTO_TEST_CASE(named_ones_are_found_with_the_right_type_and_size) {
    const auto name = name_of("array");
    const auto made = shared_array<int>::create(name, 10, 7);
    BOOST_CHECK_THROW((void)shared_array<int>::create(name, 10), bulkhead::error);
    const auto same = shared_array<int>::open(name);
    BOOST_TEST(same.data() == made.data());
    BOOST_TEST(shared_array<int>::open_or_create(name, 10)[9] == 7);
    BOOST_CHECK_THROW((void)shared_array<int>::open_or_create(name, 11), bulkhead::error);
    BOOST_CHECK_THROW((void)shared_array<double>::open(name), bulkhead::error);
    BOOST_CHECK_THROW((void)shared_value<int>::open(name), bulkhead::error);
    bulkhead::process reader([](const std::string& of) { ::_exit(shared_array<int>::open(of)[3]); },
                             name);
    BOOST_TEST(reader.join().exit_code() == 7);
    BOOST_TEST(shared_array<int>::open(name)[3] == 7);  // its end took nothing away
    BOOST_TEST(shared_array<int>::remove(name));
    BOOST_TEST(!shared_array<int>::remove(name));
    BOOST_CHECK_THROW((void)shared_array<int>::open(name), bulkhead::error);

    const auto value = name_of("value");
    *shared_value<std::atomic<int>>::open_or_create(value, 3) += 1;
    BOOST_TEST(*shared_value<std::atomic<int>>::open_or_create(value, 3) == 4);
    BOOST_TEST(shared_value<std::atomic<int>>::remove(value));
}

BOOST_AUTO_TEST_CASE(the_makers_death_takes_nothing_from_those_who_have_it) {
    const auto name = name_of("orphan");
    const auto on = file("on");
    bulkhead::process maker(
        [](const std::string& of, const fs::path& made) {
            const auto mine = shared_array<int>::create(of, 1000, 42);
            announce(made);
            while (mine[0] == 42) ::pause();
        },
        name, on);
    await(on);
    const auto mine = shared_array<int>::open(name);
    maker.kill();
    BOOST_TEST(maker.join().signal() == SIGKILL);
    BOOST_TEST(mine[999] == 42);
    BOOST_TEST(shared_array<int>::open(name)[0] == 42);
    BOOST_TEST(shared_array<int>::remove(name));
}

BOOST_AUTO_TEST_CASE(a_writer_killed_in_the_middle_leaves_what_it_had_stored) {
    const shared_array<int> a(100'000);
    process_pool pool(1);
    auto f = pool.submit(write_until_killed, a, file("on"));
    ::kill(await_pid(file("on")), SIGKILL);
    (void)error_of<bulkhead::worker_crashed>(std::move(f));
    // In order of address, each from this round or the last.
    for (std::size_t i = 1; i != a.size(); ++i) BOOST_REQUIRE((a[i - 1] - a[i]) <= 1);
}

BOOST_AUTO_TEST_CASE(memory_that_is_not_there_is_told_when_the_array_is_made) {
    const auto name = name_of("huge");
    try {
        (void)shared_array<char>::create(name, std::size_t{1} << 46);
        BOOST_TEST(false, "64 TiB of memory");
        (void)shared_array<char>::remove(name);
    } catch (const bulkhead::error& e) {
        BOOST_TEST(contains(e.what(), "shared_array '" + name + "'"), e.what());
    }
}

BOOST_AUTO_TEST_SUITE_END()
