// A caller that waits for its result collects it itself when it is the only one that there is to wait for. It
// saves two changes of threads: the loop's waking up, and the loop's waking up of the caller.
//
// In place of the loop it looks at one compartment (compartment::watch), for a bounded while, and takes plain
// results only; all else, and whatever runs code of the user's, is left to the loop.
#include "pool/pool_core.hpp"

#include "os/kill_point.hpp"
#include "os/spin.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <sched.h>
#include <utility>

namespace bulkhead::detail {
namespace {

/// About what the two wake-ups take that are saved. Tasks that run longer are not waited for here.
constexpr std::chrono::microseconds watch_time_max{50};
/// The same, and that of a worker that had to be woken, on a CPU that slept.
constexpr std::chrono::microseconds watch_time_after_sleep_max{100};
/// After that, asleep here in place of the loop: one wake-up less than by way of it. Whatever ends the task
/// elsewhere wakes it. Longer than a tick of the kernel: a timer that is the next to go off has to be programmed, and again
/// when it is cancelled, which takes some 10 us in a virtual machine.
constexpr std::chrono::milliseconds sleep_here_max{20};
/// Copied under the pool's lock.
constexpr std::size_t caller_bytes_max = std::size_t{64} * 1024;

}  // namespace

void pool_core::help(remote_task& task, std::chrono::steady_clock::time_point until) {
    worker_index worker = fsm::no_worker;
    std::shared_ptr<channel::compartment> box;
    std::uint64_t ticket = 0;
    int woken_on_cpu = -1;
    unsigned calls = 0;
    {
        const lock held(mutex_);
        worker = task.worker;
        if (task.step != fsm::task_step::handed || on_loop_thread()) return;
        if (unresolved() > worker_count() || scheduler_.ledger(worker).size() != 1) return;
        if (std::chrono::nanoseconds(scheduler_.mean_run_ns(worker)) > watch_time_max) return;
        box = seats_[worker]->box;
        ticket = task.ticket;
        if (!box || box->has_collected(ticket) || !box->watch()) return;
        calls = box->calls();
        woken_on_cpu = box->woken_on_cpu(ticket);
        watched_.fetch_add(1, std::memory_order_relaxed);
    }
    struct watching {
        pool_core& core;
        channel::compartment& at;
        ~watching() {
            core.watched_.fetch_sub(1, std::memory_order_relaxed);
            if (!at.unwatch()) return;
            try {
                boost::asio::post(core.io_, [] {});
            } catch (...) {
                // No memory: the audit wakes the loop.
            }
        }
    };
    const watching until_left{*this, *box};
    // On the CPU where the worker was woken there is nothing to spin for: it runs once this thread sleeps.
    bool spins = woken_on_cpu < 0 || woken_on_cpu != ::sched_getcpu();
    os::spinner spinner(woken_on_cpu < 0 ? watch_time_max : watch_time_after_sleep_max);
    bool slept = false;
    while (!task.done() && box->calls() == calls) {  // called: the loop, or another worker, has it
        if (box->results_waiting()) {
            const auto got = collect_for_caller(worker, box);
            if (got == pick::something) continue;
            if (got == pick::not_for_a_caller) break;
        }
        if (box->has_collected(ticket)) break;  // the loop has it, and will resolve it
        if (spins) {
            spins = spinner.spin();
            continue;
        }
        if (std::exchange(slept, true)) break;
        box->sleep_as_caller(calls,
                             std::min(until, std::chrono::steady_clock::now() + sleep_here_max));
    }
}

pool_core::pick pool_core::collect_for_caller(worker_index worker,
                                              const std::shared_ptr<channel::compartment>& box) {
    const std::unique_lock collecting(box->collecting(), std::try_to_lock);
    if (!collecting) return pick::nothing;  // the loop is at it, for the last time
    lock held(mutex_);
    seat& at = *seats_[worker];
    const auto* first = static_cast<const remote_task*>(scheduler_.ledger(worker).front());
    // What the loop is still copying is first, and the next result is another's.
    if (at.box != box || at.lied || at.init_ticket != 0 || first == nullptr ||
        box->has_collected(first->ticket) || first->what.chunk || first->may_be_retried() ||
        first->is_watched() || box->next_result_bytes() > caller_bytes_max ||
        box->next_result_has_descriptors()) {
        return pick::not_for_a_caller;
    }
    std::uint64_t ticket = 0;
    channel::result_envelope envelope;
    const auto got = box->collect(ticket, envelope);
    if (got == channel::harvest::nothing) return pick::nothing;
    BULKHEAD_KILL_POINT("parent.collected");
    auto result = got == channel::harvest::result ? read_result(worker, ticket, envelope, {})
                                                  : std::optional<collected>();
    std::vector<remote_task*> resolved;
    if (result) {
        while (result->left != 0) box->copy_more(envelope, result->bytes, result->left);
        last_accept_ns_ = channel::monotonic_ns();
        accept_one(*result, resolved);
    } else {
        at.lied = true;
    }
    if (at.lied) denounce(worker);
    dispatch();
    arm_balance();
    held.unlock();
    BULKHEAD_KILL_POINT("parent.accepted");
    for (auto* task : resolved) resolve_for_caller(*task);
    return pick::something;
}

void pool_core::resolve_for_caller(remote_task& task) {
    const bool waited_for = task.publish();
    if (task.seal_callbacks()) {
        task.wake_and_release(waited_for);
        BULKHEAD_KILL_POINT("parent.resolved");
        lock held(mutex_);
        --resolving_;
        wake_waiters(held);
    } else {
        boost::asio::post(io_, [this, &task, waited_for] {
            task.tell_and_release(waited_for);
            lock held(mutex_);
            --resolving_;
            wake_waiters(held);
        });
    }
}

}  // namespace bulkhead::detail
