// Completion tokens of Asio: tasks and queue operations on executors of the program.
#include "support/forked.hpp"
#include "support/scene.hpp"

#include <bulkhead/asio.hpp>

#include <boost/asio.hpp>
#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/experimental/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/promise.hpp>
#include <boost/asio/experimental/use_promise.hpp>

#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <variant>

namespace {

using namespace test;
namespace net = boost::asio;
using namespace net::experimental::awaitable_operators;
using bulkhead::process_pool;
using bulkhead::queue;
using bulkhead::task_cancelled;
using bulkhead::task_options;
using net::use_awaitable;

int fail(int) { throw std::out_of_range("here"); }
int crash(int) {
    std::raise(SIGSEGV);
    return 0;
}
std::unique_ptr<int> boxed(int x) { return std::make_unique<int>(x); }
std::string echo(std::string text) { return text; }

[[noreturn]] void hang_on(const fs::path& started) {
    std::signal(SIGTERM, SIG_IGN);
    hang(started);
}

void put_numbers(queue<int> to, int count) {
    for (int i = 0; i != count; ++i) to.put(i);
}

/// What a handler was called with.
template <class T>
struct outcome {
    int calls = 0;
    std::exception_ptr error;
    std::optional<T> value;

    auto handler() {
        return [this](std::exception_ptr why, T result) {
            ++calls;
            error = std::move(why);
            value = std::move(result);
        };
    }
    template <class E>
    [[nodiscard]] bool failed_as() const {
        try {
            if (error) std::rethrow_exception(error);
        } catch (const E&) {
            return true;
        }
        return false;
    }
};

template <class F>
void run_coroutine(F&& body) {
    net::io_context io;
    std::exception_ptr failure;
    net::co_spawn(io, std::forward<F>(body), [&](std::exception_ptr error) { failure = error; });
    io.run();
    if (failure) std::rethrow_exception(failure);
}

/// Ends when a task has announced itself, without keeping its executor from others.
net::awaitable<void> announced(fs::path file) {
    net::steady_timer timer(co_await net::this_coro::executor);
    while (!fs::exists(file)) {
        timer.expires_after(1ms);
        co_await timer.async_wait(use_awaitable);
    }
}

/// Threads that the library has for queues.
int queue_threads() {
    int count = 0;
    for (const auto& thread : fs::directory_iterator("/proc/self/task")) {
        if (content(thread.path() / "comm") == "bulkhead-queue\n") ++count;
    }
    return count;
}

/// Counts what is allocated through it and not freed.
template <class T>
struct counting_allocator {
    using value_type = T;
    std::atomic<int>* blocks;
    std::atomic<int>* ever;

