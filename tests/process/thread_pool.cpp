// The same interface in threads of this process.
#include "support/program.hpp"
#include "support/scene.hpp"

#include <atomic>
#include <future>
#include <memory>
#include <ranges>
#include <set>
#include <span>
#include <stop_token>
#include <string>

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::remote_info;
using bulkhead::task_cancelled;
using bulkhead::task_options;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(thread_pool, scene)

BOOST_AUTO_TEST_CASE(tasks_run_in_this_process_on_as_many_threads_as_asked) {
    bulkhead::thread_pool pool(3);
    std::atomic<int> inside{0};
    std::vector<future<std::thread::id>> all;
    for (int i = 0; i != 3; ++i) {
        all.push_back(pool.submit([&] {
            ++inside;
            until([&] { return inside == 3; });  // only three at once get past here
            return std::this_thread::get_id();
        }));
    }
    std::set<std::thread::id> threads;
    for (auto& f : all) threads.insert(f.get());
    BOOST_TEST(threads.size() == 3U);
    BOOST_TEST(!threads.contains(std::this_thread::get_id()));
    BOOST_TEST(pool.submit(whoami).get() == ::getpid());
    BOOST_TEST(pool.workers().size() == 3U);
}

BOOST_AUTO_TEST_CASE(any_callable_and_movable_arguments_will_do) {
    bulkhead::thread_pool pool(2);
    const std::string captured = "cap";
    BOOST_TEST(pool.submit([captured] { return captured + "tured"; }).get() == "captured");
    BOOST_TEST(pool.submit(std::function<int(int)>(square), 5).get() == 25);
    BOOST_TEST(
        *pool.submit([](std::unique_ptr<int> p) { return p; }, std::make_unique<int>(7)).get() ==
        7);
    int changed = 0;
    pool.submit([](int& x) { x = 5; }, std::ref(changed)).get();
    BOOST_TEST(changed == 5);
    BOOST_TEST(pool.submit(&std::string::size, std::string("four")).get() == 4U);
    BOOST_TEST(pool.submit([owned = std::make_unique<int>(3)] { return *owned; }).get() == 3);
}

BOOST_AUTO_TEST_CASE(a_task_holds_nothing_once_it_has_ended) {
    bulkhead::thread_pool pool(1);
    auto watched = std::make_shared<int>(1);
    auto f = pool.submit([watched](const std::shared_ptr<int>& p) { return *p; }, watched);
    f.wait();
    until([&] { return watched.use_count() == 1; });
    BOOST_TEST(f.get() == 1);

    auto cancelled = pool.submit(
        [](std::stop_token token, std::shared_ptr<int> p, const fs::path& started) {
            (void)until_stopped(token, started);
            return p;
        },
        watched, file("on"));
    await(file("on"));
    BOOST_TEST(cancelled.cancel());
    cancelled.wait();
    until([&] { return watched.use_count() == 1; });
    BOOST_TEST(cancelled.cancelled());
}

BOOST_AUTO_TEST_CASE(what_a_parameter_refers_to_is_not_converted) {
    struct shape {
        virtual ~shape() = default;
        [[nodiscard]] virtual int corners() const { return 0; }
    };
    struct square_shape : shape {
        [[nodiscard]] int corners() const override { return 4; }
    };
    bulkhead::thread_pool pool(1);
    BOOST_TEST(pool.submit([](const shape& s) { return s.corners(); }, square_shape()).get() == 4);
    const std::vector<double> numbers{1, 2};
    const std::span<const double> seen(numbers);
    BOOST_TEST(pool.submit([](std::span<const double> s) { return s.data(); }, seen).get() ==
               numbers.data());
    // A view into what the caller keeps is one in the result too.
    const char* const text = "kept";
    BOOST_TEST(static_cast<const void*>(
                   pool.submit([](std::string_view s) { return s; }, text).get().data()) == text);
    int here = 1;
    pool.submit([](int& there) { ++there; }, std::ref(here)).get();
    BOOST_TEST(here == 2);
}

BOOST_AUTO_TEST_CASE(arguments_may_use_the_pool_while_they_are_converted) {
    bulkhead::thread_pool pool(1);
    struct asking {
        bulkhead::thread_pool* of;
        operator std::size_t() const { return of->workers().size(); }
    };
    const auto same = [](std::size_t count) { return count; };
    BOOST_TEST(pool.submit(same, asking{&pool}).get() == 1U);
    BOOST_TEST(pool.try_submit(same, asking{&pool})->get() == 1U);
}

