// Anonymous objects that tasks make and return: they are the future's, whatever becomes of their worker.
#include "support/descriptor_limit.hpp"
#include "support/scene.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <numeric>
#include <ranges>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::process_pool;
using bulkhead::queue;
using bulkhead::shared_array;
using bulkhead::shared_value;

queue<std::string> made_queue(const std::string& text) {
    queue<std::string> made;
    made.put(text);
    return made;
}

shared_value<int> made_value(int value) { return shared_value<int>(value); }

/// Dies at one of them, with some in the same chunk done.
shared_value<int> made_value_unless(int value, int fatal) {
    if (value == fatal) std::raise(SIGKILL);
    return shared_value<int>(value);
}

std::vector<shared_value<int>> made_values(int count) {
    std::vector<shared_value<int>> made;
    for (int i = 0; i != count; ++i) made.emplace_back(i);
    return made;
}

std::size_t descriptors_here() { return open_files().size(); }

/// A failure that says where the log of it is.
struct logged_failure : std::runtime_error {
    explicit logged_failure(queue<std::string> lines)
        : std::runtime_error("see the log"), log(std::move(lines)) {}
    queue<std::string> log;
};

void fail_with_log(const std::string& line) { throw logged_failure(made_queue(line)); }

int fail_at_odd_ones(int number) {
    if (number % 2 != 0) fail_with_log(std::to_string(number));
    return number;
}

/// Item i holds i, of `count`; only `fatal` may be a Failure in its place. How many were.
template <class Failure>
int failures_among(auto& items, int count, int fatal) {
    int number = 0;
    int failures = 0;
    for (auto it = items.begin(); it != items.end(); ++it, ++number) {
        try {
            BOOST_TEST(**it == number);
        } catch (const Failure&) {
            ++failures;
            BOOST_TEST(number == fatal);
        }
    }
    BOOST_TEST(number == count);
    return failures;
}

void kill_its_only_worker(const process_pool& pool) {
    const pid_t pid = pool.workers().at(0).pid;
    ::kill(pid, SIGKILL);
    until([&] { return ::kill(pid, 0) != 0; });
}

}  // namespace

template <>
struct bulkhead::codec<logged_failure> {
    static void encode(encoder& out, const logged_failure& failure) { out.write(failure.log); }
    static logged_failure decode(decoder& in) {
        return logged_failure(in.read<bulkhead::queue<std::string>>());
    }
};
BULKHEAD_EXCEPTION(logged_failure);

BOOST_FIXTURE_TEST_SUITE(handles_in_results, scene)

BOOST_AUTO_TEST_CASE(they_outlive_their_worker_when_it_is_killed) {
    process_pool pool(1);
    auto made = pool.submit(made_queue, "still there");
    auto values = pool.submit([] { return shared_array<int>(1000, 7); });
    values.wait();
    kill_its_only_worker(pool);
    BOOST_TEST(pool.submit(square, 3).get() == 9);
    BOOST_TEST(made.get().get() == "still there");
    const auto array = values.get();
    BOOST_TEST(std::accumulate(array.begin(), array.end(), 0) == 7000);
    // They can be handed on.
    BOOST_TEST(pool.submit([](const shared_array<int>& all) { return all[999]; }, array).get() ==
               7);
}

BOOST_AUTO_TEST_CASE(they_outlive_their_worker_when_it_is_replaced_and_when_the_pool_ends) {
    std::vector<future<queue<std::string>>> all;
    {
        process_pool pool({.workers = 2, .tasks_per_worker_max = 1});
        for (int i = 0; i != 20; ++i) {
            all.push_back(pool.submit(made_queue, std::to_string(i)));
        }
        for (auto& f : all) f.wait();
    }
    for (int i = 0; i != 20; ++i) {
        const auto made = all[static_cast<std::size_t>(i)].get();
        BOOST_TEST(made.get() == std::to_string(i));
    }
}

BOOST_AUTO_TEST_CASE(a_worker_lets_go_of_them) {
    process_pool pool(1);
    auto first = pool.submit(made_value, -1);
    first.wait();
    const auto before = pool.submit(descriptors_here).get();
    for (int i = 0; i != 1500; ++i) BOOST_TEST(*pool.submit(made_value, i).get() == i);
    BOOST_TEST(pool.submit(descriptors_here).get() == before);
    BOOST_TEST(*first.get() == -1);
}

BOOST_AUTO_TEST_CASE(results_that_nobody_takes_let_go_of_them) {
    process_pool pool(2);
    const auto before = open_files().size();  // workers that start have some too
    for (int i = 0; i != 500; ++i) pool.submit(made_value, i).wait();
    until([&] { return open_files().size() < before + 100; });
}

BOOST_AUTO_TEST_CASE(a_task_that_returns_what_it_was_given_gives_the_same_object) {
    process_pool pool(1);
    const shared_value<int> given(5);
    const auto back = pool.submit([](const shared_value<int>& v) { return v; }, given).get();
    *back = 6;
    BOOST_TEST(*given == 6);
    BOOST_TEST(back.get() == given.get());
}

BOOST_AUTO_TEST_CASE(an_item_of_a_map_may_have_many) {
    const descriptor_limit tight(256);
    process_pool pool(1);
    int items = 0;
    for (const auto& many :
         pool.map(bulkhead::map_options{.chunk_size = 8}, made_values, std::vector<int>(16, 40))) {
        BOOST_TEST(*many.at(39) == 39);
        ++items;
    }
    BOOST_TEST(items == 16);
}

BOOST_AUTO_TEST_CASE(each_item_of_a_map_has_its_own) {
    process_pool pool(2);
    int position = 0;
    for (const auto& made : pool.map(made_value, std::views::iota(0, 300))) {
        BOOST_TEST(*made == position);
        ++position;
    }
    BOOST_TEST(position == 300);
}

