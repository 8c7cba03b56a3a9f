/// @file
/// How long things took: pool_stats::queue_wait, pool_stats::run_time.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace bulkhead {

/// Counts of durations in buckets of 1/16 of their size or less, so that a percentile is at most 6.25 %
/// above the true one, from 1 ns on. (The layout of HdrHistogram: Gil Tene, hdrhistogram.org.) A value;
/// not for several threads at once.
class histogram {
public:
    using duration = std::chrono::nanoseconds;

    /// Negative ones count as 0.
    void add(duration value);

    /// How many were added.
    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] duration min() const noexcept { return min_; }
    [[nodiscard]] duration max() const noexcept { return max_; }
    /// 0 when nothing was added, as min() and max().
    [[nodiscard]] duration mean() const noexcept;
    /// The duration that `percent` of 100 do not exceed: percentile(50) is the median, percentile(100) is
    /// max(). 0 when nothing was added. Throws usage_error unless 0 <= percent <= 100.
    [[nodiscard]] duration percentile(double percent) const;

    /// All of `other` too.
    void merge(const histogram& other);

private:
    std::vector<std::uint64_t> buckets_;  // as many as are in use
    std::uint64_t count_ = 0;
    double sum_ns_ = 0;
    duration min_{0};
    duration max_{0};
};

}  // namespace bulkhead
