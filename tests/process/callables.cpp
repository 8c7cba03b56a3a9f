// What can be a task.
#include "support/scene.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stop_token>
#include <string_view>
#include <utility>

namespace {

using namespace test;
using bulkhead::process_pool;

int triple(int x) noexcept { return 3 * x; }

template <class T>
T twice(T x) {
    return x + x;
}

struct adder {
    int operator()(int a, int b) const { return a + b; }
    static int negate(int x) { return -x; }
};

struct counter {
    int operator()() { return ++count; }  // not const
    int count = 41;
};

enum class color : std::uint8_t { red, green };

std::string same(const std::string& text) { return text; }

bool in_another_process(pid_t pid) { return pid != ::getpid(); }

}  // namespace

BOOST_FIXTURE_TEST_SUITE(callables, scene)

BOOST_AUTO_TEST_CASE(functions_of_all_kinds_run_in_a_worker) {
    process_pool pool(1);
    BOOST_TEST(in_another_process(pool.submit(whoami).get()));
    BOOST_TEST(pool.submit(square, 7).get() == 49);
    BOOST_TEST(pool.submit(&square, 8).get() == 64);
    BOOST_TEST(pool.submit(triple, 5).get() == 15);
    BOOST_TEST(pool.submit(twice<std::string>, "ab").get() == "abab");
    BOOST_TEST(pool.submit(adder::negate, 4).get() == -4);
    int (*pointer)(int) = square;
    BOOST_TEST(pool.submit(pointer, 9).get() == 81);
}

BOOST_AUTO_TEST_CASE(functions_of_shared_libraries_are_found_in_the_worker) {
    process_pool pool(1);
    BOOST_TEST(pool.submit(static_cast<int (*)(int)>(&::toupper), 'a').get() == 'A');
    BOOST_TEST(pool.submit(static_cast<pid_t (*)()>(&::getppid)).get() == ::getpid());
}

