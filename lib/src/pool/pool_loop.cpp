// The loop thread: collects results, sleeps when there are none, watches the clocks of running tasks.
#include "pool/pool_core.hpp"

#include "os/kill_point.hpp"
#include "os/spin.hpp"
#include "pool/exception_travel.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <cassert>

namespace bulkhead::detail {
namespace {

/// Results often come one after another; a sleep and a wake-up cost some fifty microseconds here.
constexpr std::chrono::microseconds spin_before_sleep{20};
/// Results taken from one worker before another is looked at.
constexpr std::size_t batch_max = 128;
/// The same for bytes, or one result, or a piece of one: a few hundred microseconds.
constexpr std::size_t batch_bytes_max = std::size_t{1} << 20;
/// Rounds of the loop between two looks at timers and deaths while results keep coming.
constexpr unsigned rounds_per_poll = 64;
/// Between two looks at the protocol.
constexpr std::chrono::milliseconds audit_every{250};
/// How long a task must have run before the tasks that wait behind it are given to idle workers.
constexpr std::chrono::milliseconds balance_after{1};

}  // namespace

void pool_core::run() {
    os::spinner spinner(spin_before_sleep);
    unsigned round = 0;
    while (true) {
        if (collect_all()) {
            spinner.reset();
            if (++round % rounds_per_poll == 0) io_.poll();
            continue;
        }
        io_.poll();
        if (ending_ && workers_gone()) return;
        const auto watched = watched_.load(std::memory_order_relaxed);
        if (handed_.load(std::memory_order_relaxed) > watched && spinner.spin()) continue;
        for (const auto& at : seats_) {
            if (at->box && !at->box->is_watched()) at->box->parent_sleeps(true);
        }
        if (!any_results()) io_.run_one();
        for (const auto& at : seats_) {
            if (at->box) at->box->parent_sleeps(false);
        }
        spinner.reset();
    }
}

bool pool_core::has_results(const seat& at) noexcept {
    if (!at.box || at.lied) return false;
    return at.coming || (!at.box->is_watched() && at.box->results_waiting());
}

bool pool_core::any_results() const noexcept {
    return std::any_of(seats_.begin(), seats_.end(),
                       [](const auto& at) { return has_results(*at); });
}

bool pool_core::workers_gone() const noexcept {
    return spares_.empty() &&
           std::all_of(seats_.begin(), seats_.end(), [](const auto& at) { return !at->box; });
}

void pool_core::drain(worker_index worker, std::vector<collected>& batch, std::size_t count_max) {
    seat& at = *seats_[worker];
    const std::lock_guard collecting(at.box->collecting());
    std::size_t bytes = 0;
    for (std::size_t i = 0; i != count_max && bytes < batch_bytes_max; ++i) {
        if (at.coming) {
            at.box->copy_more(at.coming->envelope, at.coming->bytes, at.coming->left);
            if (at.coming->left != 0) return;
            batch.push_back(std::move(*at.coming));
            at.coming.reset();
            if (at.box->is_watched()) return;
            continue;
        }
        std::uint64_t ticket = 0;
        channel::result_envelope envelope;
        const auto got = at.box->collect(ticket, envelope);
        if (got == channel::harvest::lied) at.lied = true;
        if (got != channel::harvest::result) return;
        auto result = read_result(worker, ticket, envelope);
        if (!result) {
            at.lied = true;
            return;
        }
        BULKHEAD_KILL_POINT("parent.collected");
        if (result->left != 0) {
            at.coming = std::move(*result);
            return;
        }
        bytes += result->bytes.size();
        batch.push_back(std::move(*result));
    }
}

std::optional<pool_core::collected> pool_core::read_result(
    worker_index worker, std::uint64_t ticket, const channel::result_envelope& envelope) {
    collected result{worker, ticket, envelope, {}, 0, nullptr};
    try {
        result.bytes = seats_[worker]->box->begin_result(ticket, envelope, result.left);
    } catch (const codec_error&) {
        return std::nullopt;
    } catch (...) {
        result.failure = std::current_exception();  // no memory or descriptor here: no lie
        result.left = 0;
    }
    return result;
}

bool pool_core::collect_all() {
    if (!any_results()) return false;
    std::vector<collected> batch;
    batch.reserve(batch_max);
    bool progress = false;
    for (worker_index i = 0; i != seats_.size(); ++i) {
        const seat& at = *seats_[i];
        if (!has_results(at)) continue;
        drain(i, batch, batch_max);
        progress = progress || at.coming;
    }
    std::vector<remote_task*> resolved;
    resolved.reserve(batch.size());
    accept(batch, resolved);
    if (!resolved.empty()) BULKHEAD_KILL_POINT("parent.accepted");
    progress = progress || !batch.empty();
    resolve_all(resolved);
    return progress;
}

void pool_core::accept(std::vector<collected>& batch, std::vector<remote_task*>& resolved) {
    const auto now = channel::monotonic_ns();
    lock held(mutex_);
    last_accept_ns_ = now;
    for (auto& result : batch) accept_one(result, resolved);
    for (worker_index i = 0; i != seats_.size(); ++i) {
        if (seats_[i]->lied && seats_[i]->box) denounce(i);
    }
    dispatch();
    arm_balance();
    wake_waiters(held);
    decide_retries(resolved);
}

void pool_core::accept_one(collected& result, std::vector<remote_task*>& resolved) {
    seat& at = *seats_[result.worker];
    const auto& envelope = result.envelope;
    if (at.init_ticket != 0 && result.ticket == at.init_ticket) {
        initialised(result);
        return;
    }
    remote_task* task = find(result.worker, result.ticket);
    const bool known_kind = envelope.kind >= 1 && envelope.kind <= 3;
    const auto kind = static_cast<channel::result_kind>(envelope.kind);
    if (task == nullptr || !known_kind ||
        (kind == channel::result_kind::items) > task->what.chunk) {
        at.lied = true;  // a result for nobody
        return;
    }
    at.box->release_result(result.ticket, envelope);
    if (task->doomed != doom::none) return;  // decided already; its worker's end settles it
    at.box->settled(result.ticket);
    if (envelope.reported != 0) note_progress(*task);
    unpost(*task);
    scheduler_.finished(*task, envelope.run_ns);
    ++at.tasks_done;
    note_times(*task, envelope);
    bool open = false;  // its outcome is not decided
    if (task->stop_asked) {
        task->set_cancelled();
        ++figures_.cancelled;
    } else if (result.failure) {
        task->set_error(result.failure);
        ++figures_.failed;
    } else if (kind == channel::result_kind::exception && task->may_be_retried()) {
        open = true;
        ask_about({.task = task,
                   .exception = std::move(result.bytes),
                   .pid = at.process.pid(),
                   .run_ns = envelope.run_ns});
    } else {
        ++(kind == channel::result_kind::exception ? figures_.failed : figures_.succeeded);
        task->set_result(kind, std::move(result.bytes), at.process.pid(), envelope.run_ns);
    }
    if (!open) ended(*task, resolved);
    if (!needs_a_look(result.worker)) return;
    if (on_loop_thread()) {
        look_after(result.worker);
    } else {
        boost::asio::post(io_, [this, worker = result.worker] {
            const lock held(mutex_);
            look_after(worker);
            dispatch();
        });
    }
}

bool pool_core::needs_a_look(worker_index worker) const {
    if (options_.idle_timeout.count() != 0 || seats_[worker]->box->worn()) return true;
    return scheduler_.ledger(worker).empty() &&
           (scheduler_.step(worker) == fsm::worker_step::retiring || scheduler_.is_spent(worker));
}

void pool_core::look_after(worker_index worker) {
    seat& at = *seats_[worker];
    if (!at.box) return;
    if (at.box->worn() && scheduler_.step(worker) == fsm::worker_step::ready) retire(worker);
    if (!scheduler_.ledger(worker).empty()) return;
    if (scheduler_.step(worker) == fsm::worker_step::retiring) part_with(worker);
    if (scheduler_.is_spent(worker)) retire(worker);
    if (options_.idle_timeout.count() != 0) {
        at.idle_since = std::chrono::steady_clock::now();
        arm_idle();
    }
}

void pool_core::note_times(const remote_task& task, const channel::result_envelope& envelope) {
    using std::chrono::nanoseconds;
    // A worker's clock is this one, or a lie that only makes the figures wrong.
    const auto waited = static_cast<std::int64_t>(envelope.started_ns - task.queued_ns);
    figures_.queue_wait.add(nanoseconds(waited));
    figures_.run_time.add(nanoseconds(static_cast<std::int64_t>(envelope.run_ns)));
}

void pool_core::ask_about(failed_task what) {
    assert(on_loop_thread());
    ++resolving_;
    ++undecided_;
    failed_.push_back(std::move(what));
}

void pool_core::decide_retries(std::vector<remote_task*>& resolved) {
    if (failed_.empty()) return;
    auto all = std::exchange(failed_, {});
    for (auto& one : all) {
        if (!one.failure) {
            try {
                throw_remote(one.exception.bytes(), one.pid, one.task->name());
            } catch (...) {
                one.failure = std::current_exception();
            }
        }
        try {
            one.again = one.task->is_worth_retrying(one.failure);
        } catch (...) {
            report_callback_failure(std::current_exception(), one.task->name());
        }
    }
    lock held(mutex_);
    for (auto& one : all) {
        remote_task& task = *one.task;
        --undecided_;
        if (task.cancel_asked || (ending_ && one.again)) {
            task.set_cancelled();
            ++figures_.cancelled;
        } else if (one.again && !broken_) {
            --resolving_;
            ++figures_.retried;
            task.ticket = 0;
            task.forget_progress();
            task.queued_ns = channel::monotonic_ns();
            scheduler_.again(task);
            continue;
        } else {
            ++(one.timed_out ? figures_.timed_out : figures_.failed);
            task.set_failure(std::move(one.failure), one.pid, one.run_ns);
        }
        if (task.is_watched()) --progress_watched_;
        resolved.push_back(&task);
    }
    dispatch();
    arm_balance();
    wake_waiters(held);
}

void pool_core::resolve_all(std::vector<remote_task*>& resolved) {
    if (resolved.empty()) return;
    for (auto* task : resolved) task->tell_last_progress();
    std::vector<bool> waited_for(resolved.size());
    for (std::size_t i = 0; i != resolved.size(); ++i) waited_for[i] = resolved[i]->publish();
    for (std::size_t i = 0; i != resolved.size(); ++i) {
        resolved[i]->tell_and_release(waited_for[i]);
    }
    BULKHEAD_KILL_POINT("parent.resolved");
    lock held(mutex_);
    resolving_ -= resolved.size();
    wake_waiters(held);
    resolved.clear();
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
            const auto started = std::min(at.box->started_ns(), now);
            left = task.stop_asked
                       ? nanoseconds(static_cast<std::int64_t>(task.stop_deadline_ns - now))
                       : limit - nanoseconds(static_cast<std::int64_t>(now - started));
            if (left.count() <= 0) {
                if (condemn(task, task.stop_asked ? doom::cancelled : doom::timeout)) return;
                // It ended this very moment: look again at what is next. condemn() changed the ledger.
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
    const lock held(mutex_);
    audit_armed_ = false;
    for (worker_index i = 0; i != seats_.size(); ++i) {
        if (!seats_[i]->box || scheduler_.step(i) != fsm::worker_step::ready) continue;
        if (!seats_[i]->box->consistent()) {
            denounce(i);
        } else if (seats_[i]->box->worn()) {
            retire(i);
        } else {
            look_for_stall(i);
        }
    }
    dispatch();
    arm_balance();
    const bool any_stalled = std::any_of(seats_.begin(), seats_.end(), [](const auto& at) {
        return at->box && at->stalled_ticket != 0;
    });
    if (!audit_armed_ && (scheduler_.handed() != 0 || any_stalled)) {
        audit_armed_ = true;
        arm_audit();
    }
}

void pool_core::look_for_stall(worker_index worker) {
    seat& at = *seats_[worker];
    if (at.stalled_ticket != 0) {
        if (at.box->has_passed(at.stalled_ticket)) {
            at.stalled_ticket = 0;
            scheduler_.suspend(worker, false);
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
    const auto from = scheduler_.overloaded();
    if (from == fsm::no_worker) return;
    const std::size_t waiting = scheduler_.ledger(from).size() - 1;
    const auto now = channel::monotonic_ns();
    const auto started = std::min(seats_[from]->box->started_ns(), now);
    constexpr std::uint64_t long_ns = std::chrono::nanoseconds(balance_after).count();
    const auto& first = static_cast<const remote_task&>(*scheduler_.ledger(from).front());
    if (has_begun(first) && now - started > long_ns) {
        scheduler_.at_long_task(from);
        take_back(from, waiting);
    } else {
        // Half of them; the rest may be next in a moment, or be taken at the next look.
        take_back(from, (waiting + 1) / 2);
    }
    dispatch();
    arm_balance();
}

void pool_core::arm_balance() {
    if (balance_armed_ || scheduler_.overloaded() == fsm::no_worker) return;
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

void pool_core::part_with_idle_workers() {
    part_with_spares();
    for (worker_index i = 0; i != seats_.size(); ++i) {
        seats_[i]->restart_timer.cancel();
        if (seats_[i]->box) part_with(i);
    }
}

void pool_core::part_with(worker_index worker) {
    seat& at = *seats_[worker];
    if (at.hung_up) return;
    at.hung_up = true;
    at.box->hang_up();
    if (scheduler_.step(worker) == fsm::worker_step::condemned) return;  // being killed
    at.kill_timer.expires_after(options_.kill_grace);
    at.kill_timer.async_wait(
        [this, worker, generation = at.generation](const boost::system::error_code& cancelled) {
            if (cancelled || seats_[worker]->generation != generation) return;
            seats_[worker]->process.signal_group(SIGKILL);
        });
}

void pool_core::retire(worker_index worker) {
    if (scheduler_.step(worker) == fsm::worker_step::ready) {
        take_back(worker, fsm::window_max);
        if (scheduler_.step(worker) == fsm::worker_step::ready) scheduler_.retire(worker);
    }
    if (scheduler_.ledger(worker).empty()) part_with(worker);
}

void pool_core::arm_idle() {
    if (idle_armed_ || options_.idle_timeout.count() == 0) return;
    idle_armed_ = true;
    idle_timer_.expires_after(options_.idle_timeout);
    idle_timer_.async_wait([this](const boost::system::error_code& cancelled) {
        if (!cancelled) rest_idle_workers();
    });
}

void pool_core::rest_idle_workers() {
    const lock held(mutex_);
    idle_armed_ = false;
    if (ending_ || broken_) return;
    const auto now = std::chrono::steady_clock::now();
    bool any_left = false;
    for (worker_index i = 0; i != seats_.size(); ++i) {
        seat& at = *seats_[i];
        if (!at.box || scheduler_.step(i) != fsm::worker_step::ready) continue;
        if (scheduler_.ledger(i).empty() && scheduler_.waiting() == 0 &&
            now - at.idle_since >= options_.idle_timeout) {
            at.resting = true;
            ++resting_;
            retire(i);
        } else {
            any_left = true;
        }
    }
    if (any_left) {
        arm_idle();
    } else if (scheduler_.waiting() == 0) {
        part_with_spares();
    }
}

void pool_core::apply_size() {
    const lock held(mutex_);
    while (seats_.size() < wanted_) seats_.push_back(std::make_unique<seat>(io_));
    scheduler_.grow(seats_.size());
    for (worker_index i = 0; i != seats_.size(); ++i) {
        seat& at = *seats_[i];
        if (is_wanted(i)) {
            boost::asio::post(io_, [this, i] { start_worker(i); });  // if there is none
            continue;
        }
        if (std::exchange(at.resting, false)) --resting_;
        if (at.box) retire(i);
    }
    dispatch();
    room_.notify_all();
}

}  // namespace bulkhead::detail
