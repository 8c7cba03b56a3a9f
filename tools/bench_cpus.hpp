// Puts the two sides of a figure where they are to run.
#pragma once

#include "bench_figure.hpp"

#include <sched.h>

namespace bulkhead::tools {

/// The CPUs that this thread may use, and will again at the end of the scope. Threads and processes that
/// it starts meanwhile are where it is.
class own_cpus {
public:
    own_cpus() {
        ::sched_getaffinity(0, sizeof all_, &all_);
        for (int cpu = 0; cpu != CPU_SETSIZE; ++cpu) {
            if (!CPU_ISSET(cpu, &all_)) continue;
            if (first_ < 0) first_ = cpu;
            last_ = cpu;
        }
    }
    ~own_cpus() { ::sched_setaffinity(0, sizeof all_, &all_); }
    own_cpus(const own_cpus&) = delete;
    own_cpus& operator=(const own_cpus&) = delete;

    /// To be called before the other side is started.
    void place_other_side(placement where) const noexcept { place_other_side(0, where); }
    /// A process that runs already; 0: this thread.
    void place_other_side(pid_t process, placement where) const noexcept {
        if (where == placement::on_one_cpu) pin_to(first_, process);
        if (where == placement::on_two_cpus) pin_to(last_, process);
    }
    /// And this one after it.
    void place_this_side(placement where) const noexcept {
        if (where != placement::as_the_kernel_likes) pin_to(first_, 0);
    }

private:
    static void pin_to(int cpu, pid_t process) noexcept {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        ::sched_setaffinity(process, sizeof one, &one);
    }

    cpu_set_t all_{};
    int first_ = -1;
    int last_ = -1;
};

}  // namespace bulkhead::tools
