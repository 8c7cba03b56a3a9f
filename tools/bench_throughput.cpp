// What pools get done in a second. What the Python peers do is in bench_peers.py: keep them alike.
#include "bench_figure.hpp"

#include <bulkhead/bulkhead.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <cstring>
#include <future>
#include <ranges>
#include <sys/resource.h>

namespace bulkhead::tools {
namespace {

/// Bound the memory that a run's futures, or Python's lists, take.
constexpr std::uint64_t tasks_max = 1'000'000;
constexpr std::uint64_t map_items_max = 10'000'000;

constexpr std::size_t echo_mib = 16;

std::int64_t square(std::int64_t x) { return x * x; }
std::vector<int> echo(std::vector<int> values) { return values; }

/// Of `submit(x)`, which gives a future of x * x.
template <class Future, class Submit>
double submit_then_get(double run_s, Submit&& submit) {
    return operations_per_second(run_s, tasks_max, [&](std::uint64_t count) {
        std::vector<Future> results;
        results.reserve(count);
        std::int64_t sum = 0;
        const stopwatch clock;
        for (std::uint64_t i = 0; i != count; ++i) {
            results.push_back(submit(static_cast<std::int64_t>(i % 1000)));
        }
        for (auto& result : results) sum += result.get();
        const double seconds = clock.seconds();
        expect(sum > 0);
        return seconds;
    });
}

}  // namespace

double pool_tasks(double run_s, int workers) {
    process_pool pool(workers);
    return submit_then_get<future<std::int64_t>>(
        run_s, [&](std::int64_t x) { return pool.submit(square, x); });
}

namespace {

constexpr int threads = 2;

double thread_tasks(double run_s) {
    thread_pool pool(threads);
    return submit_then_get<future<std::int64_t>>(
        run_s, [&](std::int64_t x) { return pool.submit(square, x); });
}

double posted_promises(double run_s) {
    boost::asio::thread_pool pool(threads);
    return submit_then_get<std::future<std::int64_t>>(run_s, [&](std::int64_t x) {
        std::promise<std::int64_t> promise;
        auto result = promise.get_future();
        boost::asio::post(
            pool, [promise = std::move(promise), x]() mutable { promise.set_value(square(x)); });
        return result;
    });
}

double map_items(double run_s) {
    process_pool pool(2);
    return operations_per_second(run_s, map_items_max, [&](std::uint64_t count) {
        std::vector<std::int64_t> results;  // Pool.map gives a list
        results.reserve(count);
        const auto end = static_cast<std::int64_t>(count);
        const stopwatch clock;
        for (const std::int64_t y : pool.map(square, std::views::iota(std::int64_t{0}, end))) {
            results.push_back(y);
        }
        const double seconds = clock.seconds();
        expect(results.size() == count && results.back() == square(end - 1));
        return seconds;
    });
}

/// Arguments and results copied once each, which a map to another process needs at the least.
double loop_and_copies(double run_s) {
    return operations_per_second(run_s, map_items_max, [&](std::uint64_t count) {
        std::vector<std::int64_t> results;
        results.reserve(count);
        std::vector<std::int64_t> there(count);
        std::vector<std::int64_t> back(count);
        const std::size_t bytes = count * sizeof(std::int64_t);
        const stopwatch clock;
        std::int64_t next = 0;
        std::generate_n(std::back_inserter(results), count, [&] { return square(next++); });
        std::memcpy(there.data(), results.data(), bytes);
        asm volatile("" : : "r"(there.data()) : "memory");
        std::memcpy(back.data(), there.data(), bytes);
        asm volatile("" : : "r"(back.data()) : "memory");
        const double seconds = clock.seconds();
        expect(back.back() == square(next - 1));
        return seconds;
    });
}

double echo_mib_per_second(double run_s) {
    process_pool pool(1);
    const std::vector<int> values(echo_mib * (1 << 20) / sizeof(int), 7);
    return echo_mib * operations_per_second(run_s, unbounded, [&](std::uint64_t count) {
               const stopwatch clock;
               for (std::uint64_t i = 0; i != count; ++i) {
                   expect(pool.submit(echo, values).get().size() == values.size());
               }
               return clock.seconds();
           });
}

/// The caller gives its vector away and gets it back.
double moved_mib_per_second(double run_s) {
    process_pool pool(1);
    std::vector<int> values(echo_mib * (1 << 20) / sizeof(int), 7);
    const std::size_t size = values.size();
    return echo_mib * operations_per_second(run_s, unbounded, [&](std::uint64_t count) {
               const stopwatch clock;
               for (std::uint64_t i = 0; i != count; ++i) {
                   values = pool.submit(echo, std::move(values)).get();
               }
               expect(values.size() == size);
               return clock.seconds();
           });
}

/// Of this process and the worker.
double echo_faults(double) {
    process_pool pool(1);
    const std::vector<int> values(echo_mib * (1 << 20) / sizeof(int), 7);
    const auto faults = [] {
        rusage usage{};
        ::getrusage(RUSAGE_SELF, &usage);
        return usage.ru_minflt;
    };
    constexpr int echoes = 20;
    for (int i = 0; i != echoes; ++i) (void)pool.submit(echo, values).get();
    const long before = faults() + pool.submit(faults).get();
    for (int i = 0; i != echoes; ++i) (void)pool.submit(echo, values).get();
    return static_cast<double>(faults() + pool.submit(faults).get() - before) / echoes;
}

}  // namespace

std::vector<figure> throughput_figures() {
    std::vector<figure> figures;
    for (const int workers : {1, 2, 8, 64}) {
        const std::string count = std::to_string(workers);
        figures.push_back(of_library(
            "submit-" + count,
            "submit one by one, then get all, " + count + (workers == 1 ? " worker" : " workers"),
            "tasks/s", better::more,
            [workers](double run_s) { return pool_tasks(run_s, workers); }));
    }
    figures.push_back(
        of_library("map", "map(square, iota), 2 workers", "items/s", better::more, map_items));
    figures.back().contenders.push_back({"a plain loop and two memcpy", loop_and_copies});
    figures.push_back(of_library("echo", "16 MiB there and back, counted once, 1 worker", "MiB/s",
                                 better::more, echo_mib_per_second));
    figures.back().contenders.push_back({"bulkhead, the vector moved in", moved_mib_per_second});
    figures.push_back(of_library("echo-faults", "page faults of such an echo, on both sides", "",
                                 better::less, echo_faults));
    figures.push_back(of_library("threads",
                                 "thread_pool, submit one by one, then get all, 2 threads",
                                 "tasks/s", better::more, thread_tasks));
    figures.back().contenders.push_back({"asio::post, std::promise", posted_promises});
    return figures;
}

}  // namespace bulkhead::tools
