// Failures that are worth another run.
#include "support/scene.hpp"

#include <atomic>

namespace {

using namespace test;
using bulkhead::any_exception;
using bulkhead::process_pool;
using bulkhead::task_options;
using bulkhead::thread_pool;

/// Throws the first `failures` times that it is run with this log.
int fail_at_first(const fs::path& log, int failures) {
    append_line(log, "run");
    if (static_cast<int>(lines_of(log).size()) <= failures) throw std::out_of_range("not yet");
    return 42;
}

void hang_at_first(const fs::path& log) {
    append_line(log, "run");
    while (lines_of(log).size() == 1) ::pause();
}

int crash_then_throw_then_work(const fs::path& log) {
    append_line(log, "run");
    const auto runs = lines_of(log).size();
    if (runs == 1) ::_exit(1);
    if (runs == 2) throw std::runtime_error("second");
    return 7;
}

template <class Pool>
void check_retries(const scene& at) {
    Pool pool(1);
    const task_options twice{.retries = 2, .retry_on = any_exception};
    BOOST_TEST(pool.submit(twice, fail_at_first, at.file("a"), 2).get() == 42);
    BOOST_TEST(lines_of(at.file("a")).size() == 3U);
    auto never = pool.submit(twice, fail_at_first, at.file("b"), 3);
    BOOST_TEST(std::string(error_of<std::out_of_range>(std::move(never)).what()) == "not yet");
    BOOST_TEST(lines_of(at.file("b")).size() == 3U);
    // Without a predicate an exception is the task's answer.
    (void)error_of<std::out_of_range>(
        pool.submit(task_options{.retries = 2}, fail_at_first, at.file("c"), 1));
    BOOST_TEST(lines_of(at.file("c")).size() == 1U);
    const auto s = pool.stats();
    BOOST_TEST(s.retried == 4U);
    BOOST_TEST(s.failed == 2U);
    BOOST_TEST(s.succeeded == 1U);
    BOOST_TEST(s.run_time.count() == 7U);
    BOOST_TEST(s.queue_wait.count() == 7U);
    check_balance(s);
}

template <class Pool>
void check_choice(const scene& at) {
    Pool pool(1);
    const task_options of_kind{.retries = 3,
                               .retry_on = bulkhead::exceptions<std::out_of_range, std::bad_alloc>};
    BOOST_TEST(pool.submit(of_kind, fail_at_first, at.file("a"), 3).get() == 42);
    const task_options of_another{.retries = 3, .retry_on = bulkhead::exceptions<std::bad_alloc>};
    (void)error_of<std::out_of_range>(pool.submit(of_another, fail_at_first, at.file("b"), 3));
    BOOST_TEST(lines_of(at.file("b")).size() == 1U);
    const task_options by_text{.retries = 3, .retry_on = [](const std::exception& e) {
                                   return contains(e.what(), "yet");
                               }};
    BOOST_TEST(pool.submit(by_text, fail_at_first, at.file("c"), 3).get() == 42);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(retries, scene)

BOOST_AUTO_TEST_CASE(an_exception_that_is_named_is_tried_again_as_often_as_allowed) {
    check_retries<process_pool>(*this);
}
BOOST_AUTO_TEST_CASE(an_exception_in_a_thread_is_tried_again_as_often_as_allowed) {
    check_retries<thread_pool>(*this);
}
BOOST_AUTO_TEST_CASE(the_predicate_chooses) { check_choice<process_pool>(*this); }
BOOST_AUTO_TEST_CASE(the_predicate_chooses_in_threads_too) { check_choice<thread_pool>(*this); }

BOOST_AUTO_TEST_CASE(a_timeout_that_is_named_is_tried_again) {
    process_pool pool({.workers = 1, .kill_grace = 50ms});
    const task_options options{
        .timeout = 2s, .retries = 1, .retry_on = bulkhead::exceptions<bulkhead::task_timeout>};
    BOOST_CHECK_NO_THROW(pool.submit(options, hang_at_first, file("log")).get());
    BOOST_TEST(lines_of(file("log")).size() == 2U);
    const task_options short_ones{.timeout = 50ms, .retries = 1, .retry_on = any_exception};
    (void)error_of<bulkhead::task_timeout>(pool.submit(short_ones, hang, file("on")));
    pool.join();
    BOOST_TEST(pool.stats().timed_out == 1U);
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_CASE(crashes_and_exceptions_share_the_retries) {
    process_pool pool(1);
    BOOST_TEST(pool.submit(task_options{.retries = 2, .retry_on = any_exception},
                           crash_then_throw_then_work, file("log"))
                   .get() == 7);
    (void)error_of<std::runtime_error>(
        pool.submit(task_options{.retries = 1, .retry_on = any_exception},
                    crash_then_throw_then_work, file("log2")));
}

BOOST_AUTO_TEST_CASE(a_predicate_that_throws_is_a_no_and_is_told) {
    std::atomic<int> told{0};
    const auto on_event = [&](const bulkhead::pool_event& e) {
        if (e.what == bulkhead::pool_event::kind::callback_failed && e.message == "who knows")
            ++told;
    };
    const task_options options{.retries = 5, .retry_on = [](const std::exception&) -> bool {
                                   throw std::logic_error("who knows");
                               }};
    {
        process_pool pool({.workers = 1, .on_event = on_event});
        (void)error_of<std::out_of_range>(pool.submit(options, fail_at_first, file("a"), 9));
        BOOST_TEST(pool.submit(square, 2).get() == 4);
        thread_pool threads({.workers = 1, .on_event = on_event});
        (void)error_of<std::out_of_range>(threads.submit(options, fail_at_first, file("b"), 9));
    }
    BOOST_TEST(told == 2);
}

BOOST_AUTO_TEST_CASE(the_figures_balance_while_the_predicate_is_asked) {
    process_pool pool(2);
    std::atomic<int> wrong{0};
    const task_options options{.retries = 3, .retry_on = [&](const std::exception&) {
                                   if (!balances(pool.stats())) ++wrong;
                                   return true;
                               }};
    std::vector<bulkhead::future<int>> all;
    for (int i = 0; i != 20; ++i) {
        all.push_back(pool.submit(options, fail_at_first, file(std::to_string(i)), i % 5));
    }
    for (std::size_t i = 0; i != all.size(); ++i) {
        if (i % 5 == 4) {
            (void)error_of<std::out_of_range>(std::move(all[i]));
        } else {
            BOOST_TEST(all[i].get() == 42);
        }
    }
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(a_task_that_is_tried_for_ever_can_be_cancelled_and_terminated) {
    const task_options for_ever{.retries = 1'000'000'000, .retry_on = any_exception};
    const auto fails = [] { throw std::runtime_error("again"); };
    process_pool pool(2);
    for (int i = 0; i != 50; ++i) {
        auto f = pool.submit(for_ever, fails);
        until([&, before = pool.stats().retried] { return pool.stats().retried > before; });
        // It may have failed in that very moment: then that is its end.
        const bool took_effect = f.cancel();
        BOOST_TEST(took_effect == f.cancelled());
        BOOST_TEST(f.done());
    }
    auto f = pool.submit(for_ever, fails);
    pool.terminate();
    (void)error_of<bulkhead::task_cancelled>(std::move(f));
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_CASE(a_threads_task_that_cannot_be_repeated_is_refused) {
    thread_pool pool(1);
    const task_options options{.retries = 1, .retry_on = any_exception};
    BOOST_CHECK_THROW(
        (void)pool.submit(
            options, [](std::unique_ptr<int> x) { return *x; }, std::make_unique<int>(1)),
        bulkhead::usage_error);
    BOOST_CHECK_THROW((void)pool.submit(task_options{.retries = -1}, square, 1),
                      bulkhead::usage_error);
    BOOST_TEST(pool.submit(
                       options, [](std::string s) { return s.size(); }, "four")
                   .get() == 4U);
}

BOOST_AUTO_TEST_CASE(times_are_kept) {
    process_pool pool(1);
    for (int i = 0; i != 5; ++i) pool.submit([] { ::usleep(30'000); }).get();
    std::vector<bulkhead::future<void>> all;
    for (int i = 0; i != 5; ++i) all.push_back(pool.submit([] { ::usleep(30'000); }));
    for (auto& f : all) f.get();
    const auto s = pool.stats();
    BOOST_TEST(s.run_time.count() == 10U);
    BOOST_TEST((s.run_time.percentile(50) >= 30ms));
    BOOST_TEST((s.run_time.max() >= s.run_time.percentile(99)));
    // The last one waited for four others.
    BOOST_TEST((s.queue_wait.max() >= 120ms));
    BOOST_TEST((s.queue_wait.percentile(0) < 120ms));
}

BOOST_AUTO_TEST_CASE(a_cancel_while_it_is_asked_whether_to_retry_is_heeded_by_threads) {
    thread_pool pool(1);
    const auto decide = [this](const std::exception_ptr&) {
        announce(file("asked"));
        await(file("cancelled"));
        return true;
    };
    auto f =
        pool.submit(task_options{.retries = 5, .retry_on = decide}, fail_at_first, file("log"), 9);
    await(file("asked"));
    (void)f.cancel();
    announce(file("cancelled"));
    BOOST_CHECK_THROW((void)f.get(), std::out_of_range);
    BOOST_TEST(lines_of(file("log")).size() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
