// map_unordered(): every item once, as it finishes, with its index.
#include "support/mapped.hpp"
#include "support/scene.hpp"

#include <memory>
#include <ranges>
#include <set>
#include <stdexcept>

namespace {

using namespace test;
using bulkhead::map_options;
using bulkhead::process_pool;
using bulkhead::worker_crashed;

int after(const fs::path& go, int x) {
    if (x == 0) await(go);
    return x;
}

/// 0..39, each once, with its square, or an E where it `fails`.
template <class E, class Results, class Fails>
void check_errors_at_their_index(Results results, const Fails& fails) {
    std::set<std::size_t> seen;
    for (auto it = results.begin(); it != results.end(); ++it) {
        const auto index = it.index();
        seen.insert(index);
        if (fails(static_cast<int>(index))) {
            BOOST_CHECK_THROW((void)*it, E);
            continue;
        }
        const auto [i, y] = *it;
        BOOST_TEST(i == index);
        BOOST_TEST(static_cast<std::size_t>(y) == i * i);
    }
    BOOST_TEST(seen.size() == 40U);
    BOOST_TEST(*seen.rbegin() == 39U);
}

/// Items 0..39, of which 13 throws an E.
template <class E, class Pool, class F>
void check_all_but_13(Pool& pool, F f) {
    for (const auto chunk : chunk_sizes) {
        check_errors_at_their_index<E>(
            pool.map_unordered(map_options{.chunk_size = chunk}, f, std::views::iota(0, 40)),
            [](int index) { return index == 13; });
    }
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(map_unordered, scene)

BOOST_AUTO_TEST_CASE_TEMPLATE(every_item_comes_once_with_its_index_and_an_error_at_its_own, Pool,
                              executors) {
    Pool pool(3);
    check_all_but_13<std::invalid_argument>(pool, not_13);
}

BOOST_AUTO_TEST_CASE(a_crash_inside_a_chunk_fails_exactly_that_item) {
    process_pool pool(2);
    check_all_but_13<worker_crashed>(pool, crash_at_13);
}

BOOST_AUTO_TEST_CASE(an_argument_that_does_not_encode_fails_its_own_item) {
    process_pool pool(2);
    const auto inputs = some_refused<encodes_if_allowed>();
    const auto take = [](const encodes_if_allowed& one) { return one.x * one.x; };
    for (const auto chunk : chunk_sizes) {
        check_errors_at_their_index<std::domain_error>(
            pool.map_unordered(map_options{.chunk_size = chunk}, take, inputs), is_refused);
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(what_is_quick_does_not_wait_for_what_is_slow, Pool, executors) {
    Pool pool(2);
    const auto go = file("go");
    const std::vector<fs::path> gos(20, go);
    std::vector<std::size_t> order;
    for (auto [i, y] : pool.map_unordered(map_options{.chunk_size = 1, .lookahead_max = 20}, after,
                                          gos, std::views::iota(0, 20))) {
        BOOST_TEST(static_cast<std::size_t>(y) == i);
        order.push_back(i);
        if (order.size() == 19) announce(go);
    }
    BOOST_TEST(order.size() == 20U);
    BOOST_TEST(order.back() == 0U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_infinite_input_is_never_taken_further_than_the_lookahead, Pool,
                              executors) {
    Pool pool(2);
    for (const auto chunk : {std::size_t{0}, std::size_t{1}, std::size_t{4}, std::size_t{50}}) {
        int taken = 0;
        auto input = counted_input(taken);
        std::set<std::size_t> seen;
        auto results = pool.map_unordered(map_options{.chunk_size = chunk, .lookahead_max = 10},
                                          square, input);
        BOOST_TEST(taken == 0);
        for (auto [i, y] : results) {
            BOOST_TEST(static_cast<std::size_t>(y) == i * i);
            BOOST_TEST(seen.insert(i).second);
            BOOST_TEST(static_cast<std::size_t>(taken) <= seen.size() - 1 + 10);
            if (seen.size() == 500) break;
        }
        BOOST_TEST(seen.size() == 500U);
    }
    pool.join();
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_input_that_throws_is_the_last_element, Pool, executors) {
    Pool pool(2);
    for (const auto chunk : chunk_sizes) {
        auto input = input_that_throws_at(23);
        auto results = pool.map_unordered(map_options{.chunk_size = chunk}, square, input);
        std::size_t count = 0;
        auto it = results.begin();
        for (; it != results.end() && it.index() != 23; ++it) {
            (void)*it;
            ++count;
        }
        BOOST_TEST(count == 23U);
        BOOST_CHECK_THROW((void)*it, std::length_error);
        ++it;
        BOOST_TEST((it == results.end()));
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(ranges_are_zipped_and_results_may_be_move_only_or_void, Pool,
                              executors) {
    Pool pool(2);
    const std::vector<int> xs{1, 2, 3, 4};
    int sum = 0;
    for (auto [i, y] : pool.map_unordered(add, xs, std::views::iota(10, 13))) {
        BOOST_TEST(y == xs[i] + 10 + static_cast<int>(i));
        sum += y;
    }
    BOOST_TEST(sum == 39);
    for (auto [i, p] : pool.map_unordered([](int x) { return std::make_unique<int>(x); }, xs)) {
        BOOST_TEST(*p == xs[i]);
    }
    std::vector<fs::path> logs(30, file("log"));
    pool.map_unordered(append_line, logs, std::vector<std::string>(30, "x")).wait();
    BOOST_TEST(lines_of(file("log")).size() == 30U);
    BOOST_CHECK_THROW(pool.map_unordered(not_13, std::views::iota(0, 20)).wait(),
                      std::invalid_argument);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(items_of_a_closed_pool_fail_and_none_at_all_is_no_trouble, Pool,
                              executors) {
    Pool pool(1);
    for ([[maybe_unused]] auto [i, y] : pool.map_unordered(square, std::vector<int>{})) {
        BOOST_ERROR("an item of nothing");
    }
    pool.close();
    auto results = pool.map_unordered(square, std::views::iota(0, 3));
    std::set<std::size_t> failed;
    for (auto it = results.begin(); it != results.end(); ++it) {
        BOOST_CHECK_THROW((void)*it, bulkhead::pool_closed);
        failed.insert(it.index());
    }
    BOOST_TEST(failed.size() == 3U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(leaving_early_drops_what_has_not_started, Pool, executors) {
    Pool pool(2);
    for (auto [i, y] : pool.map_unordered(square, std::views::iota(0))) {
        if (y > 10'000) break;
        (void)i;
    }
    pool.join();
    BOOST_TEST(pool.submit(square, 8).get() == 64);
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_SUITE_END()
