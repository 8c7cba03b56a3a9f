// map(): order, chunks, errors at their place, and how far it looks ahead.
#include "support/mapped.hpp"
#include "support/scene.hpp"

#include <array>
#include <atomic>
#include <iterator>
#include <memory>
#include <numeric>
#include <ranges>
#include <stdexcept>

namespace {

using namespace test;
using bulkhead::map_options;
using bulkhead::process_pool;
using bulkhead::worker_crashed;

// Results that are no plain bytes travel in frames, others as an array: both ways are to be tried.
std::string text_not_13(int x) {
    if (x == 13) throw std::invalid_argument("unlucky");
    return std::to_string(x * x);
}
std::string text_crash_at_13(int x) {
    if (x == 13) ::raise(SIGKILL);
    return std::to_string(x * x);
}

enum class parity : unsigned char { even, odd };
struct no_default {
    explicit no_default(int x) : value(x) {}
    int value;
};
struct wide_point {
    double x, y;
    char tag[3];
};

/// Each number is sent once the result of the one before has been taken.
struct sender {
    int* sent;
    const int* answered;
    using difference_type = std::ptrdiff_t;
    using value_type = int;
    int operator*() const { return *sent; }
    sender& operator++() {
        BOOST_TEST(*answered == *sent + 1);
        ++*sent;
        return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return *sent == 10; }
};

std::string squared_text(int x) { return std::to_string(x * x); }

void log_and_await(const fs::path& log, const fs::path& go) {
    append_line(log, "item");
    await(go);
}

/// Squares of 0..39, or an E where an item `fails`.
template <class E, class Results, class Fails>
void check_errors_in_place(Results results, const Fails& fails) {
    int position = 0;
    for (auto it = results.begin(); it != results.end(); ++it, ++position) {
        if (fails(position)) {
            BOOST_CHECK_THROW((void)*it, E);
        } else if constexpr (std::is_same_v<std::decay_t<decltype(*it)>, std::string>) {
            BOOST_TEST(*it == squared_text(position));
        } else {
            BOOST_TEST(*it == position * position);
        }
    }
    BOOST_TEST(position == 40);
}

/// Items 0..39, of which 13 throws an E.
template <class E, class Pool, class F>
void check_error_at_its_place(Pool& pool, F f, std::size_t chunk) {
    check_errors_in_place<E>(pool.map(map_options{.chunk_size = chunk}, f, std::views::iota(0, 40)),
                             [](int position) { return position == 13; });
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(map, scene)

BOOST_AUTO_TEST_CASE_TEMPLATE(results_come_in_order_for_every_chunk_size, Pool, executors) {
    Pool pool(3);
    for (const auto chunk : chunk_sizes) {
        int expected = 0;
        for (const int y :
             pool.map(map_options{.chunk_size = chunk}, square, std::views::iota(0, 40))) {
            BOOST_TEST(y == expected * expected);
            ++expected;
        }
        BOOST_TEST(expected == 40);
    }
    int none = 0;
    for ([[maybe_unused]] const int y : pool.map(square, std::vector<int>{})) ++none;
    BOOST_TEST(none == 0);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_exception_appears_at_its_position_and_the_rest_goes_on, Pool,
                              executors) {
    Pool pool(3);
    for (const auto chunk : chunk_sizes) {
        check_error_at_its_place<std::invalid_argument>(pool, not_13, chunk);
        check_error_at_its_place<std::invalid_argument>(pool, text_not_13, chunk);
    }
}

BOOST_AUTO_TEST_CASE(a_crash_inside_a_chunk_fails_exactly_that_item) {
    process_pool pool(2);
    for (const auto chunk : chunk_sizes) {
        check_error_at_its_place<worker_crashed>(pool, crash_at_13, chunk);
        check_error_at_its_place<worker_crashed>(pool, text_crash_at_13, chunk);
    }
}

BOOST_AUTO_TEST_CASE(every_item_crashing_fails_every_item) {
    process_pool pool(2);
    auto results = pool.map(
        map_options{.chunk_size = 6}, [](int) -> int { std::abort(); }, std::views::iota(0, 20));
    int position = 0;
    for (auto it = results.begin(); it != results.end(); ++it, ++position) {
        try {
            (void)*it;
            BOOST_ERROR("no crash at " << position);
        } catch (const worker_crashed& e) {
            BOOST_TEST(e.status().signal() == SIGABRT);
        }
    }
    BOOST_TEST(position == 20);
}

BOOST_AUTO_TEST_CASE(a_timed_out_item_of_a_chunk_fails_exactly_that_item) {
    process_pool pool({.workers = 2, .task_timeout = 500ms, .kill_grace = 50ms});
    const auto hang_at_13 = [](int x) {
        while (x == 13) ::pause();
        return x * x;
    };
    check_error_at_its_place<bulkhead::task_timeout>(pool, hang_at_13, 6);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(results_of_every_plain_type_come_right, Pool, executors) {
    Pool pool(2);
    const auto numbers = std::views::iota(0, 3000);
    int i = 0;
    for (const bool even : pool.map([](int x) { return x % 2 == 0; }, numbers)) {
        BOOST_REQUIRE(even == (i++ % 2 == 0));
    }
    i = 0;
    for (const parity p :
         pool.map([](int x) { return x % 2 == 0 ? parity::even : parity::odd; }, numbers)) {
        BOOST_REQUIRE((p == (i++ % 2 == 0 ? parity::even : parity::odd)));
    }
    i = 0;
    for (const auto& made : pool.map([](int x) { return no_default(x); }, numbers)) {
        BOOST_REQUIRE(made.value == i++);
    }
    i = 0;
    for (const auto& p : pool.map(
             [](char tag, double x, int y) {
                 return wide_point{x, static_cast<double>(y), {tag, tag, tag}};
             },
             std::vector<char>(3000, 't'), std::views::iota(0), numbers)) {
        BOOST_REQUIRE((p.x == i && p.y == i && p.tag[2] == 't'));
        ++i;
    }
    BOOST_TEST(i == 3000);
    pool.map([](int) {}, numbers).wait();
}

BOOST_AUTO_TEST_CASE_TEMPLATE(every_item_may_throw_with_a_long_message, Pool, executors) {
    Pool pool(2);
    const auto complain = [](int x) -> int {
        throw std::runtime_error(std::string(20'000, 'm') + std::to_string(x));
    };
    int position = 0;
    auto results = pool.map(map_options{.chunk_size = 60}, complain, std::views::iota(0, 200));
    for (auto it = results.begin(); it != results.end(); ++it, ++position) {
        try {
            (void)*it;
            BOOST_ERROR("nothing was thrown at " << position);
        } catch (const std::runtime_error& thrown) {
            BOOST_TEST(std::string_view(thrown.what()).substr(20'000) == std::to_string(position));
        }
    }
    BOOST_TEST(position == 200);
}

BOOST_AUTO_TEST_CASE(a_chunk_size_beyond_what_a_message_holds_is_cut) {
    process_pool pool(2);
    constexpr std::int64_t many = 300'000;
    std::int64_t i = 0;
    for (const std::int64_t y : pool.map(
             map_options{.chunk_size = 1'000'000}, [](std::int64_t x) { return x + 1; },
             std::views::iota(std::int64_t{0}, many))) {
        BOOST_REQUIRE(y == ++i);
    }
    BOOST_TEST(i == many);
    std::size_t j = 0;
    for (const auto& block : pool.map(
             map_options{.chunk_size = 5000},
             [](unsigned char x) {
                 std::array<unsigned char, 1000> all;
                 all.fill(x);
                 return all;
             },
             std::vector<unsigned char>(2000, 9))) {
        BOOST_REQUIRE(block[999] == 9);
        ++j;
    }
    BOOST_TEST(j == 2000U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_argument_that_does_not_convert_fails_its_own_item, Pool,
                              executors) {
    Pool pool(2);
    const auto inputs = some_refused<converts_if_allowed>();
    for (const auto chunk : chunk_sizes) {
        const map_options options{.chunk_size = chunk};
        check_errors_in_place<std::domain_error>(pool.map(options, square, inputs), is_refused);
        check_errors_in_place<std::domain_error>(pool.map(options, squared_text, inputs),
                                                 is_refused);
    }
}

BOOST_AUTO_TEST_CASE(an_argument_that_does_not_encode_fails_its_own_item) {
    process_pool pool(2);
    const auto inputs = some_refused<encodes_if_allowed>();
    const auto take = [](const encodes_if_allowed& one) { return one.x * one.x; };
    for (const auto chunk : chunk_sizes) {
        check_errors_in_place<std::domain_error>(
            pool.map(map_options{.chunk_size = chunk}, take, inputs), is_refused);
    }
    BOOST_TEST(pool.stats().crashed == 0U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_input_that_throws_ends_the_results_with_that_error, Pool,
                              executors) {
    Pool pool(2);
    for (const auto chunk : chunk_sizes) {
        for (const int k : {0, 1, 5, 23}) {
            auto input = input_that_throws_at(k);
            auto results = pool.map(map_options{.chunk_size = chunk}, square, input);
            int position = 0;
            auto it = results.begin();
            for (; position != k; ++it, ++position) BOOST_TEST(*it == position * position);
            BOOST_TEST((it != results.end()));
            BOOST_CHECK_THROW((void)*it, std::length_error);
            ++it;
            BOOST_TEST((it == results.end()));
        }
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_infinite_input_is_never_taken_further_than_the_lookahead, Pool,
                              executors) {
    Pool pool(2);
    for (const auto chunk : {std::size_t{0}, std::size_t{1}, std::size_t{4}, std::size_t{50}}) {
        int taken = 0;
        auto input = counted_input(taken);
        auto results =
            pool.map(map_options{.chunk_size = chunk, .lookahead_max = 10}, square, input);
        BOOST_TEST(taken == 0);  // nothing before begin()
        int stepped = 0;
        for (const int y : results) {
            BOOST_TEST(y == stepped * stepped);
            BOOST_TEST(taken - stepped <= 10);
            if (++stepped == 1000) break;
        }
        BOOST_TEST(stepped == 1000);
    }
    pool.join();
}

BOOST_AUTO_TEST_CASE_TEMPLATE(the_chosen_lookahead_is_bounded_too, Pool, executors) {
    Pool pool(2);
    int taken = 0;
    int stepped = 0;
    auto input = counted_input(taken);
    for (const int y : pool.map([](int x) { return -x; }, input)) {
        BOOST_TEST(y == -stepped);
        BOOST_REQUIRE(taken - stepped < 50'000);
        if (++stepped == 20'000) break;
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(several_ranges_are_zipped_up_to_the_shortest, Pool, executors) {
    Pool pool(2);
    const std::vector<int> xs{1, 2, 3, 4, 5};
    const std::vector<int> ys{10, 20, 30};
    std::vector<int> sums;
    for (const int s : pool.map(add, xs, ys)) sums.push_back(s);
    BOOST_TEST((sums == std::vector<int>{11, 22, 33}));
    sums.clear();
    for (const int s : pool.map(add, ys, std::views::iota(0))) sums.push_back(s);
    BOOST_TEST((sums == std::vector<int>{10, 21, 32}));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(results_go_into_views_and_take_the_place_of_others, Pool, executors) {
    Pool pool(2);
    std::vector<int> seen;
    for (const int s : pool.map(square, std::views::iota(1, 5)) |
                           std::views::transform([](int y) { return y + 1; })) {
        seen.push_back(s);
    }
    BOOST_TEST((seen == std::vector<int>{2, 5, 10, 17}));
    int more = 1;  // a closure, which cannot be assigned
    const auto with = [&](int from) {
        return pool.map([more](int x) { return x + more; }, std::views::iota(from, from + 3));
    };
    auto results = with(0);
    BOOST_TEST(*results.begin() == 1);
    results = with(10);
    BOOST_TEST(*results.begin() == 11);
    auto unordered = pool.map_unordered(square, std::vector<int>{2});
    unordered = pool.map_unordered(square, std::vector<int>{3});
    for (auto [index, y] : unordered) BOOST_TEST(y == 9);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_function_for_its_effect_is_mapped_with_wait, Pool, executors) {
    Pool pool(2);
    std::vector<std::string> words;
    for (int i = 0; i != 50; ++i) words.push_back(std::to_string(i));
    const std::vector<fs::path> logs(50, file("log"));
    pool.map(append_line, logs, words).wait();
    BOOST_TEST(lines_of(file("log")).size() == 50U);
    BOOST_CHECK_THROW(pool.map(not_13, std::views::iota(0, 20)).wait(), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(large_results_of_a_chunk_come_whole, Pool, executors) {
    Pool pool(2);
    const auto grow = [](std::size_t n) { return std::string(n, 'x'); };
    for (const auto chunk : {std::size_t{0}, std::size_t{7}, std::size_t{40}}) {
        std::size_t i = 0;
        for (const auto& s :
             pool.map(map_options{.chunk_size = chunk}, grow,
                      std::views::iota(std::size_t{0}, std::size_t{40}) |
                          std::views::transform([](std::size_t k) { return k * k * k * 40; }))) {
            BOOST_TEST(s.size() == i * i * i * 40);
            ++i;
        }
        BOOST_TEST(i == 40U);
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(large_arguments_of_a_chunk_go_whole, Pool, executors) {
    Pool pool(2);
    std::vector<std::string> inputs;
    for (std::size_t i = 0; i != 30; ++i) inputs.emplace_back(i * 50'000, 'y');
    std::size_t i = 0;
    for (const auto n : pool.map([](const std::string& s) { return s.size(); }, inputs)) {
        BOOST_TEST(n == 50'000 * i++);
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(leaving_early_drops_what_has_not_started, Pool, executors) {
    Pool pool(1);
    {
        auto results = pool.map(map_options{.chunk_size = 1, .lookahead_max = 100}, square,
                                std::views::iota(0));
        auto it = results.begin();
        BOOST_TEST(*it == 0);
        ++it;
        BOOST_TEST(*it == 1);
    }
    pool.join();
    BOOST_TEST(pool.submit(square, 8).get() == 64);
    const auto stats = pool.stats();
    BOOST_TEST(stats.submitted <= 103U);
    check_balance(stats);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(leaving_early_by_an_exception_is_no_trouble, Pool, executors) {
    Pool pool(2);
    const auto walk = [&] {
        for (const int y : pool.map(not_13, std::views::iota(0))) (void)y;
    };
    BOOST_CHECK_THROW(walk(), std::invalid_argument);
    pool.join();
    BOOST_TEST(pool.submit(square, 8).get() == 64);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(items_of_a_closed_pool_fail, Pool, executors) {
    Pool pool(1);
    pool.close();
    auto results = pool.map(square, std::views::iota(0, 3));
    int failed = 0;
    for (auto it = results.begin(); it != results.end(); ++it) {
        BOOST_CHECK_THROW((void)*it, bulkhead::pool_closed);
        ++failed;
    }
    BOOST_TEST(failed == 3);
}

BOOST_AUTO_TEST_CASE(an_items_exception_tells_which_process_threw_it) {
    process_pool pool(1);
    const pid_t pid = pids_of(pool)[0];
    for (const auto chunk : chunk_sizes) {
        auto results = pool.map(map_options{.chunk_size = chunk}, not_13, std::views::iota(13, 14));
        const auto it = results.begin();
        try {
            (void)*it;
            BOOST_ERROR("nothing was thrown");
        } catch (const bulkhead::remote_info& where) {
            BOOST_TEST(where.pid() == pid);
            BOOST_TEST(where.message() == "unlucky");
        }
    }
}

BOOST_AUTO_TEST_CASE(threads_ignore_a_chunk_size) {
    bulkhead::thread_pool pool(4);
    std::atomic<int> at_once = 0;
    for (const int square : pool.map(
             map_options{.chunk_size = 100, .lookahead_max = 64},
             [&](int x) {
                 ++at_once;
                 if (x < 4) until([&] { return at_once >= 4; });
                 return x * x;
             },
             std::views::iota(0, 64))) {
        BOOST_TEST(square >= 0);
    }
    BOOST_TEST(at_once == 64);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_input_stream_is_not_read_further_than_the_lookahead, Pool,
                              executors) {
    Pool pool(1);
    int sent = 0;
    int answered = 0;
    const std::ranges::subrange dialogue(sender{&sent, &answered}, std::default_sentinel);
    for (const int square :
         pool.map(map_options{.chunk_size = 1, .lookahead_max = 1}, test::square, dialogue)) {
        BOOST_TEST(square == answered * answered);
        ++answered;
    }
    BOOST_TEST(answered == 10);
}

BOOST_AUTO_TEST_CASE(a_range_of_results_may_be_moved_once_it_has_begun) {
    process_pool pool(2);
    auto results = pool.map(map_options{.chunk_size = 1, .lookahead_max = 2}, square,
                            std::array{1, 2, 3, 4, 5, 6, 7, 8});
    (void)results.begin();
    const auto moved = std::make_unique<decltype(results)>(std::move(results));
    int number = 0;
    for (const int square : *moved) {
        ++number;
        BOOST_TEST(square == number * number);
    }
    BOOST_TEST(number == 8);
}

BOOST_AUTO_TEST_CASE(a_dropped_range_ends_though_another_is_dropped_that_is_done_and_uncollected) {
    process_pool pool(1);
    auto first = pool.submit(await, file("registered"));
    first.on_done([this] {  // nothing is collected meanwhile
        announce(file("busy"));
        await(file("free"));
    });
    announce(file("registered"));
    await(file("busy"));
    const std::vector<fs::path> logs(50, file("log"));
    const std::vector<fs::path> gos(50, file("go"));
    {
        auto done = pool.map(map_options{.chunk_size = 4}, square, std::views::iota(0, 4));
        (void)done.begin();
        auto running = pool.map(map_options{.chunk_size = 50}, log_and_await, logs, gos);
        (void)running.begin();
        await(file("log"));
    }
    announce(file("go"));
    announce(file("free"));
    BOOST_TEST(pool.submit(square, 3).get() == 9);
    BOOST_TEST(lines_of(file("log")).size() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