BOOST_AUTO_TEST_CASE(
    arguments_that_do_not_convert_fail_their_future_and_its_callbacks_are_reported) {
    struct never {
        operator int() const { throw std::domain_error("no int"); }
    };
    std::string reported;  // by this thread: the task has ended already
    bulkhead::thread_pool pool({.workers = 1, .on_event = [&](const bulkhead::pool_event& e) {
                                    reported = e.task_name + ": " + e.message;
                                }});
    auto f = pool.submit(
        task_options{.name = "refused"}, [](int x) { return x; }, never());
    f.on_done([] { throw std::runtime_error("in a callback"); });
    BOOST_TEST(contains(reported, "refused: "));
    BOOST_TEST(contains(reported, "in a callback"));
    BOOST_CHECK_THROW((void)f.get(), std::domain_error);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_copied_is_converted_by_each_run) {
    struct only_moved {
        only_moved(int x) : held(std::make_unique<int>(x)) {}
        std::unique_ptr<int> held;
    };
    bulkhead::thread_pool pool(1);
    std::atomic<int> runs{0};
    const auto fail_once = [&runs](const only_moved& one) {
        if (++runs == 1) throw std::domain_error("once");
        return *one.held;
    };
    const task_options again{.retries = 1, .retry_on = bulkhead::any_exception};
    BOOST_TEST(pool.submit(again, fail_once, 3).get() == 3);
}

BOOST_AUTO_TEST_CASE(exceptions_arrive_as_in_a_process_pool) {
    bulkhead::thread_pool pool(1);
    try {
        pool.submit(task_options{.name = "t"}, [] { throw std::out_of_range("here"); }).get();
        BOOST_ERROR("nothing was thrown");
    } catch (const std::out_of_range& e) {
        BOOST_TEST(e.what() == "here");
        const auto& info = dynamic_cast<const remote_info&>(e);
        BOOST_TEST(info.pid() == ::getpid());
        BOOST_TEST(info.task_name() == "t");
        BOOST_TEST(info.type_name() == "std::out_of_range");
    }
    BOOST_TEST(error_of<bulkhead::remote_error>(pool.submit([] { throw 5; })).type_name() == "int");
}

BOOST_AUTO_TEST_CASE(a_running_task_that_takes_a_token_is_cancelled_and_one_that_does_not_goes_on) {
    bulkhead::thread_pool pool(1);
    auto f = pool.submit(
        [](std::stop_token token, const fs::path& started, const fs::path& release) {
            (void)until_stopped(token, started);
            await(release);
            return 5;
        },
        file("on"), file("release"));
    await(file("on"));
    BOOST_TEST(f.cancel());
    BOOST_TEST(f.cancel());
    BOOST_TEST(!f.done());  // what it refers to is still in use
    BOOST_TEST(!f.cancelled());
    announce(file("release"));
    f.wait();
    BOOST_TEST(f.cancelled());
    BOOST_TEST(f.cancel());
    (void)error_of<task_cancelled>(std::move(f));

    auto deaf = pool.submit(hold, file("on2"), file("go"));
    await(file("on2"));
    BOOST_TEST(!deaf.cancel());
    announce(file("go"));
    BOOST_TEST(deaf.get() == ::getpid());

    pool.join();
    const auto figures = pool.stats();
    BOOST_TEST(figures.cancelled == 1U);
    BOOST_TEST(figures.succeeded == 1U);
    BOOST_TEST(figures.failed == 0U);
}

BOOST_AUTO_TEST_CASE(a_cancelled_task_that_throws_is_cancelled_and_one_that_has_ended_is_not) {
    bulkhead::thread_pool pool(1);
    auto f = pool.submit(
        [](std::stop_token token, const fs::path& started) {
            (void)until_stopped(token, started);
            throw std::runtime_error("stopped");
        },
        file("on"));
    await(file("on"));
    BOOST_TEST(f.cancel());
    (void)error_of<task_cancelled>(std::move(f));

    auto quick = pool.submit([](std::stop_token, int x) { return x; }, 3);
    quick.wait();
    BOOST_TEST(!quick.cancel());
    BOOST_TEST(quick.get() == 3);
}

BOOST_AUTO_TEST_CASE(terminate_asks_what_runs_to_stop_and_cancels_what_waits) {
    bulkhead::thread_pool pool(1);
    auto running = pool.submit(until_stopped, file("on"));
    std::vector<future<int>> queued;
    for (int i = 0; i != 20; ++i) queued.push_back(pool.submit(square, i));
    await(file("on"));
    pool.terminate();
    (void)error_of<task_cancelled>(std::move(running));
    for (auto& f : queued) (void)error_of<task_cancelled>(std::move(f));
}

