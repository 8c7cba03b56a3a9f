// The public interface as its contract tells it, as somebody else's program: prints 49 when all is right. What is
// beside it is in executors.cpp and memory.cpp.
#include "check.hpp"

#include <bulkhead/asio.hpp>
#include <bulkhead/bulkhead.hpp>

#include <boost/asio.hpp>

#include <csignal>
#include <deque>
#include <filesystem>
#include <iostream>
#include <list>
#include <map>
#include <mutex>
#include <ranges>
#include <set>
#include <shared_mutex>
#include <unistd.h>
#include <unordered_map>
#include <variant>

using namespace bulkhead;
using namespace std::chrono_literals;

namespace {

int square(int x) { return x * x; }
int add(int x, int y) { return x + y; }
void nothing() {}
std::size_t length(const std::string& text) { return text.size(); }
int crash(int) {
    std::raise(SIGSEGV);
    return 0;
}
[[noreturn]] void hang() {
    while (true) ::pause();
}
int wait_for_stop(std::stop_token stop, int x) {
    while (!stop.stop_requested()) ::usleep(1000);
    return x;
}
void refuse() { throw std::invalid_argument("refused"); }
void throw_number() { throw 5; }
std::unique_ptr<int> box(int x) { return std::make_unique<int>(x); }

struct point {
    int x = 0;
    std::string name;
    bool operator==(const point&) const = default;
};
using many_types =
    std::tuple<std::string, std::vector<int>, std::array<short, 3>, std::pair<int, char>,
               std::optional<double>, std::variant<int, std::string>, std::map<int, std::string>,
               std::set<int>, std::unordered_map<std::string, int>, std::deque<int>, std::list<int>,
               std::filesystem::path, std::chrono::milliseconds, point>;
many_types echo(many_types all) { return all; }

void tasks() {
    process_pool pool(3);
    process_pool pool2({.workers = 2, .task_timeout = 20s});
    thread_pool threads(3);
    CHECK(pool.submit(square, 7).get() == 49);
    CHECK(threads.submit(square, 7).get() == 49);
    CHECK(pool2
              .submit(task_options{.timeout = 10s, .retries = 2, .priority = 1, .name = "sq"},
                      square, 7)
              .get() == 49);
    std::optional<future<int>> h = pool.try_submit(square, 7);
    CHECK(h && h->get() == 49);
    CHECK(pool.submit([](int x) { return x + 1; }, 1).get() == 2);
    int captured = 5;
    CHECK(pool.submit([captured](int x) { return x + captured; }, 1).get() == 6);
    CHECK(pool.submit(length, "abc").get() == 3);
    CHECK(*pool.submit(box, 3).get() == 3);
    pool.submit(nothing).get();
    const many_types all{"text",    {1, 2},       {1, 2, 3}, {1, 'c'},    2.5,
                         "variant", {{1, "one"}}, {3, 4},    {{"a", 1}},  {5},
                         {6},       "/some/path", 7ms,       {8, "point"}};
    CHECK(pool.submit(echo, all).get() == all);

    int expected = 0;
    for (int y : pool.map(square, std::views::iota(0, 10))) CHECK(y == square(expected++));
    const std::vector<int> xs{1, 2, 3};
    const std::vector<int> ys{10, 20};
    std::vector<int> sums;
    for (int z : threads.map(add, xs, ys)) sums.push_back(z);
    CHECK((sums == std::vector{11, 22}));
    for (auto [i, y] : pool.map_unordered(square, xs)) CHECK(y == square(xs[i]));
    for (int y : pool.map(map_options{.chunk_size = 100, .lookahead_max = 64}, square, xs))
        CHECK(y > 0);

    const std::vector<worker_info> workers = pool.workers();
    CHECK(workers.size() == 3 && workers[0].pid > 0 && workers[0].state != worker_state::dead);
    CHECK(workers[0].rss_bytes > 0 && workers[0].task_name.empty());
    CHECK(workers[0].tasks_done + workers[1].tasks_done + workers[2].tasks_done > 0);
    CHECK(workers[0].restarts == 0);
    pool.resize(5);
    CHECK(pool.submit(square, 2).get() == 4);
    pool.close();
    (void)THROWN(pool_closed, pool.submit(square, 1));
    pool.join();
    const pool_stats stats = pool.stats();
    CHECK(stats.submitted == stats.succeeded && stats.queued + stats.running + stats.failed == 0);
    CHECK(stats.crashed + stats.timed_out + stats.cancelled + stats.retried + stats.restarts == 0);
    CHECK(stats.run_time.percentile(50) <= stats.run_time.percentile(99));
    (void)stats.queue_wait.percentile(99);
    pool2.shutdown({.wait = false, .cancel_queued = true});
    threads.shutdown();
    process_pool doomed(1);
    auto never = doomed.submit(hang);
    doomed.terminate();
    (void)THROWN(task_cancelled, never.get());
}

void errors() {
    std::atomic<int> events{0};
    process_pool pool({.workers = 1,
                       .backlog_max = 1000,
                       .task_timeout = 10s,
                       .kill_grace = 100ms,
                       .tasks_per_worker_max = 1000,
                       .worker_memory_max_bytes = std::uint64_t{1} << 30,
                       .idle_timeout = 60s,
                       .initializer = nothing,
                       .crash_limit = 10,
                       .on_event = [&](const pool_event&) { ++events; },
                       .worker_output = discard});
    const auto crashed =
        THROWN(worker_crashed, pool.submit(task_options{.name = "c"}, crash, 1).get());
    CHECK(crashed.status().signal() == SIGSEGV && crashed.pid() > 0);
    CHECK(crashed.phase() == task_phase::run && crashed.task_name() == "c");
    CHECK(std::string(crashed.what()).find("killed by SIGSEGV") != std::string::npos);
    (void)crashed.stderr_tail();
    const auto late = THROWN(task_timeout, pool.submit(task_options{.timeout = 50ms}, hang).get());
    CHECK(late.timeout() == 50ms && late.pid() > 0);
    const auto told = THROWN(std::invalid_argument, pool.submit(refuse).get());
    CHECK(std::string(told.what()).find("refused") != std::string::npos);
    try {
        pool.submit(refuse).get();
    } catch (const remote_info& info) {
        CHECK(info.type_name() == "std::invalid_argument" && info.pid() > 0);
        CHECK(std::string(info.message()) == "refused" && info.task_name().empty());
    }
    const auto number = THROWN(remote_error, pool.submit(throw_number).get());
    CHECK(number.type_name() == "int");
    (void)THROWN(error, pool.submit(throw_number).get());
    (void)THROWN(std::exception, pool.submit(throw_number).get());
    (void)THROWN(usage_error, future<int>().get());
    CHECK(events > 0);
}

template <class Pool>
void futures(Pool& pool) {
    auto f = pool.submit(square, 3);
    CHECK(f.valid());
    f.wait();
    const bool in_time = f.wait_for(1ms);
    CHECK(in_time && f.wait_until(std::chrono::steady_clock::now()));
    CHECK(f.done() && !f.running() && !f.cancelled());
    std::atomic<int> calls{0};
    f.on_done([&] { ++calls; });
    CHECK(calls == 1 && f.get() == 9 && !f.valid());

    auto stopped = pool.submit(wait_for_stop, 4);
    while (!stopped.running()) ::usleep(1000);
    (void)stopped.cancel();
    try {
        CHECK(stopped.get() == 4);
    } catch (const task_cancelled&) {
    }
    std::vector<future<int>> all;
    for (int i = 0; i != 5; ++i) all.push_back(pool.submit(square, i));
    auto [done, pending] = wait(all, wait_for_first, 20s);
    CHECK(!done.empty() && done.size() + pending.size() == 5);
    CHECK(wait(all, wait_for_all).pending.empty());
    CHECK(wait(all, wait_for_first_error, 20s).done.size() == 5);
    int sum = 0;
    for (auto& one : as_completed(all)) sum += one.get();
    CHECK(sum == 30);
    all.clear();
    all.push_back(pool.submit(square, 6));
    for (auto& one : as_completed(all, 20s)) CHECK(one.get() == 36);
}

void fill(const queue<int>& q) {
    for (int i = 0; i != 10; ++i) q.put(i);
    q.close();
}

void queues() {
    const std::string name = "bulkhead-contract-" + std::to_string(::getpid());
    queue<int> q;
    process p(fill, q);
    CHECK(p.pid() > 0);
    int expected = 0;
    for (int v : q) CHECK(v == expected++);
    CHECK(expected == 10);
    CHECK(p.join().success() && !p.running() && p.join_for(2s) && p.status().exit_code() == 0);
    process hung(hang);
    hung.terminate();
    hung.kill();
    CHECK(hung.join().signaled());

    queue<int> large({.capacity_bytes = 1 << 20});
    CHECK(large.capacity_bytes() >= 1 << 20 && large.empty() && large.size() == 0);
    auto jobs = queue<std::string>::create(name, {.capacity_bytes = 1 << 16});
    auto same = queue<std::string>::open(name);
    auto again = queue<std::string>::open_or_create(name);
    jobs.put("one");
    CHECK(same.try_put("two") && again.put_for("three", 2s));
    CHECK(same.get() == "one" && jobs.try_get() == "two" && jobs.get_for(2s) == "three");
    CHECK(!jobs.try_get());
    same.task_done();
    same.task_done();
    same.task_done();
    jobs.join_tasks();
    (void)THROWN(std::length_error, (jobs.put(std::string(1 << 20, 'x')), 0));
    jobs.close();
    CHECK(jobs.closed());
    (void)THROWN(queue_closed, jobs.get());
    (void)queue<std::string>::remove(name);
}

int add_to(const guarded<int>& balance, const shared_value<std::atomic<int>>& hits,
           const shared_array<double>& a, const mutex& m, const barrier& together) {
    balance.with_lock([](int& b) { b += 5; });
    ++*hits;
    std::span<double> s = a;
    const std::scoped_lock both(m);
    s[1] += 1;
    (void)together;
    return static_cast<int>(s.size());
}

void locks() {
    guarded<int> balance(0);
    shared_value<std::atomic<int>> hits;
    shared_array<double> a(1'000);
    mutex m;
    barrier together(1);
    {
        process_pool pool(2);
        std::vector<future<int>> all;
        for (int i = 0; i != 10; ++i) {
            all.push_back(pool.submit(add_to, balance, hits, a, m, together));
        }
        for (auto& one : all) CHECK(one.get() == 1000);
    }
    CHECK(balance.with_lock([](int& b) { return b; }) == 50 && *hits == 10 && a[1] == 10);
    CHECK(m.lock() == lock_state::clean);
    m.unlock();
    recursive_mutex r;
    r.lock();
    CHECK(r.try_lock());
    r.unlock();
    r.unlock();
    shared_mutex sm;
    { const std::shared_lock share(sm); }
    { const std::unique_lock whole(sm); }
    semaphore permits(1);
    permits.acquire();
    CHECK(!permits.try_acquire());
    permits.release();
    event e;
    e.set();
    e.wait();
    CHECK(e.is_set());
    condition_variable cv;
    {
        std::unique_lock held(m);
        CHECK(!cv.wait_for(held, 1ms, [] { return false; }));
    }
    cv.notify_all();
    together.arrive_and_wait();
}

boost::asio::awaitable<void> by_coroutine(process_pool& pool, queue<int>& q, int& answer) {
    using boost::asio::use_awaitable;
    co_await q.async_put(7, use_awaitable);
    answer = co_await pool.async_submit(square, co_await q.async_get(use_awaitable), use_awaitable);
}

int asynchronous() {
    process_pool pool(2);
    queue<int> q;
    CHECK(pool.async_submit(square, 3, boost::asio::use_future).get() == 9);
    boost::asio::io_context io;
    int answer = 0;
    boost::asio::co_spawn(io, by_coroutine(pool, q, answer), [](std::exception_ptr failure) {
        if (failure) std::rethrow_exception(failure);
    });
    io.run();
    return answer;
}

}  // namespace

int main(int argc, char** argv) {
    init(argc, argv);
    tasks();
    errors();
    {
        process_pool processes(2);
        futures(processes);
        thread_pool threads(2);
        futures(threads);
    }
    queues();
    locks();
    std::cout << asynchronous() << '\n';
}
