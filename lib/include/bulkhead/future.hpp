/// @file
/// The result of a task, when it comes.
#pragma once

#include <bulkhead/detail/asio_bridge.hpp>
#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/future_state.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace bulkhead {

/// What a timed wait came to: true when the result is there, `bool ready = f.wait_for(1s)`. Also reads as a
/// std::future_status, for code written with std::future in mind: `f.wait_for(1s) == std::future_status::ready`.
class wait_status {
public:
    explicit constexpr wait_status(bool ready) noexcept : ready_(ready) {}

    [[nodiscard]] constexpr bool ready() const noexcept { return ready_; }
    // NOLINTNEXTLINE(google-explicit-constructor)
    constexpr operator bool() const noexcept { return ready_; }

    /// To std::future_status, without its header.
    template <class Status>
    requires requires { Status::ready, Status::timeout, Status::deferred; }
    constexpr operator Status() const noexcept {  // NOLINT(google-explicit-constructor)
        return ready_ ? Status::ready : Status::timeout;
    }
    template <class Status>
    requires requires { Status::ready, Status::timeout, Status::deferred; }
    friend constexpr bool operator==(wait_status left, Status right) noexcept {
        return static_cast<Status>(left) == right;
    }

private:
    bool ready_;
};

template <class T>
class future;

namespace detail {
/// Null when the future is not valid().
template <class T>
[[nodiscard]] future_state* shared_state(const future<T>& of) noexcept {
    return of.state_.get();
}

/// A callback that only moves, as a std::function wants it.
template <class F>
class shared_callback {
public:
    explicit shared_callback(F&& callback) : callback_(std::make_shared<F>(std::move(callback))) {}
    template <class... A>
    requires std::is_invocable_v<F&, A...>
    void operator()(A&&... arguments) const {
        std::invoke(*callback_, std::forward<A>(arguments)...);
    }

private:
    std::shared_ptr<F> callback_;
};

template <class F>
[[nodiscard]] auto copyable(F callback) {
    if constexpr (std::is_copy_constructible_v<F>) {
        return callback;
    } else {
        return shared_callback<F>(std::move(callback));
    }
}
}  // namespace detail

/// The handle of one task's result: of a process_pool or a thread_pool alike. Move-only. Each future
/// becomes done exactly once, also when the worker, or the pool, dies; dropping it does not stop the
/// task. Different futures may be used from different threads; one future by one thread at a time,
/// except that cancel(), done(), running(), cancelled() and the waits may be called from any,
/// but not beside get() or a move, which end this future: wait(), and get() once the others are done.
template <class T>
class future {
public:
    using value_type = T;

    /// A future of nothing: valid() is false, the other members throw usage_error.
    future() = default;
    future(future&&) noexcept = default;
    future& operator=(future&&) noexcept = default;

    /// Waits, then gives the task's result, or throws: what the task threw, worker_crashed,
    /// task_timeout, task_cancelled, pool_broken, or codec_error when the result's bytes do not
    /// decode. Only once: afterwards valid() is false.
    T get() {
        state("get").wait(std::nullopt);
        const detail::state_ptr taken = std::move(state_);
        if (!taken->take_first()) detail::throw_taken_already();
        if constexpr (std::is_void_v<T>) {
            taken->take(nullptr, nullptr);
        } else {
            std::optional<T> value;
            taken->take(nullptr, &value);
            return std::move(*value);
        }
    }

    /// Waits until done(). Expects a running executor: a pool whose program is stopped does not run.
    void wait() const { kept("wait")->wait(std::nullopt); }

    /// A wait that expires leaves the task as it is; the result can be had later.
    template <class Rep, class Period>
    wait_status wait_for(const std::chrono::duration<Rep, Period>& time) const {
        return wait_until(detail::deadline_after(time));
    }

    template <class Clock, class Duration>
    wait_status wait_until(const std::chrono::time_point<Clock, Duration>& time) const {
        const detail::state_ptr shared = kept("wait_until");
        // Another clock may be set while we wait: measure again until it says so.
        while (true) {
            const auto until = detail::deadline_at(time);
            if (shared->wait(until)) return wait_status(true);
            if (until == detail::wait_not_at_all) return wait_status(false);
        }
    }

    /// Holds a result to come, or one not yet taken.
    [[nodiscard]] bool valid() const noexcept { return static_cast<bool>(state_); }
    /// Has ended in whatever way, cancelled included: get() will not wait.
    [[nodiscard]] bool done() const { return state("done").done(); }
    /// Its worker is at it now.
    [[nodiscard]] bool running() const { return state("running").running(); }
    /// Ended by a cancel.
    [[nodiscard]] bool cancelled() const { return state("cancelled").cancelled(); }