BOOST_AUTO_TEST_CASE(tasks_may_submit_to_their_own_pool_and_not_join_it) {
    bulkhead::thread_pool pool({.workers = 1, .backlog_max = 1});
    auto f = pool.submit([&] {
        std::vector<future<int>> more;
        for (int i = 0; i != 10; ++i) more.push_back(pool.submit(square, i));
        bool refused = false;
        try {
            pool.join();
        } catch (const bulkhead::usage_error&) {
            refused = true;
        }
        return refused;
    });
    BOOST_TEST(f.get());
    pool.join();
    BOOST_TEST(pool.stats().succeeded == 11U);
}

BOOST_AUTO_TEST_CASE(workers_tell_which_task_they_run) {
    bulkhead::thread_pool pool(2);
    auto f = pool.submit(task_options{.name = "named"}, hold, file("on"), file("go"));
    await(file("on"));
    int named = 0;
    for (const auto& worker : pool.workers()) {
        BOOST_TEST(worker.pid == ::getpid());
        if (worker.task_name == "named" && worker.state == bulkhead::worker_state::busy) ++named;
    }
    BOOST_TEST(named == 1);
    BOOST_TEST(pool.stats().running == 1U);
    announce(file("go"));
    f.wait();
}

BOOST_AUTO_TEST_CASE(a_pool_can_be_resized_and_runs_as_many_tasks_at_a_time) {
    bulkhead::thread_pool pool(2);
    for (const int size : {5, 1, 12, 3, 1, 8}) {
        pool.resize(size);
        BOOST_TEST(pool.workers().size() == static_cast<std::size_t>(size));
        std::atomic<int> inside{0};
        std::atomic<int> most{0};
        std::vector<future<void>> all;
        for (int i = 0; i != 3 * size; ++i) {
            all.push_back(pool.submit([&] {
                const int now = ++inside;
                for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
                }
                until([&] { return most == size; });  // so many get in at once
                --inside;
            }));
        }
        for (auto& f : all) f.get();
        BOOST_TEST(most == size);
    }
    BOOST_CHECK_THROW(pool.resize(-1), bulkhead::usage_error);
    BOOST_CHECK_THROW(pool.resize(4097), bulkhead::usage_error);
    pool.resize(0);
    BOOST_TEST(!pool.workers().empty());
}

BOOST_AUTO_TEST_CASE(tasks_of_tasks_find_the_threads_that_came_by_a_resize) {
    bulkhead::thread_pool pool(1);
    pool.resize(2);
    auto outer = pool.submit([&] { return pool.submit(square, 3).get() + 1; });
    BOOST_TEST(outer.get() == 10);
    pool.resize(3);
    auto deeper = pool.submit(
        [&] { return pool.submit([&] { return pool.submit(square, 4).get() + 1; }).get() + 1; });
    BOOST_TEST(deeper.get() == 18);
}

BOOST_AUTO_TEST_CASE(results_need_not_travel) {
    struct reserved {
        explicit reserved(int x) : value(std::make_shared<int>(x)) {}
        std::shared_ptr<int> value;
    };
    bulkhead::thread_pool pool(2);
    BOOST_TEST(*pool.submit([](int x) { return reserved(x); }, 5).get().value == 5);
    BOOST_TEST(*pool.submit([] { return std::make_shared<int>(6); }).get() == 6);
    struct base {
        virtual ~base() = default;
        [[nodiscard]] virtual int value() const = 0;
    };
    struct derived final : base {
        [[nodiscard]] int value() const override { return 8; }
    };
    BOOST_TEST(pool.submit([]() -> std::unique_ptr<base> { return std::make_unique<derived>(); })
                   .get()
                   ->value() == 8);
    BOOST_TEST(pool.submit([] { return std::vector<std::promise<int>>(3); }).get().size() == 3U);
    static int seven = 7;
    BOOST_TEST(pool.submit([] { return &seven; }).get() == &seven);
}

BOOST_AUTO_TEST_CASE(a_thread_that_cannot_be_started_is_an_error_and_no_wait) {
    for (const char* what : {"thread_pool", "process_pool", "process"}) {
        int failed = 0;
        for (int count = 1; count != 16; ++count) {
            program one(*this, "few_threads", {what, std::to_string(count)});
            const auto status = one.wait();
            BOOST_TEST(status.success(), what << " " << count << ": " << status.to_string());
            const auto said = one.out();
            if (said == "49") continue;
            ++failed;
            const auto kind = what == std::string("thread_pool")
                                  ? "error: bulkhead: a thread cannot"
                                  : "pool_broken: bulkhead: ";
            BOOST_TEST(said.starts_with(kind), what << " " << count << ": " << said);
        }
        BOOST_TEST(failed != 0);
    }
}

