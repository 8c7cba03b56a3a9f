// What bulkhead-bench measures: a figure, with peers that do the same by other means.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bulkhead::tools {

/// Something that can be measured once more, for about `run_s` seconds; gives the value in its
/// figure's unit.
struct contender {
    std::string name;
    std::function<double(double run_s)> measure;
};

struct figure {
    std::string name;   // for --only
    std::string title;  // says what is counted
    std::string unit;
    bool more_is_better = true;
    /// The first is ours, or the machine's own limit; the others are compared with it.
    std::vector<contender> contenders;
};

enum class better : bool { less, more };

[[nodiscard]] inline figure of_library(std::string name, std::string title, std::string unit,
                                       better which, std::function<double(double)> measure) {
    return {.name = std::move(name),
            .title = std::move(title),
            .unit = std::move(unit),
            .more_is_better = which == better::more,
            .contenders = {{"bulkhead", std::move(measure)}}};
}

/// What a process pool, and a thread pool, get done in a second.
[[nodiscard]] std::vector<figure> throughput_figures();
/// How long one waits for something.
[[nodiscard]] std::vector<figure> latency_figures();
/// What more tasks and idle workers cost.
[[nodiscard]] std::vector<figure> scale_figures();
[[nodiscard]] std::vector<figure> queue_figures();
/// What the machine can do at most.
[[nodiscard]] std::vector<figure> limit_figures();

/// Tasks a second: submitted one by one, then all fetched.
[[nodiscard]] double pool_tasks(double run_s, int workers);

/// Where the two sides of something run.
enum class placement : std::uint8_t { as_the_kernel_likes, on_one_cpu, on_two_cpus };

/// Two processes that sleep and ring each other's eventfd: there and back once, as often as
/// `run_s` allows; the median, in microseconds. Between the rounds both are idle for `idle`.
[[nodiscard]] double wake_up_us(double run_s, std::chrono::milliseconds idle, placement where);

/// How many messages of 64 bytes wait at most in the queues that are compared; libzmq's own limit is
/// 1,000 on each side.
inline constexpr std::size_t messages_waiting_max = 1024;

/// Messages a second through a stock boost::interprocess::message_queue, 64 bytes each.
[[nodiscard]] double stock_queue_messages(double run_s);
/// Gives queue-64 a peer: libzmq, PUSH to PULL, over its quickest way between processes. False when it is
/// not installed; it is looked for at run time, so that the tool does not depend on it.
[[nodiscard]] bool add_zmq_peer(std::vector<figure>& figures);

class stopwatch {
public:
    [[nodiscard]] double seconds() const {
        return std::chrono::duration<double>(clock::now() - started_).count();
    }

private:
    using clock = std::chrono::steady_clock;
    clock::time_point started_ = clock::now();
};

inline void expect(bool right) {
    if (!right) throw std::runtime_error("a task gave a wrong result");
}

/// The first run of a series; those before the one that counts are the warm-up.
inline constexpr std::uint64_t first_count = 4;
inline constexpr std::uint64_t unbounded = std::uint64_t{1} << 40;

/// Calls `run(count)`, which gives the seconds it took, with more and more until a run takes `run_s`;
/// gives the operations per second of that last run. With `count_max` it is repeated until `run_s`
/// is over. The Python peers do the same.
template <class Run>
double operations_per_second(double run_s, std::uint64_t count_max, Run&& run) {
    std::uint64_t count = std::min(first_count, count_max);
    double repeated = 0;
    double repeated_s = 0;
    for (;;) {
        const double seconds = std::max(static_cast<double>(run(count)), 1e-9);
        if (count == count_max) {
            repeated += static_cast<double>(count);
            repeated_s += seconds;
            if (repeated_s >= run_s) return repeated / repeated_s;
            continue;
        }
        if (seconds >= run_s) return static_cast<double>(count) / seconds;
        const double factor = std::clamp(1.1 * run_s / seconds, 2.0, 50.0);
        count =
            std::min(count_max, static_cast<std::uint64_t>(static_cast<double>(count) * factor));
    }
}

[[nodiscard]] inline double median_of(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

inline constexpr int samples_min = 3;

/// The median of what `sample()` gives, which is called for `run_s` in all.
template <class Sample>
double median_sample(double run_s, Sample&& sample) {
    std::vector<double> values;
    const stopwatch clock;
    while (values.size() < samples_min || clock.seconds() < run_s) values.push_back(sample());
    return median_of(std::move(values));
}

}  // namespace bulkhead::tools
