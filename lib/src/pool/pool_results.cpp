// What workers give back: collected, told to the scheduler, and from there to the futures. On the loop thread, but
// for accept_one(), which a caller may run too.
#include "pool/pool_core.hpp"

#include "os/kill_point.hpp"
#include "pool/exception_travel.hpp"
#include "ring/shared_object.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <cassert>

namespace bulkhead::detail {
namespace {

/// Results taken from one worker before another is looked at.
constexpr std::size_t batch_max = 128;
/// The same for bytes, or one result, or a piece of one: a few hundred microseconds.
constexpr std::size_t batch_bytes_max = std::size_t{1} << 20;

}  // namespace

bool pool_core::has_results(const seat& at) noexcept {
    if (!at.box || at.lied) return false;
    return at.coming || (!at.box->is_watched() && at.box->results_waiting());
}

bool pool_core::any_results() const noexcept {
    return std::any_of(seats_.begin(), seats_.end(),
                       [](const auto& at) { return has_results(*at); });
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
        // Who watches may look for what has just been taken.
        if (at.box->is_watched()) at.box->wake_caller();
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
        auto result = read_result(worker, ticket, envelope, builder_for(worker, ticket, envelope));
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

pool_core::builder pool_core::builder_for(worker_index worker, std::uint64_t ticket,
                                          const channel::result_envelope& envelope) const {
    if (envelope.bytes <= channel::piece_bytes) return {};
    const lock held(mutex_);
    const remote_task* task = find(worker, ticket);
    if (task == nullptr || task->what.gives == nullptr) return {};
    return {task->what.gives->make_arriving, task->id};
}

std::optional<pool_core::collected> pool_core::read_result(worker_index worker,
                                                           std::uint64_t ticket,
                                                           const channel::result_envelope& envelope,
                                                           builder by) {
    collected result{worker, ticket, envelope, {}, 0, by.task_id, nullptr};
    auto& box = *seats_[worker]->box;
    try {
        if (envelope.descriptors == 0) {
            result.bytes = box.begin_result(envelope, result.left, by.make);
        } else {
            read_with_references(box, result, by);
        }
    } catch (const codec_error&) {
        return std::nullopt;
    } catch (...) {
        result.failure = std::current_exception();  // no memory or descriptor here: no lie
        result.left = 0;
    }
    return result;
}

void pool_core::read_with_references(channel::compartment& box, collected& result, builder by) {
    auto with = box.descriptors_of(result.ticket);
    if (with.fds.empty() && !with.cut_off) throw codec_error("bulkhead: a worker sent nothing");
    result.bytes = box.begin_result(result.envelope, result.left, by.make, &with);
    // What is wrong from here on is no lie about bytes: it costs this result, and not the worker. Of a chunk it
    // costs those items that refer to what is missing: they do not decode.
    const bool of_items =
        result.envelope.kind == static_cast<std::uint16_t>(channel::result_kind::items);
    try {
        result.bytes.keep(adopt_objects(std::move(with), of_items));
    } catch (...) {
        result.failure = std::current_exception();
        result.left = 0;
    }
}

std::vector<std::shared_ptr<const void>> pool_core::adopt_objects(
    channel::compartment::arrival with, bool as_far_as_it_goes) {
    // Results that nobody takes must not use up what the program, and the next worker's start, need.
    const auto too_many = std::erase_if(with.fds, [first = os::reserve_begin()](const auto& fd) {
        return static_cast<std::uint64_t>(fd.get()) >= first;
    });
    if ((with.cut_off || too_many != 0) && !as_far_as_it_goes) {
        throw error(
            "bulkhead: no descriptor is free to receive a task's result, which refers to "
            "objects that have one each; take or drop earlier results, or raise 'ulimit -n'");
    }
    std::vector<std::shared_ptr<const void>> objects;
    objects.reserve(with.fds.size());
    for (auto& fd : with.fds) {
        try {
            objects.push_back(ring::shared_object::adopt_sent(std::move(fd)));
        } catch (const error&) {
            if (!as_far_as_it_goes) throw;
        }
    }
    return objects;
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
    if (result.bytes.arriving() != nullptr && task->id != result.built_for) {
        at.lied = true;  // of the type of another task
        return;
    }
    at.box->release_result(result.ticket, envelope);
    if (task->doomed != doom::none) {  // decided already; its worker's end settles it
        if (task->what.chunk) at.references = {result.ticket, result.bytes.take_objects()};
        // It has heeded the SIGTERM, and need not wait for the SIGKILL.
        boost::asio::post(io_, [this, worker = result.worker, generation = at.generation] {
            const lock held(mutex_);
            seat& mine = *seats_[worker];
            if (mine.generation == generation && mine.box) mine.box->hang_up();
        });
        return;
    }
    at.box->settled(result.ticket);
    if (envelope.reported != 0) note_progress(*task);
    unpost(*task);
    scheduler_.finished(*task, envelope.run_ns);
    at.has_served = true;
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

}  // namespace bulkhead::detail