BOOST_AUTO_TEST_CASE(a_crash_in_the_middle_of_a_chunk_takes_none_of_another_item) {
    process_pool pool(2);
    auto items = pool.map(bulkhead::map_options{.chunk_size = 10}, made_value_unless,
                          std::views::iota(0, 60), std::vector<int>(60, 35));
    BOOST_TEST(failures_among<bulkhead::worker_crashed>(items, 60, 35) == 1);
}

BOOST_AUTO_TEST_CASE(a_late_item_takes_none_of_another_and_no_item_that_has_not_run_is_blamed) {
    for (const bool stubborn : {false, true}) {
        process_pool pool({.workers = 1, .task_timeout = 1s, .kill_grace = 2s});
        auto items = pool.map(
            bulkhead::map_options{.chunk_size = 20},
            [stubborn](int number) {
                if (stubborn) std::signal(SIGTERM, SIG_IGN);
                // Ends in the time between SIGTERM and SIGKILL, when it ignores the first.
                if (number == 12) ::usleep(1'500'000);
                return shared_value<int>(number);
            },
            std::views::iota(0, 30));
        const int late = failures_among<bulkhead::task_timeout>(items, 30, 12);
        if (!stubborn) BOOST_TEST(late == 1);
    }
}

BOOST_AUTO_TEST_CASE(untaken_results_leave_descriptors_for_the_program_and_for_new_workers) {
    const descriptor_limit tight(256);
    int right = 0;
    {
        process_pool pool(1);
        std::vector<future<shared_value<int>>> untaken;
        for (int i = 0; i != 400; ++i) untaken.push_back(pool.submit(made_value, i));
        for (auto& f : untaken) f.wait();
        kill_its_only_worker(pool);
        BOOST_TEST(pool.submit(square, 3).get() == 9);
        const int own = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        BOOST_TEST(own >= 0);
        ::close(own);
        for (int i = 0; i != 400; ++i) {
            try {
                if (*untaken[static_cast<std::size_t>(i)].get() == i) ++right;
            } catch (const bulkhead::error& failure) {
                BOOST_TEST(contains(failure.what(), "ulimit -n"), failure.what());
            }
        }
        BOOST_TEST(*pool.submit(made_value, 1).get() == 1);
    }
    BOOST_TEST(right > 50);
    BOOST_TEST(right < 256);
}

BOOST_AUTO_TEST_CASE(they_travel_in_exceptions) {
    process_pool pool(1);
    auto failed = pool.submit(fail_with_log, "line 1");
    failed.wait();
    kill_its_only_worker(pool);
    BOOST_TEST(error_of<logged_failure>(std::move(failed)).log.get() == "line 1");

    auto items = pool.map(bulkhead::map_options{.chunk_size = 30}, fail_at_odd_ones,
                          std::views::iota(0, 40));
    int number = 0;
    for (auto it = items.begin(); it != items.end(); ++it, ++number) {
        try {
            BOOST_TEST(*it == number);
            BOOST_TEST(number % 2 == 0);
        } catch (const logged_failure& failure) {
            BOOST_TEST(failure.log.get() == std::to_string(number));
        }
    }
    BOOST_TEST(number == 40);
}

BOOST_AUTO_TEST_CASE(they_travel_beside_a_large_result) {
    process_pool pool(1);
    for (const std::size_t bytes : {std::size_t{1} << 20, std::size_t{25} << 20}) {
        auto both = pool.submit(
            [](std::size_t count) {
                return std::pair(std::string(count, 'l'), made_queue("beside"));
            },
            bytes);
        both.wait();
        kill_its_only_worker(pool);
        const auto [large, made] = both.get();
        BOOST_TEST(large.size() == bytes);
        BOOST_TEST(made.get() == "beside");
    }
}

BOOST_AUTO_TEST_CASE(as_many_as_a_message_takes_can_be_in_one_result) {
    process_pool pool(1);
    const auto all = pool.submit(made_values, 252).get();
    for (int i = 0; i != 252; ++i) BOOST_TEST(*all[static_cast<std::size_t>(i)] == i);
    const auto refused = error_of<bulkhead::error>(pool.submit(made_values, 253));
    BOOST_TEST(contains(refused.what(), "refers to 253 anonymous"), refused.what());
    BOOST_TEST(contains(refused.what(), "at most 252"), refused.what());
    // The same one many times is one.
    const auto same =
        pool.submit([] { return std::vector<shared_value<int>>(1000, shared_value<int>(4)); })
            .get();
    BOOST_TEST(*same.at(999) == 4);
}

BOOST_AUTO_TEST_CASE(a_program_without_a_free_descriptor_is_told_so_and_loses_that_result_alone) {
    process_pool pool({.workers = 1, .spare_workers = 0});
    BOOST_TEST(*pool.submit(made_value, 1).get() == 1);
    for (const int count : {1, 2}) {
        const queue<int> go;  // needs no descriptor to be told
        auto made = pool.submit(
            [](const queue<int>& may_begin, int many) {
                (void)may_begin.get();
                return made_values(many);
            },
            go, count);
        {
            const descriptor_limit tight(open_files().size() + 10);
            std::vector<int> all_free;
            for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) {
                all_free.push_back(fd);
            }
            for (int i = 1; i != count; ++i) {
                ::close(all_free.back());
                all_free.pop_back();
            }
            go.put(1);
            made.wait();
            for (const int fd : all_free) ::close(fd);
        }
        const auto failure = error_of<bulkhead::error>(std::move(made));
        BOOST_TEST(contains(failure.what(), "no descriptor is free"), failure.what());
        BOOST_TEST(*pool.submit(made_value, 2).get() == 2);
    }
}

BOOST_AUTO_TEST_SUITE_END()