BOOST_AUTO_TEST_CASE(lambdas_and_function_objects_run_in_a_worker) {
    process_pool pool(1);
    BOOST_TEST(pool.submit([](int x) { return x + 1; }, 1).get() == 2);
    BOOST_TEST(pool.submit([](auto x) { return x + x; }, 4).get() == 8);
    BOOST_TEST(
        pool.submit([](auto x, auto y) { return x + std::to_string(y); }, std::string("n"), 4)
            .get() == "n4");
    BOOST_TEST(pool.submit(adder{}, 2, 3).get() == 5);
    BOOST_TEST(pool.submit(std::plus<>{}, 2, 3).get() == 5);
    BOOST_TEST(pool.submit(counter{}).get() == 42);
    BOOST_TEST(pool.submit([n = 0]() mutable { return ++n; }).get() == 1);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_lambda_of_any_number_of_arguments_is_asked_for_no_other, Pool,
                              executors) {
    Pool pool(1);
    BOOST_TEST(pool.submit([](auto... x) { return (x + ...); }, 1, 2, 3).get() == 6);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(arguments_are_converted_in_the_caller, Pool, executors) {
    Pool pool(1);
    const auto busy = pool.submit([] { ::usleep(20'000); });
    char text[] = "first";
    auto by_reference = pool.submit(same, text);
    auto by_value = pool.submit([](std::string held) { return held; }, text);
    auto with_token =
        pool.submit([](std::stop_token, const std::string& held) { return held; }, text);
    std::ranges::fill(text, '?');
    BOOST_TEST(by_reference.get() == "first");
    BOOST_TEST(by_value.get() == "first");
    BOOST_TEST(with_token.get() == "first");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_argument_whose_conversion_throws_fails_its_task, Pool, executors) {
    struct refused {
        operator int() const { throw std::domain_error("no number"); }
    };
    Pool pool(1);
    auto f = pool.submit(square, refused());
    BOOST_CHECK_THROW((void)f.get(), std::domain_error);
    auto tried = pool.try_submit(square, refused());
    BOOST_REQUIRE(tried.has_value());
    BOOST_CHECK_THROW((void)tried->get(), std::domain_error);
    pool.join();
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(closures_carry_trivially_copyable_captures) {
    process_pool pool(1);
    const int a = 3;
    const double b = 0.5;
    const auto c = color::green;
    BOOST_TEST(pool.submit([=](int x) { return x * a + b + static_cast<int>(c); }, 2).get() == 7.5);
    const std::array<char, 100> text{'h', 'i'};
    BOOST_TEST(pool.submit([text] { return std::string(text.data()); }).get() == "hi");
    const char odd[3] = {1, 2, 3};
    BOOST_TEST(pool.submit([odd](const std::string& s) { return s + std::to_string(odd[2]); }, "s")
                   .get() == "s3");
}

BOOST_AUTO_TEST_CASE(a_first_parameter_stop_token_is_provided) {
    process_pool pool(1);
    BOOST_TEST(pool.submit([](std::stop_token, int x) { return x; }, 5).get() == 5);
    BOOST_TEST(pool.submit([](std::stop_token token) { return token.stop_possible(); }).get());
    BOOST_TEST(pool.submit([](std::stop_token, auto x) { return x; }, 6).get() == 6);
}

BOOST_AUTO_TEST_CASE(a_worker_keeps_globals_between_its_tasks_and_shares_none_with_the_parent) {
    static int global = 0;
    process_pool pool(1);
    const auto count = [] { return ++global; };
    BOOST_TEST(pool.submit(count).get() == 1);
    BOOST_TEST(pool.submit(count).get() == 2);
    BOOST_TEST(global == 0);
}

template <bulkhead::task_executor Pool>
int sum_of_squares(Pool&& pool) {
    int sum = 0;
    for (const int y : pool.map(square, std::vector<int>{1, 2, 3})) sum += y;
    return sum + pool.submit(square, 4).get();
}

BOOST_AUTO_TEST_CASE(code_over_an_executor_runs_in_processes_and_in_threads) {
    static_assert(!bulkhead::task_executor<std::vector<int>>);
    BOOST_TEST(sum_of_squares(process_pool(2)) == 30);
    BOOST_TEST(sum_of_squares(bulkhead::thread_pool(2)) == 30);
}

BOOST_AUTO_TEST_CASE(many_different_tasks_are_told_apart) {
    process_pool pool(2);
    const auto run = [&]<std::size_t I>(std::integral_constant<std::size_t, I>) {
        BOOST_TEST(pool.submit([](std::size_t x) { return x * 1000 + I; }, I).get() == I * 1001);
    };
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (run(std::integral_constant<std::size_t, I>{}), ...);
    }(std::make_index_sequence<100>{});
}

BOOST_AUTO_TEST_CASE(a_closure_that_threads_have_run_runs_in_processes_too) {
    int factor = 3;
    const auto times = [factor](int x) { return factor * x; };
    BOOST_TEST(bulkhead::thread_pool(1).submit(times, 7).get() == 21);
    BOOST_TEST(process_pool(1).submit(times, 7).get() == 21);
}

std::size_t length(const std::string& text) { return text.size(); }
bool can_stop(const std::stop_token& token) { return token.stop_possible(); }
void put_nine(bulkhead::queue<int>& to) { to.put(9); }

BOOST_AUTO_TEST_CASE_TEMPLATE(parameters_are_taken_alike_by_both_pools, Pool, executors) {
    Pool pool(1);
    BOOST_TEST(pool.submit(length, std::string_view("abc")).get() == 3U);
    const std::vector<std::string_view> views{"a", "bcd"};
    const std::vector<const char*> literals{"ab", ""};
    std::vector<std::size_t> lengths;
    for (const std::size_t n : pool.map(length, views)) lengths.push_back(n);
    for (const std::size_t n : pool.map(length, literals)) lengths.push_back(n);
    BOOST_TEST((lengths == std::vector<std::size_t>{1, 3, 2, 0}));
    BOOST_TEST(pool.submit(can_stop).get());
    bulkhead::queue<int> q;
    pool.submit(put_nine, q).get();
    BOOST_TEST(q.get() == 9);
    std::vector<std::unique_ptr<int>> owners;
    owners.push_back(std::make_unique<int>(1));
    const auto count = [](const std::vector<std::unique_ptr<int>>& all) { return all.size(); };
    BOOST_TEST(pool.submit(count, std::move(owners)).get() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
