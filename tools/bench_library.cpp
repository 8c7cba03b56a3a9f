// The library's own figures. What the Python peers do is in bench_python.cpp: keep them alike.
#include "bench_figure.hpp"

#include <bulkhead/bulkhead.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <ranges>
#include <stdexcept>

namespace bulkhead::tools {
namespace {

/// Bound the memory that a run's futures, or Python's lists, take.
constexpr std::uint64_t tasks_max = 1'000'000;
constexpr std::uint64_t map_items_max = 4'000'000;
constexpr std::uint64_t unbounded = std::uint64_t{1} << 40;

constexpr std::size_t echo_mib = 16;

std::int64_t square(std::int64_t x) { return x * x; }
std::vector<int> echo(std::vector<int> values) { return values; }

void expect(bool right) {
    if (!right) throw std::runtime_error("a task gave a wrong result");
}

double submit_then_get(double run_s, int workers) {
    process_pool pool(workers);
    return operations_per_second(run_s, tasks_max, [&](std::uint64_t count) {
        std::vector<future<std::int64_t>> results;
        results.reserve(count);
        std::int64_t sum = 0;
        const stopwatch clock;
        for (std::uint64_t i = 0; i != count; ++i) {
            results.push_back(pool.submit(square, static_cast<std::int64_t>(i % 1000)));
        }
        for (auto& result : results) sum += result.get();
        const double seconds = clock.seconds();
        expect(sum > 0);
        return seconds;
    });
}

double round_trip_us(double run_s) {
    process_pool pool(1);
    std::vector<double> trips_us;
    operations_per_second(run_s, unbounded, [&](std::uint64_t count) {
        trips_us.clear();
        const stopwatch clock;
        for (std::uint64_t i = 0; i != count; ++i) {
            const stopwatch trip;
            expect(pool.submit(square, 7).get() == 49);
            trips_us.push_back(trip.seconds() * 1e6);
        }
        return clock.seconds();
    });
    const auto middle = trips_us.begin() + static_cast<std::ptrdiff_t>(trips_us.size() / 2);
    std::nth_element(trips_us.begin(), middle, trips_us.end());
    return *middle;
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

template <class T>
void write_to(const queue<T>& messages, const queue<int>& reader_is_there, int count) {
    (void)reader_is_there.get();
    T message{};
    for (int i = 0; i != count; ++i) messages.put(message);
    messages.close();
}

/// From the first message to the last, so that the start of processes does not count.
template <class T>
void read_from(const queue<T>& messages, const queue<int>& reader_is_there,
               const queue<double>& took_s, int count) {
    reader_is_there.put(1);
    (void)messages.get();
    const stopwatch clock;
    int got = 1;
    for (const T& message : messages) {
        (void)message;
        ++got;
    }
    expect(got == count);
    took_s.put(clock.seconds());
}

template <class T>
double queue_messages(double run_s) {
    return operations_per_second(run_s, 1u << 30, [](std::uint64_t count) {
        const queue<T> messages;
        const queue<int> reader_is_there;
        const queue<double> took_s;
        const auto all = static_cast<int>(count);
        process writer(write_to<T>, messages, reader_is_there, all);
        process reader(read_from<T>, messages, reader_is_there, took_s, all);
        expect(reader.join().success());
        return took_s.get();
    });
}

constexpr std::size_t large_bytes = std::size_t{1} << 20;

void lend_large(const queue<std::vector<char>>& messages, const queue<int>& reader_is_there,
                int count) {
    (void)reader_is_there.get();
    const std::vector<char> source(large_bytes, 'x');
    for (int i = 0; i != count; ++i) {
        auto room = messages.loan(large_bytes);
        std::memcpy(room.data(), source.data(), source.size());
        room.put();
    }
    messages.close();
}

void borrow_large(const queue<std::vector<char>>& messages, const queue<int>& reader_is_there,
                  const queue<double>& took_s, int count) {
    reader_is_there.put(1);
    (void)messages.get();
    const stopwatch clock;
    for (int i = 1; i != count; ++i) {
        const auto message = messages.borrow();
        expect(message[0] == 'x' && message[large_bytes - 1] == 'x');
    }
    took_s.put(clock.seconds());
}

double loan_gib_per_second(double run_s) {
    const double per_second = operations_per_second(run_s, 1u << 20, [](std::uint64_t count) {
        const queue<std::vector<char>> messages({.capacity_bytes = 4 * large_bytes});
        const queue<int> reader_is_there;
        const queue<double> took_s;
        const auto all = static_cast<int>(std::max<std::uint64_t>(count, 2));
        process writer(lend_large, messages, reader_is_there, all);
        process reader(borrow_large, messages, reader_is_there, took_s, all);
        expect(reader.join().success());
        return took_s.get();
    });
    return per_second * static_cast<double>(large_bytes) / (1u << 30);
}

figure of_library(std::string name, std::string title, std::string unit,
                  std::function<double(double)> measure) {
    return {.name = std::move(name),
            .title = std::move(title),
            .unit = std::move(unit),
            .contenders = {{"bulkhead", std::move(measure)}}};
}

}  // namespace

std::vector<figure> library_figures() {
    std::vector<figure> figures;
    for (const int workers : {1, 2}) {
        const std::string count = std::to_string(workers);
        figures.push_back(of_library(
            "submit-" + count,
            "submit one by one, then get all, " + count + (workers == 1 ? " worker" : " workers"),
            "tasks/s", [workers](double run_s) { return submit_then_get(run_s, workers); }));
    }
    figures.push_back(
        of_library("round-trip", "submit one and get it, median, 1 worker", "us", round_trip_us));
    figures.back().more_is_better = false;
    figures.push_back(of_library("map", "map(square, iota), 2 workers", "items/s", map_items));
    figures.push_back(of_library("echo", "16 MiB there and back, counted once, 1 worker", "MiB/s",
                                 echo_mib_per_second));
    figures.push_back(of_library("queue", "queue<int>, a writer and a reader process", "messages/s",
                                 queue_messages<int>));
    figures.push_back(of_library("queue-64",
                                 "queue of 64 bytes each, a writer and a reader process",
                                 "messages/s", queue_messages<std::array<char, 64>>));
    figures.push_back(of_library("loan", "1 MiB, filled by memcpy in a loan, and borrowed", "GiB/s",
                                 loan_gib_per_second));
    return figures;
}

}  // namespace bulkhead::tools