BOOST_AUTO_TEST_CASE(tasks_are_neither_lost_nor_stuck_while_a_pool_is_resized) {
    bulkhead::thread_pool pool(4);
    std::atomic<bool> stop{false};
    std::jthread resizer([&] {
        for (int size = 1; !stop; size = size % 7 + 1) pool.resize(size);
    });
    for (int round = 0; round != 50; ++round) {
        std::vector<future<int>> all;
        for (int i = 0; i != 200; ++i) all.push_back(pool.submit(square, i));
        for (int i = 0; i != 200; ++i) BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
    }
    std::vector<future<int>> cancelled;
    for (int i = 0; i != 500; ++i) cancelled.push_back(pool.submit(square, i));
    for (auto& f : cancelled) (void)f.cancel();
    for (auto& f : cancelled) f.wait();
    stop = true;
    resizer.join();
    // While another thread shuts it down.
    auto f = pool.submit([&] {
        announce(file("on"));
        await(file("go"));
        pool.resize(9);
    });
    await(file("on"));
    std::jthread closer([&] { pool.shutdown(); });
    announce(file("go"));
    f.get();
    closer.join();
    pool.resize(20);
}

BOOST_AUTO_TEST_CASE(a_task_cannot_shut_its_pool_down_whoever_else_does) {
    bulkhead::thread_pool pool(1);
    auto f = pool.submit([&] {
        announce(file("on"));
        await(file("go"));
        pool.shutdown();
    });
    await(file("on"));
    std::jthread closer([&] { pool.shutdown(); });
    until([&] {
        try {
            (void)pool.submit(square, 1);
        } catch (const bulkhead::pool_closed&) {
            return true;
        }
        return false;
    });
    announce(file("go"));
    BOOST_CHECK_THROW(f.get(), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(a_callback_that_takes_long_keeps_no_task_from_idle_threads) {
    std::atomic<bool> in_callback{false};
    std::atomic<bool> over{false};
    bulkhead::thread_pool pool(2);
    auto slow = pool.submit([] { ::usleep(1000); });
    slow.on_done([&] {
        in_callback = true;
        until([&] { return over.load(); });
    });
    until([&] { return in_callback.load(); });
    BOOST_TEST(pool.submit([] { return 1; }).get() == 1);
    over = true;
}

BOOST_AUTO_TEST_CASE(cancelled_tasks_do_not_pile_up_behind_one_that_runs) {
    struct counted {
        explicit counted(std::atomic<int>& alive) : count(&alive) { ++*count; }
        counted(const counted& other) : count(other.count) { ++*count; }
        ~counted() { --*count; }
        std::atomic<int>* count;
    };
    std::atomic<int> alive{0};
    std::atomic<bool> over{false};
    std::atomic<bool> runs{false};
    bulkhead::thread_pool pool(1);
    auto running = pool.submit([&] {
        runs = true;
        until([&] { return over.load(); });
    });
    until([&] { return runs.load(); });
    auto kept = pool.submit([] { return 5; });
    int most = 0;
    for (int i = 0; i != 5000; ++i) {
        // What the watcher holds lives as long as the task's object does.
        auto f = pool.submit(
            bulkhead::task_options{
                .on_progress = [guard = counted(alive)](const bulkhead::task_progress&) {}},
            [] {});
        BOOST_TEST_REQUIRE(f.cancel());
        most = std::max(most, alive.load());
    }
    BOOST_TEST(most < 300);
    over = true;
    BOOST_TEST(kept.get() == 5);
    running.get();
    pool.shutdown();
    BOOST_TEST(alive == 0);
}

BOOST_AUTO_TEST_CASE(arguments_survive_a_pool_that_is_closed) {
    bulkhead::thread_pool pool(1);
    pool.close();
    std::string text = "still here, and too long for a small string";
    BOOST_CHECK_THROW(pool.submit([](const std::string& s) { return s.size(); }, std::move(text)),
                      bulkhead::pool_closed);
    BOOST_TEST(text == "still here, and too long for a small string");
}

/// As a program's own view of a string may look.
struct text_view {
    text_view(const std::string& text)  // NOLINT(google-explicit-constructor): as views are
        : at(text.data()), size(text.size()) {}
    const char* at;
    std::size_t size;
};
std::string text_of(text_view view) { return {view.at, view.size}; }

BOOST_AUTO_TEST_CASE(a_view_of_an_argument_is_made_in_the_task) {
    bulkhead::thread_pool pool(1);
    const auto longer = [](int i) { return std::to_string(i) + " and more than a small string"; };
    BOOST_TEST(pool.submit(text_of, longer(7)).get() == longer(7));
    int i = 0;
    for (const auto& text :
         pool.map(text_of, std::views::iota(0, 3) | std::views::transform(longer))) {
        BOOST_TEST(text == longer(i++));
    }
    BOOST_TEST(i == 3);
}

BOOST_AUTO_TEST_SUITE_END()
