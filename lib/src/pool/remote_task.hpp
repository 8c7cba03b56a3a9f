// A task of a process_pool: the future's shared state and the scheduler's node in one object.
#pragma once

#include "channel/envelope.hpp"
#include "channel/payload.hpp"
#include "fsm/scheduler.hpp"

#include <bulkhead/detail/future_state.hpp>
#include <bulkhead/detail/pool_access.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/progress.hpp>
#include <bulkhead/retry.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace bulkhead::detail {

/// Why a task's worker is being killed. The first reason wins.
enum class doom : std::uint8_t { none, cancelled, timeout };

enum class outcome : std::uint8_t { none, value, exception, items, failed, cancelled };

/// The pool's lock guards all but the outcome, which belongs to the pool until finish() and to the
/// futures after it. References: one of the futures, one of the pool until the task has ended.
class remote_task final : public future_state, public fsm::task_node {
public:
    remote_task(std::weak_ptr<pool_core> core, const submission& submitted,
                const task_options& options, std::chrono::nanoseconds time_limit);

    [[nodiscard]] bool running() const override;
    [[nodiscard]] bool cancelled() const override {
        return done() && outcome_ == outcome::cancelled;
    }
    [[nodiscard]] bool failed() const override {
        return done() && (outcome_ == outcome::exception || outcome_ == outcome::failed);
    }
    void help(clock::time_point until) override;
    void check_process() const override;
    void check_endless_wait() const override;
    [[nodiscard]] task_progress progress() const override;
    void on_progress(progress_callback&& callback_function) override;
    bool cancel() override;
    void request_cancel() override;
    void abandon() override;
    void take(result_reader read, void* out) override;
    [[nodiscard]] std::exception_ptr item_error() override {
        return std::exchange(error_, nullptr);
    }
    [[nodiscard]] std::chrono::nanoseconds run_time() const override {
        return std::chrono::nanoseconds(run_ns_);
    }

    [[nodiscard]] pid_t worker_pid() const override { return pid_; }

    [[nodiscard]] std::string name() const { return extras_ ? extras_->name : std::string(); }

    // ---- the pool's
    void set_arguments(task_encoder& encoded);
    void set_result(channel::result_kind kind, channel::payload result, pid_t by,
                    std::uint64_t run_ns);
    void set_error(std::exception_ptr error);
    /// The same, of a task that has run.
    void set_failure(std::exception_ptr error, pid_t by, std::uint64_t run_ns);
    /// A chunk's worker ended: the items it had finished, and what became of the next.
    void set_partial(channel::payload items, std::exception_ptr error, pid_t by);
    void set_cancelled();
    using future_state::publish;
    using future_state::seal_callbacks;
    /// The second half of resolving: tells the world, and drops the pool's reference.
    void tell_and_release(bool has_waiters) noexcept;
    /// The same, once seal_callbacks() has said that there are none.
    void wake_and_release(bool has_waiters) noexcept;

    /// Whether a failure other than a crash may be worth another run.
    [[nodiscard]] bool may_be_retried() const noexcept {
        return extras_ && extras_->retry_on && retries_left != 0 && !what.chunk && !cancel_asked;
    }
    /// Asks the user's predicate; throws what that throws.
    [[nodiscard]] bool is_worth_retrying(const std::exception_ptr& failure) const {
        return extras_->retry_on(failure);
    }

    /// What it has said of how far it is, once it ends; or of its last run.
    void note_progress(const task_progress& said) noexcept;
    /// It will run again.
    void forget_progress() noexcept;
    /// For those who watch; false when there are none.
    bool add_watcher(progress_callback callback_function);
    [[nodiscard]] bool is_watched() const noexcept {
        return extras_ && !extras_->on_progress.empty();
    }
    /// Who watches; of a task that is_watched().
    using watcher = std::shared_ptr<progress_callback>;
    [[nodiscard]] const std::vector<watcher>& watchers() const noexcept {
        return extras_->on_progress;
    }
    /// Without the lock: tells what is new since the last time. For the loop's thread, or that which
    /// resolves the task.
    void tell_progress(const task_progress& said, const std::vector<watcher>& watchers) noexcept;
    /// The same with what is noted, before publish(): who has the result is not told any more.
    void tell_last_progress() noexcept;
    /// As noted.
    [[nodiscard]] task_progress noted_progress() const noexcept {
        return extras_ ? extras_->noted : task_progress();
    }
    /// Its outcome is decided.
    [[nodiscard]] bool is_decided() const noexcept { return outcome_ != outcome::none; }

    submission what;
    std::uint64_t queued_ns = 0;  // CLOCK_MONOTONIC
    std::uint64_t ticket = 0;     // in the compartment of the worker it is at
    std::uint64_t placed_offset = 0;
    std::uint32_t placed_where = 0;
    doom doomed = doom::none;
    bool cancel_asked = false;  // while it was at a worker or after: no other run begins
    bool stop_asked = false;
    std::chrono::nanoseconds timeout;
    std::uint64_t stop_deadline_ns = 0;
    /// Arguments before the outcome, the result's bytes after it.
    channel::payload bytes;

private:
    void callback_failed(std::exception_ptr error) noexcept override;
    void drop_arguments() noexcept;

    /// What few tasks have.
    struct extras {
        std::string name;
        retry_predicate retry_on;
        std::vector<watcher> on_progress;
        task_progress noted;
        task_progress told;
    };
    [[nodiscard]] extras& with_extras();

    std::weak_ptr<pool_core> core_;
    std::unique_ptr<extras> extras_;
    std::unique_ptr<std::vector<kept_object>> kept_;
    std::exception_ptr error_;
    std::uint64_t run_ns_ = 0;
    pid_t pid_ = 0;
    outcome outcome_ = outcome::none;
};

}  // namespace bulkhead::detail