    counting_allocator(std::atomic<int>& b, std::atomic<int>& e) : blocks(&b), ever(&e) {}
    template <class U>
    counting_allocator(const counting_allocator<U>& other)
        : blocks(other.blocks), ever(other.ever) {}
    T* allocate(std::size_t count) {
        ++*blocks;
        ++*ever;
        return std::allocator<T>().allocate(count);
    }
    void deallocate(T* at, std::size_t count) {
        --*blocks;
        std::allocator<T>().deallocate(at, count);
    }
    template <class U>
    bool operator==(const counting_allocator<U>& other) const {
        return blocks == other.blocks;
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(asio, scene)

// ---- tokens and executors

template <class Pool>
void a_callback_runs_on_its_executor() {
    Pool pool(2);
    net::io_context io;
    const auto here = std::this_thread::get_id();
    int calls = 0;
    for (int i = 0; i != 5; ++i) {
        pool.async_submit(square, i,
                          net::bind_executor(io, [&, i](std::exception_ptr error, int value) {
                              BOOST_TEST(!error);
                              BOOST_TEST(value == i * i);
                              BOOST_TEST((std::this_thread::get_id() == here));
                              ++calls;
                          }));
    }
    pool.join();
    BOOST_TEST(calls == 0);
    io.run();
    BOOST_TEST(calls == 5);
}
BOOST_AUTO_TEST_CASE(a_callback_runs_on_its_executor_and_not_before) {
    a_callback_runs_on_its_executor<process_pool>();
    a_callback_runs_on_its_executor<bulkhead::thread_pool>();
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_callback_of_a_future_runs_on_the_executor_that_it_is_for, Pool,
                              executors) {
    Pool pool(1);
    net::io_context io;
    const auto here = std::this_thread::get_id();
    int calls = 0;
    auto coming = pool.submit(square, 3);
    coming.on_done(io.get_executor(), [&, moved = std::make_unique<int>(7)] {
        BOOST_TEST((std::this_thread::get_id() == here));
        BOOST_TEST(*moved == 7);
        ++calls;
    });
    coming.wait();
    coming.on_done(net::make_strand(net::any_io_executor(io.get_executor())),
                   [&](bulkhead::future<int> done) {
                       BOOST_TEST(done.get() == 9);
                       ++calls;
                   });
    coming.on_done(io, [&](bulkhead::future<int>& done) {
        BOOST_TEST(done.done());
        ++calls;
    });
    auto dropped = pool.submit(square, 4);
    dropped.on_done(io, [&](bulkhead::future<int>& done) {
        BOOST_TEST(done.get() == 16);
        ++calls;
    });
    dropped = {};
    pool.join();
    BOOST_TEST(calls == 0);
    io.run();
    BOOST_TEST(calls == 4);
    BOOST_CHECK_THROW(dropped.on_done(io, [] {}), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_callback_whose_context_goes_first_goes_with_it, Pool, executors) {
    Pool pool(1);
    const auto watched = std::make_shared<int>(1);
    std::atomic<bool> over{false};
    bulkhead::future<void> task;
    {
        net::io_context io;
        task = pool.submit([] { ::usleep(20'000); });
        task.on_done(io, [watched] { BOOST_ERROR("was called"); });
        task.on_done([&over] { over = true; });
    }
    BOOST_TEST(watched.use_count() == 1);
    pool.join();
    until([&] { return over.load(); });
}

BOOST_AUTO_TEST_CASE_TEMPLATE(executors_of_every_kind_are_called, Pool, executors) {
    Pool pool(1);
    net::io_context io;
    const auto here = std::this_thread::get_id();
    int calls = 0;
    const auto count = [&](const std::exception_ptr& error, int value) {
        BOOST_TEST(!error);
        BOOST_TEST(value == 25);
        BOOST_TEST((std::this_thread::get_id() == here));
        ++calls;
    };
    const net::any_io_executor any = io.get_executor();
    pool.async_submit(square, 5, net::bind_executor(any, count));
    pool.async_submit(square, 5, net::bind_executor(net::make_strand(any), count));
    pool.async_submit(square, 5, net::bind_executor(net::make_strand(io), count));
    pool.async_submit(square, 5, net::bind_executor(net::io_context::strand(io), count));
    pool.async_submit(
        square, 5,
        net::any_completion_handler<void(std::exception_ptr, int)>(net::bind_executor(io, count)));
    BOOST_TEST(calls == 0);
    io.run();
    BOOST_TEST(calls == 5);
}

BOOST_AUTO_TEST_CASE(a_handler_without_an_executor_runs_on_the_system_executor) {
    process_pool pool(1);
    const auto here = std::this_thread::get_id();
    std::promise<bool> told;
    pool.async_submit(square, 3, [&](std::exception_ptr, int value) {
        told.set_value(value == 9 && std::this_thread::get_id() != here);
    });
    BOOST_TEST(told.get_future().get());
}

BOOST_AUTO_TEST_CASE(a_handler_that_its_owner_keeps_can_be_given_again) {
    process_pool pool(1);
    queue<int> q;
    std::atomic<int> sum{0};
    std::function<void(std::exception_ptr, int)> add = [&](std::exception_ptr, int x) { sum += x; };
    const auto same = add;
    std::function<void(std::exception_ptr)> put = [&](std::exception_ptr error) {
        if (!error) sum += 100;
    };
    for (int round = 0; round != 2; ++round) {
        q.async_get(add);
        q.async_get(same);
        pool.async_submit(square, 3, add);
        pool.async_submit(square, 3, same);
        q.async_put(1, put);
        q.async_put(1, put);
    }
    until([&] { return sum == 4 * 1 + 4 * 9 + 4 * 100; });
}

/// Takes messages until there have been three, each time with a copy of itself.
struct taker {
    using executor_type = net::io_context::executor_type;
    net::io_context& on;
    queue<int> from;
    std::string& got;
    std::string text = "long enough to be on the heap, and so to be missed";

    [[nodiscard]] executor_type get_executor() const noexcept { return on.get_executor(); }
    void operator()(std::exception_ptr, int value) {
        got += std::to_string(value);
        if (got.size() != 3) from.async_get(*this);
        BOOST_TEST(text.size() == 50U);
    }
};
BOOST_AUTO_TEST_CASE(a_handler_may_give_a_copy_of_itself) {
    queue<int> q;
    q.put_all(std::vector{1, 2, 3});
    net::io_context io;
    std::string got;
    q.async_get(taker{io, q, got});
    io.run();
    BOOST_TEST(got == "123");
}

// Of Boost 1.81's promise, wait and completion must not run at once: one after the other, or in one thread.
BOOST_AUTO_TEST_CASE(a_promise_of_asio_gets_the_value) {
    queue<int> q;
    q.put(4);
    auto promised = q.async_get(net::experimental::use_promise);
    until([&] { return promised.completed(); });
    std::promise<int> told;
    promised([&](std::exception_ptr, int value) { told.set_value(value); });
    BOOST_TEST(told.get_future().get() == 4);

    net::io_context io;
    auto in_one_thread = q.async_get(net::bind_executor(io, net::experimental::use_promise));
    int got = 0;
    in_one_thread([&](std::exception_ptr, int value) { got = value; });
    q.put(5);
    io.run();
    BOOST_TEST(got == 5);
}

BOOST_AUTO_TEST_CASE(a_future_of_the_standard_library_gets_value_and_exception) {
    process_pool pool(2);
    BOOST_TEST(pool.async_submit(square, 7, net::use_future).get() == 49);
    auto failing = pool.async_submit(fail, 1, net::use_future);
    BOOST_CHECK_THROW((void)failing.get(), std::out_of_range);
    pool.async_submit([] {}, net::use_future).get();
    BOOST_TEST(*pool.async_submit(boxed, 5, net::use_future).get() == 5);
    bulkhead::thread_pool threads(1);
    BOOST_TEST(threads.async_submit(square, 7, net::use_future).get() == 49);
}

BOOST_AUTO_TEST_CASE(a_coroutine_awaits_tasks_of_both_pools) {
    process_pool pool(2);
    bulkhead::thread_pool threads(1);
    run_coroutine([&]() -> net::awaitable<void> {
        BOOST_TEST(co_await pool.async_submit(square, 7, use_awaitable) == 49);
        BOOST_TEST(co_await threads.async_submit(square, 8, use_awaitable) == 64);
        const task_options named{.name = "named"};
        BOOST_TEST(co_await pool.async_submit(named, echo, "text", use_awaitable) == "text");
        BOOST_TEST(*co_await pool.async_submit(boxed, 5, use_awaitable) == 5);
        co_await pool.async_submit([](std::stop_token) {}, use_awaitable);
        const auto [error, value] =
            co_await pool.async_submit(square, 2, net::experimental::as_tuple(use_awaitable));
        BOOST_TEST(!error);
        BOOST_TEST(value == 4);
        auto both = co_await (pool.async_submit(square, 3, use_awaitable) &&
                              threads.async_submit(square, 4, use_awaitable));
        BOOST_TEST((both == std::tuple(9, 16)));
    });
}

BOOST_AUTO_TEST_CASE(what_a_task_came_to_arrives_as_with_a_future) {
    process_pool pool(2);
    run_coroutine([&]() -> net::awaitable<void> {
        BOOST_CHECK_THROW(co_await pool.async_submit(fail, 1, use_awaitable), std::out_of_range);
        const task_options bad{.name = "bad"};
        try {
            co_await pool.async_submit(bad, crash, 1, use_awaitable);
            BOOST_ERROR("nothing was thrown");
        } catch (const bulkhead::worker_crashed& error) {
            BOOST_TEST(error.task_name() == "bad");
            BOOST_TEST(error.status().signal() == SIGSEGV);
        }
        const task_options short_{.timeout = 50ms};
        BOOST_CHECK_THROW(co_await pool.async_submit(
                              short_, [] { ::pause(); }, use_awaitable),
                          bulkhead::task_timeout);
        BOOST_TEST(co_await pool.async_submit(square, 7, use_awaitable) == 49);
        pool.close();
        BOOST_CHECK_THROW(co_await pool.async_submit(square, 7, use_awaitable),
                          bulkhead::pool_closed);
    });
}

BOOST_AUTO_TEST_CASE(a_deferred_operation_begins_when_it_is_called_with_copies) {
    std::optional<process_pool> pool(std::in_place, 1);
    std::string text = "before";
    auto first = pool->async_submit(append_line, file("ran"), text, net::deferred);
    auto second = pool->async_submit(square, 3, net::deferred);
    text = "after";
    pool->join();
    BOOST_TEST(!fs::exists(file("ran")));
    std::move(first)(net::use_future).get();
    BOOST_TEST((lines_of(file("ran")) == std::vector<std::string>{"before"}));
    pool.reset();
    auto late = std::move(second)(net::use_future);
    BOOST_CHECK_THROW((void)late.get(), bulkhead::pool_closed);
}

template <class Pool>
net::awaitable<std::string> echo_of_what_changes(Pool& pool) {
    char text[] = "then";
    auto later = pool.async_submit(echo, text, use_awaitable);
    text[0] = 'T';
    co_return co_await std::move(later);
}
BOOST_AUTO_TEST_CASE_TEMPLATE(arguments_are_converted_when_they_are_given, Pool, executors) {
    Pool pool(1);
    run_coroutine([&]() -> net::awaitable<void> {
        const std::string got = co_await echo_of_what_changes(pool);
        BOOST_TEST(got == "then");
    });
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_conversion_that_fails_is_told_to_the_handler, Pool, executors) {
    Pool pool(1);
    const char* const none = nullptr;
    auto given = pool.async_submit(echo, none, net::use_future);
    BOOST_CHECK_THROW((void)given.get(), std::logic_error);
    auto later = pool.async_submit(echo, none, net::deferred);
    BOOST_CHECK_THROW((void)std::move(later)(net::use_future).get(), std::logic_error);
}

BOOST_AUTO_TEST_CASE(a_thread_sees_the_text_that_was_given_and_no_copy) {
    bulkhead::thread_pool pool(1);
    const char* const text = "as it is";
    const auto same = [](std::string_view view) { return view; };
    BOOST_TEST(pool.async_submit(same, text, net::use_future).get().data() == text);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_closure_with_captures_is_a_task, Pool, executors) {
    Pool pool(1);
    int factor = 3;
    auto tripled = pool.async_submit([factor](int x) { return factor * x; }, 7, net::use_future);
    BOOST_TEST(tripled.get() == 21);
}

BOOST_AUTO_TEST_CASE(a_strand_is_honoured) {
    process_pool pool(2);
    net::thread_pool context(3);
    auto strand = net::make_strand(context);
    std::atomic<int> inside{0};
    int calls = 0;
    for (int i = 0; i != 200; ++i) {
        pool.async_submit(square, i, net::bind_executor(strand, [&](std::exception_ptr, int) {
                              BOOST_TEST(strand.running_in_this_thread());
                              BOOST_TEST(++inside == 1);
                              ++calls;
                              --inside;
                          }));
    }
    context.join();  // waits: each is outstanding work
    BOOST_TEST(calls == 200);
}

BOOST_AUTO_TEST_CASE(run_does_not_return_while_a_task_is_at_work) {
    process_pool pool(1);
    net::io_context io;
    outcome<pid_t> came;
    pool.async_submit(hold, file("on"), file("go"), net::bind_executor(io, came.handler()));
    const pid_t pid = await_pid(file("on"));
    BOOST_TEST(io.poll() == 0U);
    BOOST_TEST(!io.stopped());
    announce(file("go"));
    io.run();
    BOOST_TEST(came.calls == 1);
    BOOST_TEST(*came.value == pid);
}

BOOST_AUTO_TEST_CASE(ten_thousand_operations_complete_once_each) {
    process_pool pool(2);
    net::io_context io;
    std::vector<int> calls(10'000);
    for (int i = 0; i != 10'000; ++i) {
        pool.async_submit(square, i,
                          net::bind_executor(io, [&calls, i](std::exception_ptr error, int value) {
                              if (!error && value == i * i) ++calls[static_cast<std::size_t>(i)];
                          }));
    }
    io.run();
    BOOST_TEST((calls == std::vector<int>(10'000, 1)));
}

BOOST_AUTO_TEST_CASE(a_full_backlog_does_not_hold_the_caller) {
    process_pool pool({.workers = 1, .backlog_max = 1});
    net::io_context io;
    outcome<pid_t> held;
    pool.async_submit(hold, file("on"), file("go"), net::bind_executor(io, held.handler()));
    int calls = 0;
    for (int i = 0; i != 20; ++i) {
        pool.async_submit(square, i, net::bind_executor(io, [&](std::exception_ptr e, int) {
                              calls += e ? 0 : 1;
                          }));
    }
    BOOST_TEST(!pool.try_submit(square, 1).has_value());
    announce(file("go"));
    io.run();
    BOOST_TEST(calls == 20);
}

BOOST_AUTO_TEST_CASE(a_handler_waits_in_memory_of_its_allocator) {
    process_pool pool(1);
    net::io_context io;
    std::atomic<int> blocks{0};
    std::atomic<int> ever{0};
    int in_call = -1;
    auto handler = net::bind_allocator(counting_allocator<void>(blocks, ever),
                                       [&](std::exception_ptr, int) { in_call = blocks; });
    pool.async_submit(square, 1, net::bind_executor(io, handler));
    BOOST_TEST(blocks == 1);
    io.run();
    BOOST_TEST(in_call == 0);
    BOOST_TEST(ever == 1);
}

// ---- cancellation

BOOST_AUTO_TEST_CASE(the_loser_is_killed_with_its_worker_and_others_go_on) {
    process_pool pool(2);
    run_coroutine([&]() -> net::awaitable<void> {
        const auto won =
            co_await (pool.async_submit(hang, file("on"), use_awaitable) || announced(file("on")));
        BOOST_TEST(won.index() == 1U);
        BOOST_TEST(is_gone(await_pid(file("on"))));
        BOOST_TEST(co_await pool.async_submit(square, 7, use_awaitable) == 49);
        net::steady_timer never(co_await net::this_coro::executor, 1h);
        const auto quick = co_await (pool.async_submit(square, 8, use_awaitable) ||
                                     never.async_wait(use_awaitable));
        BOOST_TEST(std::get<0>(quick) == 64);
    });
    BOOST_TEST(pool.stats().cancelled == 1U);
    BOOST_TEST(pool.stats().crashed == 0U);
}

BOOST_AUTO_TEST_CASE(a_cancel_does_not_wait_for_the_worker_to_die) {
    process_pool pool({.workers = 1, .kill_grace = 300ms});
    net::io_context io;
    net::cancellation_signal signal;
    int calls = 0;
    pool.async_submit(hang_on, file("on"),
                      net::bind_cancellation_slot(
                          signal.slot(), net::bind_executor(io, [&](std::exception_ptr error) {
                              ++calls;
                              BOOST_CHECK_THROW(std::rethrow_exception(error), task_cancelled);
                          })));
    const pid_t pid = await_pid(file("on"));
    signal.emit(net::cancellation_type::terminal);
    BOOST_TEST(!is_dead(pid));
    BOOST_TEST(io.poll() == 0U);
    signal.emit(net::cancellation_type::terminal);
    io.run();
    BOOST_TEST(calls == 1);
    BOOST_TEST(is_gone(pid));
    signal.emit(net::cancellation_type::terminal);
}

BOOST_AUTO_TEST_CASE(a_cancelled_task_that_waits_never_runs) {
    process_pool pool(1);
    auto running = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    net::io_context io;
    net::cancellation_signal signal;
    std::exception_ptr error;
    pool.async_submit(
        append_line, file("ran"), "x",
        net::bind_cancellation_slot(
            signal.slot(), net::bind_executor(io, [&](std::exception_ptr why) { error = why; })));
    signal.emit(net::cancellation_type::total);
    io.run();
    BOOST_REQUIRE(error);
    BOOST_CHECK_THROW(std::rethrow_exception(error), task_cancelled);
    announce(file("go"));
    running.wait();
    pool.join();
    BOOST_TEST(!fs::exists(file("ran")));
}

BOOST_AUTO_TEST_CASE(a_task_in_a_thread_is_asked_to_stop_and_is_cancelled_when_it_has) {
    bulkhead::thread_pool pool(1);
    net::io_context io;
    net::cancellation_signal signal;
    outcome<int> came;
    pool.async_submit(
        until_stopped, file("on"),
        net::bind_cancellation_slot(signal.slot(), net::bind_executor(io, came.handler())));
    await(file("on"));
    outcome<int> queued;
    net::cancellation_signal other;
    pool.async_submit(
        square, 3,
        net::bind_cancellation_slot(other.slot(), net::bind_executor(io, queued.handler())));
    other.emit(net::cancellation_type::all);
    signal.emit(net::cancellation_type::all);
    io.run();
    BOOST_TEST(came.failed_as<task_cancelled>());
    BOOST_TEST(queued.failed_as<task_cancelled>());
}

BOOST_AUTO_TEST_CASE(a_cancel_that_races_the_end_has_one_completion) {
    constexpr int rounds = sanitized ? 500 : 3000;
    process_pool pool(2);
    net::io_context io;
    int cancelled = 0;
    for (int i = 0; i != rounds; ++i) {
        net::cancellation_signal signal;
        outcome<int> came;
        pool.async_submit(
            square, 3,
            net::bind_cancellation_slot(signal.slot(), net::bind_executor(io, came.handler())));
        for (int spin = 0; spin < i % 100 * 60; ++spin) (void)io.poll();
        signal.emit(net::cancellation_type::all);
        io.run();
        io.restart();
        BOOST_REQUIRE(came.calls == 1);
        if (came.error) {
            ++cancelled;
            BOOST_TEST(came.failed_as<task_cancelled>());
        } else {
            BOOST_TEST(*came.value == 9);
        }
    }
    BOOST_TEST_MESSAGE(cancelled << " of " << rounds << " were cancelled");
}

// ---- ends of pools and contexts

BOOST_AUTO_TEST_CASE(a_terminated_pool_completes_what_is_pending_as_cancelled) {
    process_pool pool(1);
    net::io_context io;
    int cancelled = 0;
    for (int i = 0; i != 10; ++i) {
        pool.async_submit(hang, file("on"), net::bind_executor(io, [&](std::exception_ptr error) {
                              BOOST_CHECK_THROW(std::rethrow_exception(error), task_cancelled);
                              ++cancelled;
                          }));
    }
    await(file("on"));
    pool.terminate();
    io.run();
    BOOST_TEST(cancelled == 10);
}

BOOST_AUTO_TEST_CASE(a_destroyed_context_destroys_its_handlers_and_calls_none) {
    process_pool pool(1);
    queue<int> q;
    auto watched = std::make_shared<int>(1);
    bool called = false;
    {
        net::io_context io;
        const auto handler = [&called, watched](auto&&...) { called = true; };
        pool.async_submit(hold, file("on"), file("go"), net::bind_executor(io, handler));
        pool.async_submit(square, 1, net::bind_executor(io, handler));
        pool.async_join(net::bind_executor(net::make_strand(io), handler));
        for (int i = 0; i != 3; ++i) q.async_get(net::bind_executor(io, handler));
        net::co_spawn(
            io,
            [&q, &called, held = watched]() -> net::awaitable<void> {
                (void)co_await q.async_get(use_awaitable);
                called = true;
            },
            net::detached);
        io.poll();
        await(file("on"));
        BOOST_TEST(watched.use_count() > 7);
    }
    BOOST_TEST(watched.use_count() == 1);
    q.put(5);
    announce(file("go"));
    pool.join();
    BOOST_TEST(!called);
    BOOST_TEST(q.get() == 5);
}

BOOST_AUTO_TEST_CASE(contexts_come_and_go_while_tasks_end) {
    process_pool pool(2);
    queue<int> q;
    std::atomic<int> calls{0};
    auto watched = std::make_shared<int>(1);
    for (int round = 0; round != 100; ++round) {
        net::io_context io;
        const auto handler = [&calls, watched](auto&&...) { ++calls; };
        for (int i = 0; i != 20; ++i) {
            pool.async_submit(square, i, net::bind_executor(io, handler));
            q.async_put(i, net::bind_executor(io, handler));
            q.async_get(net::bind_executor(io, handler));
        }
        for (int i = 0; i != round; ++i) io.poll_one();
    }
    pool.join();
    BOOST_TEST(watched.use_count() == 1);
}

BOOST_AUTO_TEST_CASE(join_is_awaited_without_a_thread) {
    process_pool pool(1);
    bulkhead::thread_pool threads(1);
    run_coroutine([&]() -> net::awaitable<void> {
        const auto executor = co_await net::this_coro::executor;
        auto held = pool.submit(hold, file("on"), file("go"));
        net::steady_timer soon(executor, 20ms);
        const auto won =
            co_await (pool.async_join(use_awaitable) || soon.async_wait(use_awaitable));
        BOOST_TEST(won.index() == 1U);
        BOOST_TEST(!held.done());
        announce(file("go"));
        co_await pool.async_join(use_awaitable);
        BOOST_TEST(held.done());
        co_await pool.async_join(use_awaitable);
        auto other = threads.submit(square, 3);
        co_await threads.async_join(use_awaitable);
        BOOST_TEST(other.done());
    });
}

// ---- queues

BOOST_AUTO_TEST_CASE(a_get_waits_for_the_put_of_another_process) {
    queue<std::string> q;
    run_coroutine([&]() -> net::awaitable<void> {
        const auto executor = co_await net::this_coro::executor;
        net::steady_timer soon(executor, 1ms);
        soon.async_wait([&](auto) {
            bulkhead::process([](queue<std::string> to) { to.put("hi"); }, q).join();
        });
        BOOST_TEST(co_await q.async_get(use_awaitable) == "hi");
        co_await q.async_put("there", use_awaitable);
        BOOST_TEST(q.get() == "there");
    });
}

BOOST_AUTO_TEST_CASE(gets_are_served_in_their_order) {
    queue<int> q;
    net::io_context io;
    std::vector<int> came;
    for (int i = 0; i != 1000; ++i) {
        q.async_get(net::bind_executor(
            io, [&came](std::exception_ptr, int value) { came.push_back(value); }));
    }
    bulkhead::process writer(put_numbers, q, 1000);
    io.run();
    for (int i = 0; i != 1000; ++i) BOOST_REQUIRE(came[static_cast<std::size_t>(i)] == i);
    writer.join();
}

BOOST_AUTO_TEST_CASE(a_fork_is_served_too_also_when_it_came_beside_the_queues_thread) {
    queue<int> q;
    const auto get_and_put = [&q](int x) {
        net::io_context io;
        outcome<int> came;
        q.async_get(net::bind_executor(io, came.handler()));
        q.put(x);
        io.run();
        return came.value == x;
    };
    BOOST_TEST(get_and_put(1));
    // The thread, which the fork has not, waits for more just then.
    const pid_t child = forked([&] {
        for (int i = 0; i != 100; ++i) {
            if (!get_and_put(i)) throw std::runtime_error("another number came");
            std::this_thread::sleep_for(1ms);
        }
    });
    BOOST_TEST(ended(child) == 0);
    BOOST_TEST(get_and_put(2));
}

BOOST_AUTO_TEST_CASE(a_put_waits_for_room_and_puts_keep_their_order) {
    queue<std::string> q({.capacity_bytes = 1000});
    net::io_context io;
    std::vector<std::string> sent;
    int done = 0;
    for (int i = 0; i != 100; ++i) {
        sent.push_back(std::string(400, static_cast<char>('a' + i % 26)));
        q.async_put(sent.back(), net::bind_executor(
                                     io, [&](std::exception_ptr error) { done += error ? 0 : 1; }));
    }
    for (const auto& expected : sent) BOOST_REQUIRE(q.get() == expected);
    io.run();
    BOOST_TEST(done == 100);
}

BOOST_AUTO_TEST_CASE(a_cancelled_get_loses_no_message) {
    constexpr int rounds = sanitized ? 300 : 2000;
    queue<int> q;
    net::io_context io;
    int got = 0;
    int cancelled = 0;
    std::jthread writer([&] {
        for (int i = 0; i != rounds; ++i) {
            q.put(i);
            if (i % 7 == 0) std::this_thread::sleep_for(100us);
        }
    });
    while (got != rounds) {
        net::cancellation_signal signal;
        outcome<int> came;
        q.async_get(
            net::bind_cancellation_slot(signal.slot(), net::bind_executor(io, came.handler())));
        for (int spin = 0; spin < (got + cancelled) % 50; ++spin) (void)io.poll();
        signal.emit(net::cancellation_type::all);
        io.run();
        io.restart();
        BOOST_REQUIRE(came.calls == 1);
        if (came.error) {
            ++cancelled;
            BOOST_REQUIRE(came.failed_as<task_cancelled>());
        } else {
            BOOST_REQUIRE(*came.value == got++);
        }
    }
    BOOST_TEST_MESSAGE(cancelled << " gets were cancelled");
    BOOST_TEST(cancelled != 0);
}

BOOST_AUTO_TEST_CASE(a_cancelled_put_puts_nothing_and_lets_the_next_go_on) {
    queue<std::string> q({.capacity_bytes = 1000});
    const std::string large(800, 'x');
    q.put(large);
    net::io_context io;
    net::cancellation_signal signals[3];
    int cancelled = 0;
    int done = 0;
    for (auto& signal : signals) {
        q.async_put(large, net::bind_cancellation_slot(
                               signal.slot(), net::bind_executor(io, [&](std::exception_ptr why) {
                                   ++(why ? cancelled : done);
                               })));
    }
    q.async_put("small", net::bind_executor(
                             io, [&](std::exception_ptr why) { ++(why ? cancelled : done); }));
    for (auto& signal : signals) signal.emit(net::cancellation_type::terminal);
    io.run();
    BOOST_TEST(cancelled == 3);
    BOOST_TEST(done == 1);
    BOOST_TEST(q.get() == large);
    BOOST_TEST(q.get() == "small");
    BOOST_TEST(!q.try_get());
}

BOOST_AUTO_TEST_CASE(a_closed_queue_completes_gets_and_puts_with_queue_closed) {
    queue<int> q;
    run_coroutine([&]() -> net::awaitable<void> {
        q.put(1);
        net::steady_timer soon(co_await net::this_coro::executor, 5ms);
        soon.async_wait([&](auto) { q.close(); });
        BOOST_TEST(co_await q.async_get(use_awaitable) == 1);
        BOOST_CHECK_THROW(co_await q.async_get(use_awaitable), bulkhead::queue_closed);
        BOOST_CHECK_THROW(co_await q.async_put(1, use_awaitable), bulkhead::queue_closed);
    });
}

BOOST_AUTO_TEST_CASE(what_cannot_be_put_completes_with_the_reason) {
    queue<std::string> q({.capacity_bytes = 100});
    run_coroutine([&]() -> net::awaitable<void> {
        BOOST_CHECK_THROW(co_await q.async_put(std::string(200, 'x'), use_awaitable),
                          std::length_error);
        queue<queue<int>> handles;
        BOOST_CHECK_THROW(co_await handles.async_put(queue<int>(), use_awaitable),
                          bulkhead::codec_error);
    });
    BOOST_TEST(q.empty());
}

BOOST_AUTO_TEST_CASE(a_pending_operation_keeps_its_queue) {
    net::io_context io;
    outcome<std::string> came;
    const std::string name = "asio-test-" + std::to_string(::getpid());
    queue<std::string>::create(name).async_get(net::bind_executor(io, came.handler()));
    auto other = queue<std::string>::open(name);
    other.put("still there");
    queue<std::string>::remove(name);
    io.run();
    BOOST_TEST(*came.value == "still there");
}

BOOST_AUTO_TEST_CASE(the_threads_of_a_queue_end_with_its_operations) {
    until([] { return queue_threads() == 0; });
    queue<int> q({.capacity_bytes = 8});
    q.put(1);
    net::io_context io;
    outcome<int> came;
    q.async_put(2, net::bind_executor(io, [](std::exception_ptr) {}));
    BOOST_TEST(q.get() == 1);
    BOOST_TEST(q.get() == 2);
    q.async_get(net::bind_executor(io, came.handler()));
    until([] { return queue_threads() == 1; });  // the one for puts ends before
    q.put(3);
    io.run();
    BOOST_TEST(*came.value == 3);
    until([] { return queue_threads() == 0; });
}

BOOST_AUTO_TEST_SUITE_END()
