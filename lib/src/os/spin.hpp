// Waiting without the kernel, for a bounded while.
#pragma once

#include <chrono>
#include <sched.h>

namespace bulkhead::os {

inline void cpu_relax() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

inline void yield_cpu() noexcept { ::sched_yield(); }

/// Spins for a bounded while, and lets others run meanwhile. A yield that takes long has let somebody else run,
/// and then spinning only takes time from whoever is waited for. One that takes a time slice has let somebody
/// run who computes: for a while then, nothing is yielded. A yield would cost a slice again, while a thread
/// that sleeps is let in again as soon as it is woken.
class spinner {
public:
    using clock = std::chrono::steady_clock;

    explicit spinner(std::chrono::nanoseconds budget) noexcept : budget_(budget) {}

    /// A little wait; false when it is time to sleep. Call reset() after each success.
    [[nodiscard]] bool spin() noexcept {
        for (int i = 0; i < pauses_per_round; ++i) cpu_relax();
        if (++rounds_ % rounds_per_look != 0) return true;
        const auto before = clock::now();
        if (started_ == clock::time_point{}) started_ = before;
        if (before < crowded_until_) return before - started_ < crowded_budget;
        yield_cpu();
        const auto after = clock::now();
        if (after - before > slice_least) crowded_until_ = after + crowded_for;
        if (after - before > crowded_yield) return false;
        return after - started_ < budget_;
    }
    void reset() noexcept {
        rounds_ = 0;
        started_ = {};
    }

private:
    static constexpr int pauses_per_round = 4;
    static constexpr int rounds_per_look = 16;
    static constexpr std::chrono::microseconds crowded_yield{5};
    /// Linux gives 3 ms and more; two workers that wait for one another give the CPU back within 0.1 ms.
    static constexpr std::chrono::microseconds slice_least{1000};
    static constexpr std::chrono::milliseconds crowded_for{20};
    /// 5 to 10 us gave most, beside one busy process on each CPU; none and 20 us a third less.
    static constexpr std::chrono::microseconds crowded_budget{10};

    std::chrono::nanoseconds budget_;
    int rounds_ = 0;
    clock::time_point started_{};
    clock::time_point crowded_until_{};
};

}  // namespace bulkhead::os