    /// Calls `callback` once the task has ended; at once, in this thread, if it has. Otherwise it is
    /// called by the executor's own thread, which serves nothing else meanwhile: be brief, and do not
    /// wait there for another future of that pool. For a task that is cancelled before it has started it is
    /// the thread that cancels (cancel(), terminate(), shutdown()): hold no mutex there that the callback takes. An exception from it goes to the pool's on_event
    /// and harms nothing. `callback` takes nothing, or a future<T> of its own, which is done; then
    /// whoever calls get() first takes the value, and the other is told by a usage_error.
    template <class Callback>
    void on_done(Callback callback) {
        auto& shared = state("on_done");
        if constexpr (std::is_invocable_v<Callback&>) {
            shared.on_done(detail::copyable(std::move(callback)));
        } else {
            shared.on_done(
                detail::copyable([callback = std::move(callback), raw = &shared]() mutable {
                    raw->add_ref();
                    call(callback, detail::state_ptr(raw));
                }));
        }
    }

    /// The same, but called on an executor of Boost.Asio, or on a context's: by way of boost::asio::post(), also
    /// when the task has ended already. Until then the executor has outstanding work, so that
    /// io_context::run() does not return. An exception from the callback leaves run(), as any handler's. When the
    /// context is destroyed first, so is the callback. Needs bulkhead/asio.hpp.
    template <class Executor, class Callback>
    void on_done(Executor&& executor, Callback callback) {
        detail::state_ptr shared = kept("on_done");
        detail::with_asio<Executor, Callback>::bridge::on_done(
            *state_, std::forward<Executor>(executor),
            [callback = std::move(callback), shared = std::move(shared)]() mutable {
                call(callback, std::move(shared));
            });
    }

    /// What the task has said with report_progress(), so far: zeros before it did, and in a new run of it;
    /// of a task that has ended, what it said last, also if it crashed.
    [[nodiscard]] task_progress progress() const { return state("progress").progress(); }

    /// Calls `callback` of (const task_progress&), or of (done, total), when the task has said something
    /// new: once in progress_interval at most, and before on_done's callbacks with what it said last. By
    /// the executor's own thread (a thread_pool: the task's), which serves nothing else meanwhile: be
    /// brief. Once the task has ended it is not called any more. Exceptions are as on_done's.
    template <class Callback>
    void on_progress(Callback callback) {
        auto& shared = state("on_progress");
        if constexpr (std::is_invocable_v<Callback&, const task_progress&>) {
            shared.on_progress(detail::copyable(std::move(callback)));
        } else {
            static_assert(std::is_invocable_v<Callback&, std::uint64_t, std::uint64_t>,
                          "bulkhead: on_progress takes a callback of (const task_progress&) or "
                          "(std::uint64_t done, std::uint64_t total)");
            shared.on_progress(detail::copyable(
                [callback = std::move(callback)](const task_progress& now) mutable {
                    callback(now.done, now.total);
                }));
        }
    }

    /// A task that has not started never runs. One that runs in a process pool is killed with its
    /// worker, and this call returns once that process is gone (at most kill_grace and a moment;
    /// from a callback it returns at once). In a thread pool a running task gets a stop request
    /// through its std::stop_token, if its function takes one: it is cancelled then, whatever it gives, and
    /// done() once its function has returned, which nothing can enforce: wait() before what it refers to goes.
    /// One that takes none goes on. True if the task is cancelled: get() then throws task_cancelled.
    bool cancel() { return kept("cancel")->cancel(); }

    /// For the executors.
    explicit future(detail::state_ptr state) noexcept : state_(std::move(state)) {}

private:
    using clock = detail::future_state::clock;

    template <class Callback>
    static void call(Callback& callback, [[maybe_unused]] detail::state_ptr shared) {
        if constexpr (std::is_invocable_v<Callback&>) {
            callback();
        } else {
            static_assert(
                std::is_invocable_v<Callback&, future> || std::is_invocable_v<Callback&, future&>,
                "bulkhead: on_done takes a callback of (), (future<T>) or (future<T>&)");
            future self(std::move(shared));
            if constexpr (std::is_invocable_v<Callback&, future&>) {
                callback(self);
            } else {
                callback(std::move(self));
            }
        }
    }

    detail::future_state& state(const char* member) const {
        if (!state_) detail::throw_no_state(member);
        return *state_;
    }
    /// For members that another thread may call beside one that ends this future.
    detail::state_ptr kept(const char* member) const {
        (void)state(member);
        return state_;
    }

    friend detail::future_state* detail::shared_state<T>(const future<T>& of) noexcept;

    detail::state_ptr state_;
};

}  // namespace bulkhead
