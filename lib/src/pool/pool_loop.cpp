// The loop thread: sleeps when there are no results, watches the clocks of running tasks, looks whether workers
// move and keep to the protocol.
#include "pool/pool_core.hpp"

#include "os/spin.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>

namespace bulkhead::detail {
namespace {

/// Results often come one after another; a sleep and a wake-up cost some fifty microseconds here.
constexpr std::chrono::microseconds spin_before_sleep{20};
/// Rounds of the loop between two looks at timers and deaths while results keep coming or are waited for: a look
/// is a system call.
constexpr unsigned rounds_per_poll = 64;
/// Between two looks at the protocol.
constexpr std::chrono::milliseconds audit_every{250};
/// How long a task must have run before the tasks that wait behind it are given to idle workers.
constexpr std::chrono::milliseconds balance_after{1};

}  // namespace

void pool_core::run() {
    // Tasks are at workers that no caller watches.
    const auto loop_is_waited_for = [this] {
        const auto watched = watched_.load(std::memory_order_relaxed);
        return handed_.load(std::memory_order_relaxed) > watched;
    };
    os::spinner spinner(spin_before_sleep);
    unsigned round = 0;
    while (true) {
        const bool collected_some = collect_all();
        if (collected_some) spinner.reset();
        if (collected_some || (loop_is_waited_for() && spinner.spin())) {
            if (++round % rounds_per_poll == 0) io_.poll();
            continue;
        }
        io_.poll();
        if (leaving_ && workers_gone()) return;
        for (const auto& at : seats_) {
            if (at->box && !at->box->is_watched()) at->box->parent_sleeps(true);
        }
        if (!any_results()) io_.run_one();
        for (const auto& at : seats_) {
            if (at->box) at->box->parent_sleeps(false);
        }
        // Who is seen to watch from here on writes its 1, in unwatch(), behind these zeros.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        spinner.reset();
    }
}

bool pool_core::workers_gone() const noexcept {
    return spares_.empty() &&
           std::all_of(seats_.begin(), seats_.end(), [](const auto& at) { return !at->box; });
}

std::chrono::nanoseconds pool_core::running_for(worker_index worker, std::uint64_t now) const {
    const auto started = std::min(seats_[worker]->box->started_ns(), now);
    return std::chrono::nanoseconds(static_cast<std::int64_t>(now - started));
}

void pool_core::watch(worker_index worker) {
    using std::chrono::nanoseconds;
    lock held(mutex_);
    seat& at = *seats_[worker];
    at.watch_due_ns = not_watched;
    if (!at.box) return;
    const auto now = channel::monotonic_ns();
    std::optional<nanoseconds> next;
    for (auto* node = scheduler_.ledger(worker).front(); node != nullptr; node = node->next) {
        auto& task = static_cast<remote_task&>(*node);
        if (task.doomed != doom::none) continue;
        // A stop request is a timeout too: of the grace in which the task may end by itself.
        const auto limit = task.stop_asked ? options_.kill_grace : task.timeout;
        if (limit.count() == 0 && !task.stop_asked) continue;
        nanoseconds left = limit;  // it has not begun: it cannot be late sooner
        if (has_begun(task)) {
            if (task.stop_asked && task.stop_deadline_ns == 0) {
                task.stop_deadline_ns = now + static_cast<std::uint64_t>(limit.count());
            }
            left = task.stop_asked
                       ? nanoseconds(static_cast<std::int64_t>(task.stop_deadline_ns - now))
                       : limit - running_for(worker, now);
            if (left.count() <= 0) {
                if (condemn(task, task.stop_asked ? doom::cancelled : doom::timeout)) return;
                if (task.step == fsm::task_step::waiting && task.cancel_asked) {
                    drop_and_tell(task, held);  // its worker lied
                    return;
                }
                // It ended this very moment: look again at what is next. condemn() changed the ledger.
                dispatch();
                next = left = std::chrono::milliseconds(1);
                break;
            }
        }
        if (!next || left < *next) next = left;
    }
    if (!next) return;
    at.watch_due_ns = now + static_cast<std::uint64_t>(next->count());
    at.watch_timer.expires_after(*next);
    at.watch_timer.async_wait([this, worker](const boost::system::error_code& cancelled) {
        if (!cancelled) watch(worker);
    });
}

void pool_core::audit() {
    try {
        if (keeper_) keeper_->see_that_it_lives();
    } catch (const error&) {
        // The next look may find what it takes.
    }
    std::vector<remote_task*> resolved;
    lock held(mutex_);
    audit_armed_ = false;
    for (worker_index i = 0; i != seats_.size(); ++i) {
        if (!seats_[i]->box) continue;
        const auto step = scheduler_.step(i);
        if (step != fsm::worker_step::ready && step != fsm::worker_step::retiring) continue;
        if (!seats_[i]->box->consistent()) {
            denounce(i);
        } else if (step == fsm::worker_step::retiring) {
            // It gets no more, and has given back what it had not begun.
            if (scheduler_.ledger(i).empty()) part_with(i);
        } else if (seats_[i]->box->worn()) {
            retire(i);
        } else {
            look_for_stall(i);
        }
    }
    if (broken_) give_up(*broken_, resolved);  // what came back from a worker that stands still
    dispatch();
    arm_balance();
    const bool any_stalled = std::any_of(seats_.begin(), seats_.end(), [](const auto& at) {
        return at->box && at->stalled_ticket != 0;
    });
    if (!audit_armed_ && (scheduler_.handed() != 0 || any_stalled)) {
        audit_armed_ = true;
        arm_audit();
    }
    if (resolved.empty()) return;
    wake_waiters(held);
    resolve_all(resolved);
}

void pool_core::look_for_stall(worker_index worker) {
    seat& at = *seats_[worker];
    if (at.stalled_ticket != 0) {
        if (at.box->has_passed(at.stalled_ticket)) {
            at.stalled_ticket = 0;
            scheduler_.suspend(worker, false);
        } else if (!at.box->is_still_withdrawn(at.stalled_ticket)) {
            denounce(worker);
        } else if (!at.box->attached() &&
                   std::chrono::steady_clock::now() - at.started_at > start_time_max) {
            at.process.signal_group(SIGKILL);  // hangs before it serves: a start that failed
        }
        return;
    }
    auto* node = scheduler_.ledger(worker).front();
    const auto* oldest = static_cast<const remote_task*>(node);
    const bool waits =
        oldest != nullptr && at.box->at(oldest->ticket) == channel::progress::waiting;
    const auto ticket = waits ? oldest->ticket : 0;
    if (ticket == 0 || std::exchange(at.waiting_ticket, ticket) != ticket) {
        at.waiting_ticket = ticket;
        return;
    }
    // Stopped, or not up yet: what it has not begun goes to those that move.
    at.waiting_ticket = 0;
    take_back(worker, fsm::window_max);
    if (!scheduler_.ledger(worker).empty()) return;  // it has moved this very moment
    at.stalled_ticket = ticket;
    scheduler_.suspend(worker, true);
}

void pool_core::arm_audit() {
    audit_timer_.expires_after(audit_every);
    audit_timer_.async_wait([this](const boost::system::error_code& cancelled) {
        if (!cancelled) audit();
    });
}

void pool_core::rebalance() {
    const lock held(mutex_);
    balance_armed_ = false;
    auto from = scheduler_.overloaded();
    const bool for_an_idle_one = from != fsm::no_worker;
    if (!for_an_idle_one) from = scheduler_.obstructed();
    if (from == fsm::no_worker) return;
    const std::size_t waiting = scheduler_.ledger(from).size() - 1;
    const auto& first = static_cast<const remote_task&>(*scheduler_.ledger(from).front());
    if (has_begun(first) && running_for(from, channel::monotonic_ns()) > balance_after) {
        scheduler_.at_long_task(from);
        call_back([&](worker_index at, const remote_task&) {
            return at == from ? scheduler_.ledger(at).size() > 1
                              : !for_an_idle_one && scheduler_.has_too_many(at);
        });
    } else if (for_an_idle_one) {
        // Half of them; the rest may be next in a moment, or be taken at the next look.
        take_back(from, (waiting + 1) / 2);
    }
    dispatch();
    arm_balance();
}

void pool_core::arm_balance() {
    if (balance_armed_ ||
        (scheduler_.overloaded() == fsm::no_worker && scheduler_.obstructed() == fsm::no_worker)) {
        return;
    }
    balance_armed_ = true;
    if (!on_loop_thread()) {
        boost::asio::post(io_, [this] {
            const lock held(mutex_);
            balance_armed_ = false;
            arm_balance();
        });
        return;
    }
    balance_timer_.expires_after(balance_after);
    balance_timer_.async_wait([this](const boost::system::error_code& cancelled) {
        if (!cancelled) rebalance();
    });
}

}  // namespace bulkhead::detail
