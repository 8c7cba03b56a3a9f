// What goes through a queue. What the Python peer does is in bench_peers.py: keep them alike.
#include "bench_figure.hpp"

#include <bulkhead/bulkhead.hpp>

#include <array>
#include <cstring>

namespace bulkhead::tools {
namespace {

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
double queue_messages(double run_s, const queue_options& options) {
    return operations_per_second(run_s, 1u << 30, [&](std::uint64_t count) {
        const queue<T> messages(options);
        const queue<int> reader_is_there;
        const queue<double> took_s;
        const auto all = static_cast<int>(count);
        process writer(write_to<T>, messages, reader_is_there, all);
        process reader(read_from<T>, messages, reader_is_there, took_s, all);
        expect(reader.join().success());
        return took_s.get();
    });
}

using small_message = std::array<char, 64>;

/// With room for as many messages as its peers have, each with its header.
double bounded_queue_messages(double run_s) {
    constexpr std::size_t header_bytes = 8;
    return queue_messages<small_message>(
        run_s, {.capacity_bytes = messages_waiting_max * (sizeof(small_message) + header_bytes)});
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

}  // namespace

std::vector<figure> queue_figures() {
    std::vector<figure> figures;
    figures.push_back(of_library("queue", "queue<int>, a writer and a reader process", "messages/s",
                                 better::more,
                                 [](double run_s) { return queue_messages<int>(run_s, {}); }));
    figures.push_back(of_library(
        "queue-64", "queue of 64 bytes each, 1,024 of them at most, a writer and a reader process",
        "messages/s", better::more, bounded_queue_messages));
    figures.back().contenders.push_back(
        {"boost::interprocess::message_queue", stock_queue_messages});
    figures.back().contenders.push_back({"bulkhead, as large as by default", [](double run_s) {
                                             return queue_messages<small_message>(run_s, {});
                                         }});
    figures.push_back(of_library("loan", "1 MiB, filled by memcpy in a loan, and borrowed", "GiB/s",
                                 better::more, loan_gib_per_second));
    return figures;
}

}  // namespace bulkhead::tools
