/// @file
/// Until when something waits: a steady time, for ever, or not at all.
#pragma once

#include <chrono>

namespace bulkhead::detail {

using deadline = std::chrono::steady_clock::time_point;

inline constexpr deadline wait_for_ever = deadline::max();
inline constexpr deadline wait_not_at_all = deadline::min();

/// Now plus `duration`, of any unit and representation; never wraps around.
template <class Rep, class Period>
[[nodiscard]] deadline deadline_after(const std::chrono::duration<Rep, Period>& duration) {
    using seconds = std::chrono::duration<double>;
    const double wanted_s = std::chrono::duration_cast<seconds>(duration).count();
    if (!(wanted_s > 0)) return wait_not_at_all;  // also for NaN
    const deadline now = std::chrono::steady_clock::now();
    const double left_s = std::chrono::duration_cast<seconds>(wait_for_ever - now).count();
    if (wanted_s >= left_s / 2) return wait_for_ever;
    return now + std::chrono::ceil<deadline::duration>(duration);
}

/// A time of any clock, unit and representation, as far as that clock's now is from it; never wraps around.
template <class Clock, class Duration>
[[nodiscard]] deadline deadline_at(const std::chrono::time_point<Clock, Duration>& when) {
    // The difference of two times may not be representable in their unit.
    using seconds = std::chrono::duration<double>;
    const auto now = Clock::now();
    const auto left_s = std::chrono::duration_cast<seconds>(when.time_since_epoch()).count() -
                        std::chrono::duration_cast<seconds>(now.time_since_epoch()).count();
    constexpr double centuries_s = 3e9;
    if (left_s > centuries_s) return wait_for_ever;
    if (left_s < -1) return wait_not_at_all;
    if (left_s > 86'400) return deadline_after(seconds(left_s));
    return deadline_after(when - now);
}

}  // namespace bulkhead::detail
