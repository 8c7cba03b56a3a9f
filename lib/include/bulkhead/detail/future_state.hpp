/// @file
/// What a future and the executor share: one object per task, counted references.
#pragma once

#include <bulkhead/progress.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <sys/types.h>
#include <utility>

namespace bulkhead {
class decoder;
}

namespace bulkhead::detail {

/// Invariants: `word_` gets `done_bit` exactly once, by publish(); before it the outcome is written,
/// after it nothing of the outcome changes. Callbacks are pushed on a stack that tell(), or a late on_done(), seals; a
/// callback pushed later runs at once in its caller. So each callback runs exactly once.
class future_state {
public:
    using clock = std::chrono::steady_clock;
    /// Decodes a result into the storage `out` (a std::optional<T>*, or nullptr for void).
    using result_reader = void (*)(decoder& in, void* out);

    future_state() = default;
    future_state(const future_state&) = delete;
    future_state& operator=(const future_state&) = delete;
    virtual ~future_state();

    void add_ref() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        // acq_rel: the last owner sees what the others wrote before it destroys.
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    /// Acquire: pairs with publish(), so that a true makes the outcome readable.
    [[nodiscard]] bool done() const noexcept {
        return (word_.load(std::memory_order_acquire) & done_bit) != 0;
    }
    [[nodiscard]] virtual bool running() const = 0;
    [[nodiscard]] virtual bool cancelled() const = 0;
    /// Ended, neither well nor by a cancel: take() throws.
    [[nodiscard]] virtual bool failed() const = 0;
    /// See future::cancel.
    virtual bool cancel() = 0;
    /// The same without waiting: whether it took effect is known when it is done().
    virtual void request_cancel() = 0;
    /// Nobody wants the result any more: a task that has not started is dropped, one made of several
    /// items stops after the item it is at.
    virtual void abandon() = 0;
    /// Moves the value out, or throws what the task ended with. Once, when done(). A result that is here as
    /// it is needs no reader; null stands for that which the task was submitted with.
    virtual void take(result_reader read, void* out) = 0;
    /// Whether the caller is the first of those, and may. When done().
    [[nodiscard]] bool take_first() noexcept {
        return (word_.fetch_or(taken_bit, std::memory_order_relaxed) & taken_bit) == 0;
    }

    /// For a task made of several items, once take() gave those that finished: why the next one did
    /// not (nullptr: nothing was wrong with it).
    [[nodiscard]] virtual std::exception_ptr item_error() { return nullptr; }
    /// How long the task ran, 0 when unknown. Once done().
    [[nodiscard]] virtual std::chrono::nanoseconds run_time() const {
        return std::chrono::nanoseconds(0);
    }

    /// The process that gave the result, 0 when unknown. Once done().
    [[nodiscard]] virtual pid_t worker_pid() const { return 0; }

    /// See future::progress.
    [[nodiscard]] virtual task_progress progress() const { return {}; }
    /// See future::on_progress.
    virtual void on_progress(progress_callback&&) {}

    /// Waits until done; false when the deadline passed first. Throws usage_error as check_process(), and without a
    /// deadline as check_endless_wait().
    bool wait(std::optional<clock::time_point> deadline);
    void on_done(std::function<void()> callback_function);
    /// Throws usage_error where what is not done() will never be: in a fork of the process that has the pool.
    virtual void check_process() const {}
    /// Throws usage_error on the thread that would have to end what is not done().
    virtual void check_endless_wait() const {}

protected:
    /// Publishes the outcome: wakes the waiters, runs the callbacks.
    void finish() noexcept { tell(publish()); }
    /// The first half of finish(): done() from now on. Publishing a batch before telling any of it
    /// lets a reader who walks through the futures wake once, not once for each.
    [[nodiscard]] bool publish() noexcept;
    /// The second half, with what publish() gave.
    void tell(bool has_waiters) noexcept;
    /// Of tell(), that which wakes.
    void wake(bool has_waiters) noexcept;
    /// After publish(): true when there is no callback and none is to come, so that wake() is all that
    /// tell() would do.
    [[nodiscard]] bool seal_callbacks() noexcept;
    /// What a thread that waits may do itself, for a short while and never asleep after `until`, to make this done.
    virtual void help(clock::time_point /*until*/) {}
    /// Where a callback's exception goes.
    virtual void callback_failed(std::exception_ptr error) noexcept = 0;

private:
    struct callback;
    void run(std::function<void()>& function) noexcept;
    void run_callbacks() noexcept;

    static constexpr std::uint32_t done_bit = 1;
    static constexpr std::uint32_t waiters_bit = 2;
    static constexpr std::uint32_t taken_bit = 4;

    std::atomic<std::uint32_t> word_{0};
    std::atomic<std::uint32_t> references_{1};
    std::atomic<callback*> callbacks_{nullptr};
};

/// Owns one reference.
class state_ptr {
public:
    state_ptr() = default;
    /// Adopts the reference the caller holds.
    explicit state_ptr(future_state* adopted) noexcept : state_(adopted) {}
    state_ptr(const state_ptr& other) noexcept : state_(other.state_) {
        if (state_ != nullptr) state_->add_ref();
    }
    state_ptr(state_ptr&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    state_ptr& operator=(state_ptr other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~state_ptr() {
        if (state_ != nullptr) state_->release();
    }

    explicit operator bool() const noexcept { return state_ != nullptr; }
    future_state* operator->() const noexcept { return state_; }
    future_state& operator*() const noexcept { return *state_; }
    [[nodiscard]] future_state* get() const noexcept { return state_; }

private:
    future_state* state_ = nullptr;
};

/// A state that has already failed: for arguments that would not encode. `report` gets what its callbacks
/// throw, and does not throw.
[[nodiscard]] state_ptr make_failed_state(std::exception_ptr error,
                                          std::function<void(const std::exception_ptr&)> report);

[[noreturn]] void throw_no_state(const char* member);
[[noreturn]] void throw_taken_already();

}  // namespace bulkhead::detail
