// What bulkhead-bench measures: a figure, with peers that do the same by other means.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
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

/// What the library does, without peers.
[[nodiscard]] std::vector<figure> library_figures();
/// What the machine, and stock Boost, can do at most.
[[nodiscard]] std::vector<figure> limit_figures();

class stopwatch {
public:
    [[nodiscard]] double seconds() const {
        return std::chrono::duration<double>(clock::now() - started_).count();
    }

private:
    using clock = std::chrono::steady_clock;
    clock::time_point started_ = clock::now();
};

/// The first run of a series; those before the one that counts are the warm-up.
inline constexpr std::uint64_t first_count = 4;

/// Calls `run(count)`, which gives the seconds it took, with more and more until a run takes
/// `run_s` or does `count_max`; gives the operations per second of that last run. The Python peers
/// do the same.
template <class Run>
double operations_per_second(double run_s, std::uint64_t count_max, Run&& run) {
    std::uint64_t count = std::min(first_count, count_max);
    for (;;) {
        const double seconds = std::max(static_cast<double>(run(count)), 1e-9);
        if (seconds >= run_s || count == count_max) return static_cast<double>(count) / seconds;
        const double factor = std::clamp(1.1 * run_s / seconds, 2.0, 50.0);
        count =
            std::min(count_max, static_cast<std::uint64_t>(static_cast<double>(count) * factor));
    }
}

}  // namespace bulkhead::tools
