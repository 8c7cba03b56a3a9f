// wait() and as_completed() over futures of both pools.
#include "support/scene.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <ranges>
#include <span>

namespace {

using namespace test;
using bulkhead::as_completed;
using bulkhead::future;
using bulkhead::process_pool;
using bulkhead::usage_error;
using bulkhead::wait_for_all;
using bulkhead::wait_for_first;
using bulkhead::wait_for_first_error;
using indices = std::vector<std::size_t>;

int number_when(const fs::path& go, int number) {
    await(go);
    return number;
}
int fail_when(const fs::path& go) {
    await(go);
    throw std::runtime_error("failed");
}

struct gate {
    gate(const scene& at, const std::string& name) : file(at.file(name)) {}
    void open() const { announce(file); }
    fs::path file;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(waiting, scene)

BOOST_AUTO_TEST_CASE_TEMPLATE(waiting_for_the_first_for_all_and_for_the_first_error, Pool,
                              executors) {
    Pool pool(3);
    const gate a(*this, "a");
    const gate b(*this, "b");
    const gate c(*this, "c");
    std::vector<future<int>> all;
    all.push_back(pool.submit(number_when, a.file, 1));
    all.push_back(pool.submit(fail_when, b.file));
    all.push_back(pool.submit(number_when, c.file, 3));

    auto [done, pending] = bulkhead::wait(all, wait_for_all, 1ms);
    BOOST_TEST(done.empty());
    BOOST_TEST(pending == (indices{0, 1, 2}));
    BOOST_TEST(bulkhead::wait(all, wait_for_first, 1ms).done.empty());
    BOOST_TEST(bulkhead::wait(all, wait_for_first_error, 0s).done.empty());

    a.open();
    auto first = bulkhead::wait(all, wait_for_first);
    BOOST_TEST(first.done == indices{0});
    BOOST_TEST(first.pending == (indices{1, 2}));
    BOOST_TEST(bulkhead::wait(all, wait_for_first, 1h).done == indices{0});  // done already
    BOOST_TEST(bulkhead::wait(all, wait_for_first_error, 1ms).done == indices{0});

    b.open();
    auto error = bulkhead::wait(all, wait_for_first_error, 1h);
    BOOST_TEST(error.done == (indices{0, 1}));
    BOOST_TEST(error.pending == indices{2});

    c.open();
    auto every = bulkhead::wait(all);
    BOOST_TEST(every.done == (indices{0, 1, 2}));
    BOOST_TEST(every.pending.empty());
    BOOST_TEST(all[0].get() == 1);
    BOOST_CHECK_THROW((void)all[1].get(), std::runtime_error);
    BOOST_TEST(all[2].get() == 3);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(cancelled_is_done_and_no_error, Pool, executors) {
    Pool pool(1);
    const gate go(*this, "go");
    std::vector<future<int>> all;
    all.push_back(pool.submit(number_when, go.file, 1));
    all.push_back(pool.submit(square, 2));
    BOOST_TEST(all[1].cancel());
    BOOST_TEST(bulkhead::wait(all, wait_for_first_error, 1ms).done == indices{1});
    go.open();
    BOOST_TEST(bulkhead::wait(all, wait_for_first_error, 1h).done == (indices{0, 1}));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(as_completed_gives_each_as_it_ends, Pool, executors) {
    Pool pool(3);
    std::vector<gate> gates;
    for (const char* name : {"x", "y", "z"}) gates.emplace_back(*this, name);
    std::vector<future<int>> all;
    all.push_back(pool.submit(square, 9));
    all[0].wait();
    for (int i = 0; i != 3; ++i) {
        all.push_back(pool.submit(number_when, gates[static_cast<std::size_t>(i)].file, i));
    }
    std::vector<int> order;
    // Each opens the next one's gate.
    for (auto& f : as_completed(all)) {
        order.push_back(f.get());
        if (order.back() == 81) gates[2].open();
        if (order.back() == 2) gates[0].open();
        if (order.back() == 0) gates[1].open();
    }
    BOOST_TEST(order == (std::vector<int>{81, 2, 0, 1}));
}

BOOST_AUTO_TEST_CASE(a_dead_worker_ends_the_wait) {
    process_pool pool(2);
    std::vector<future<void>> all;
    all.push_back(pool.submit([](const fs::path& on) { hang(on); }, file("on")));
    const pid_t pid = await_pid(file("on"));
    ::kill(pid, SIGKILL);
    BOOST_TEST(bulkhead::wait(all, wait_for_first_error, 1h).done == indices{0});
    BOOST_CHECK_THROW(all[0].get(), bulkhead::worker_crashed);
}

BOOST_AUTO_TEST_CASE(a_wait_ends_at_its_deadline_while_a_task_at_a_quick_worker_does_not) {
    process_pool pool(1);
    for (int i = 0; i != 100; ++i) (void)pool.submit(square, i).get();
    const gate go(*this, "go");
    auto slow = pool.submit(number_when, go.file, 1);
    using clock = std::chrono::steady_clock;
    const auto time_of = [](auto wait) {
        const auto start = clock::now();
        wait();
        return clock::now() - start;
    };
    std::vector<clock::duration> waits;
    std::vector<clock::duration> sleeps;
    for (int i = 0; i != 21; ++i) {  // by turns: what delays the one delays the other
        waits.push_back(time_of([&] { BOOST_TEST(!slow.wait_for(3ms)); }));
        sleeps.push_back(time_of([] { std::this_thread::sleep_for(3ms); }));
    }
    std::ranges::sort(waits);
    std::ranges::sort(sleeps);
    BOOST_TEST(waits[10] / sleeps[10] < 3);  // a caller may sleep 20 ms in the loop's place
    go.open();
    BOOST_TEST(slow.get() == 1);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(repeated_futures_pointers_and_references_will_do, Pool, executors) {
    Pool pool(1);
    auto f = pool.submit(square, 4);
    auto g = pool.submit(square, 5);
    std::vector<future<int>*> pointers{&f, &g, &f};
    BOOST_TEST(bulkhead::wait(pointers).done == (indices{0, 1, 2}));
    std::vector<std::reference_wrapper<future<int>>> references{f, g, f};
    BOOST_TEST(bulkhead::wait(references, wait_for_first).done == (indices{0, 1, 2}));
    int seen = 0;
    for (const auto& one : as_completed(pointers)) {
        BOOST_TEST(one.done());
        ++seen;
    }
    BOOST_TEST(seen == 3);
}

BOOST_AUTO_TEST_CASE(what_shows_futures_that_last_need_not_last_itself) {
    process_pool pool(1);
    std::vector<future<int>> all;
    for (int i = 0; i != 4; ++i) all.push_back(pool.submit(square, i));
    int sum = 0;
    for (auto& f : as_completed(std::span(all).first(2))) sum += f.get();
    BOOST_TEST(sum == 1);
    sum = 0;
    for (auto& f : as_completed({&all[2], &all[3]}, 1min)) sum += f.get();
    BOOST_TEST(sum == 13);
    std::vector<future<int>> more;
    for (int i = 0; i != 4; ++i) more.push_back(pool.submit(square, i));
    sum = 0;
    for (auto& f : as_completed(more | std::views::take(3))) sum += f.get();
    BOOST_TEST(sum == 5);
}

BOOST_AUTO_TEST_CASE(nothing_to_wait_for_is_done_at_once) {
    std::vector<future<int>> none;
    for (const auto condition : {wait_for_first, wait_for_all, wait_for_first_error}) {
        const auto result = bulkhead::wait(none, condition);
        BOOST_TEST(result.done.empty());
        BOOST_TEST(result.pending.empty());
    }
    for ([[maybe_unused]] auto& f : as_completed(none)) BOOST_ERROR("there is none");
}

BOOST_AUTO_TEST_CASE(a_future_of_nothing_is_refused_by_its_number) {
    process_pool pool(1);
    std::vector<future<int>> all(2);
    all[0] = pool.submit(square, 1);
    BOOST_CHECK_THROW((void)bulkhead::wait(all), usage_error);
    BOOST_CHECK_THROW((void)as_completed(all), usage_error);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(as_completed_runs_out_of_time_by_an_exception_and_harms_nothing, Pool,
                              executors) {
    Pool pool(1);
    const gate go(*this, "go");
    std::vector<future<int>> all;
    all.push_back(pool.submit(square, 3));
    all[0].wait();
    all.push_back(pool.submit(number_when, go.file, 7));
    int seen = 0;
    const auto read_all = [&] {
        for (auto& f : as_completed(all, 20ms)) {
            BOOST_TEST(f.done());
            ++seen;
        }
    };
    BOOST_CHECK_THROW(read_all(), bulkhead::wait_timeout);
    BOOST_TEST(seen == 1);
    go.open();
    BOOST_TEST(all[1].get() == 7);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(many_futures_are_each_given_once, Pool, executors) {
    Pool pool(2);
    std::vector<future<int>> all;
    for (int i = 0; i != 2000; ++i) all.push_back(pool.submit(square, i));
    std::vector<bool> seen(2000);
    for (auto& f : as_completed(all)) {
        const auto which = static_cast<std::size_t>(&f - all.data());
        BOOST_TEST(!seen[which]);
        seen[which] = true;
    }
    BOOST_TEST(std::count(seen.begin(), seen.end(), true) == 2000);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_error_that_a_callback_has_taken_is_still_the_first_error, Pool,
                              executors) {
    Pool pool(2);
    std::vector<future<int>> all;
    all.push_back(pool.submit(fail_when, file("fail")));
    all.push_back(pool.submit(number_when, file("go"), 2));
    std::atomic<bool> taken = false;
    all[0].on_done([&](future<int> f) {
        try {
            (void)f.get();
        } catch (const std::runtime_error&) {
            taken = true;
        }
    });
    announce(file("fail"));
    until([&] { return taken.load(); });
    wait(all, wait_for_first_error);
    BOOST_TEST(!all[1].done());
    announce(file("go"));
}

BOOST_AUTO_TEST_SUITE_END()
