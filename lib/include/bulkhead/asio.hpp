/// @file
/// Tasks and queues in programs of Boost.Asio. An opt-in header: with it the members
/// process_pool::async_submit and async_join, thread_pool::async_submit and async_join,
/// queue::async_get and async_put, and future::on_done with an executor can be called.
/// @code
/// boost::asio::awaitable<void> serve(bulkhead::process_pool& pool, std::string request) {
///     using namespace boost::asio::experimental::awaitable_operators;
///     boost::asio::steady_timer late(co_await boost::asio::this_coro::executor, 2s);
///     auto answer = co_await (pool.async_submit(parse, request, boost::asio::use_awaitable) ||
///                             late.async_wait(boost::asio::use_awaitable));
/// }
/// @endcode
///
/// Tokens. Any: a callback, use_future, use_awaitable, deferred, ...; the last argument. The
/// signature is `void(std::exception_ptr, T)`, or `void(std::exception_ptr)` without a result. T is
/// made by its default constructor when there is an exception. A token that begins later
/// (use_awaitable, deferred) keeps copies of function and arguments, and of a text the string that its
/// parameter asks for; what it begins after the pool's end completes with pool_closed. GCC 12 destroys a
/// braced temporary within a co_await expression twice: give task_options a name before. Of two results in
/// `a || b` Asio drops the slower one, also where that is a queue's message.
///
/// Handlers. Called exactly once, by way of boost::asio::post() to the handler's associated
/// executor (else system_executor), never within the initiating function; until then that executor
/// has outstanding work, so that io_context::run() does not return. Results are decoded there. The
/// handler waits in memory of its associated allocator. A handler whose context is destroyed first
/// is destroyed with it and not called; its task goes on, its get or put is withdrawn. (An
/// any_completion_executor does not tell which context it is of: that one must outlive the handler.)
///
/// Errors. None is thrown by the initiating function, except std::bad_alloc and by tokens:
/// pool_closed, pool_broken, codec_error, std::length_error, queue_closed, and all that
/// future::get() throws, go to the handler.
///
/// Waiting. The initiating thread never waits: where submit() and put() would wait for room, the
/// operation does. A task is queued also beyond backlog_max: who starts many at once bounds their
/// number.
///
/// Cancellation. Any type of it, through the handler's slot:
/// - async_submit: as future::cancel(), without waiting. A queued task never runs; one that runs in
///   a process_pool is killed with its worker; the completion, once that is so, is task_cancelled.
///   In a thread_pool a running task that takes a std::stop_token gets a stop request, and the
///   completion, once it has ended, is task_cancelled; one that takes none goes on.
/// - async_get, async_put: task_cancelled, and no message has been taken or put; or, if it was too
///   late for that, the operation's success. No message is lost in between.
/// - async_join: task_cancelled; the tasks go on.
///
/// Queues. Gets begun by one handle and its copies in this process are served in their order, and
/// so are puts: a large message that waits for room holds up those behind it. Pending operations
/// keep the queue alive, when the last handle is gone too. While there are any, a thread of the
/// library waits for each side of such a queue; 200 ms after, it is gone. A message that was taken
/// for a handler whose context is destroyed before it is called is lost with it. In a fork, what was
/// pending is the parent's: its handlers are not called there. Use a context that was made after it.
#pragma once

#include <bulkhead/detail/asio_operation.hpp>
#include <bulkhead/detail/idle_watch.hpp>
#include <bulkhead/detail/queue_operation.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/process_pool.hpp>
#include <bulkhead/queue.hpp>
#include <bulkhead/thread_pool.hpp>

#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_executor.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

namespace bulkhead::detail {

// ---- async_submit

template <class Handler, class T>
class submit_operation final : public asio_operation<Handler, T> {
public:
    using asio_operation<Handler, T>::asio_operation;

    void begin(future<T> result) {
        task_ = state_of(result);
        result.on_done([self = this->shared_from_this()] { self->complete(nullptr); });
    }
    void request_cancel() override { task_->request_cancel(); }

private:
    T take() override { return future<T>(task_).get(); }

    static state_ptr state_of(const future<T>& of) {
        future_state* const state = shared_state(of);
        state->add_ref();
        return state_ptr(state);
    }

    state_ptr task_;
};

template <class Core>
struct initiate_submit {
    std::shared_ptr<Core> core;
    task_options options;

    template <class Handler, class F, class... A>
    void operator()(Handler&& handler, F&& f, A&&... arguments) const {
        using result =
            typename decltype(submit_call(*core, when_full::exceed, options, std::forward<F>(f),
                                          std::forward<A>(arguments)...))::value_type;
        using value = typename result::value_type;
        using operation = submit_operation<std::decay_t<Handler>, value>;
        begin_operation<operation>(
            std::forward<Handler>(handler), [&](const std::shared_ptr<operation>& one) {
                result task;
                try {
                    task = *submit_call(*core, when_full::exceed, options, std::forward<F>(f),
                                        std::forward<A>(arguments)...);
                } catch (...) {
                    task = result(refused_task(*core, options, std::current_exception()));
                }
                one->begin(std::move(task));
            });
    }
};

// ---- async_join

template <class Handler, class Core>
class join_operation final : public asio_operation<Handler, void>, public idle_watch {
public:
    join_operation(Handler&& handler, const std::shared_ptr<Core>& core)
        : asio_operation<Handler, void>(std::move(handler)), core_(core) {}

    void idle() noexcept override { this->complete(nullptr); }
    void request_cancel() override {
        leave();
        this->complete(
            std::make_exception_ptr(task_cancelled("bulkhead: waiting for a pool was cancelled")));
    }

private:
    void take() override {}
    void orphan() noexcept override {
        leave();
        asio_operation<Handler, void>::orphan();
    }
    void leave() {
        if (const auto core = core_.lock()) unwatch_idle(*core, *this);
    }

    std::weak_ptr<Core> core_;
};

template <class Core>
struct initiate_join {
    std::shared_ptr<Core> core;

    template <class Handler>
    void operator()(Handler&& handler) const {
        using operation = join_operation<std::decay_t<Handler>, Core>;
        begin_operation<operation>(
            std::forward<Handler>(handler),
            [&](const std::shared_ptr<operation>& one) {
                try {
                    watch_idle(*core, one);
                } catch (...) {
                    one->complete(std::current_exception());
                }
            },
            core);
    }
};

// ---- on_done with an executor

template <class Callback>
struct done_handler {
    Callback callback;
    void operator()(const std::exception_ptr&) { callback(); }
};

template <class Handler>
class done_operation final : public asio_operation<Handler, void> {
public:
    using asio_operation<Handler, void>::asio_operation;

    void request_cancel() override {}

private:
    void take() override {}
};

// ---- async_get and async_put

/// A message on its way to a value.
template <class T>
class incoming_message {
public:
    [[nodiscard]] std::byte* room(std::size_t bytes) {
        const byte_sink to = message_.sink();
        return to.room(to.context, bytes);
    }
    [[nodiscard]] T take() {
        if constexpr (travels_as_content<T>) {
            message_.check();
            return std::move(message_.value);
        } else {
            return decode_message<T>(message_.bytes());
        }
    }

private:
    std::conditional_t<travels_as_content<T>, content_sink<T>, message_buffer> message_;
};

template <class Handler, class T>
class line_operation : public asio_operation<Handler, T>, public queue_operation {
public:
    line_operation(Handler&& handler, std::shared_ptr<queue_line> line)
        : asio_operation<Handler, T>(std::move(handler)), line_(std::move(line)) {}

    void request_cancel() final { withdraw(*line_, *this); }
    void ended(std::exception_ptr error) noexcept final { this->complete(std::move(error)); }

private:
    void orphan() noexcept final {
        asio_operation<Handler, T>::orphan();
        withdraw_and_wait(*line_, *this);
    }

    std::shared_ptr<queue_line> line_;
};

template <class Handler, class T>
class get_operation final : public line_operation<Handler, T> {
public:
    using line_operation<Handler, T>::line_operation;

private:
    std::byte* room(std::size_t bytes) override { return message_.room(bytes); }
    [[nodiscard]] std::span<const std::byte> message() const override { return {}; }
    T take() override { return message_.take(); }

    incoming_message<T> message_;
};

template <class Handler, class T>
class put_operation final : public line_operation<Handler, void> {
public:
    using line_operation<Handler, void>::line_operation;

    void encode(const T& value) { write_message(message_, value); }

private:
    [[noreturn]] std::byte* room(std::size_t) override { std::terminate(); }
    [[nodiscard]] std::span<const std::byte> message() const override { return message_.bytes(); }
    void take() override {}

    message_encoder message_;
};

template <class T>
struct initiate_get {
    queue_core queue;

    template <class Handler>
    void operator()(Handler&& handler) const {
        using operation = get_operation<std::decay_t<Handler>, T>;
        begin_operation<operation>(
            std::forward<Handler>(handler),
            [&](const std::shared_ptr<operation>& one) { queue.get_later(one); }, queue.getters());
    }
};

template <class T>
struct initiate_put {
    queue_core queue;

    template <class Handler, class Value>
    void operator()(Handler&& handler, Value&& value) const {
        using operation = put_operation<std::decay_t<Handler>, T>;
        begin_operation<operation>(
            std::forward<Handler>(handler),
            [&](const std::shared_ptr<operation>& one) {
                try {
                    one->encode(std::forward<Value>(value));
                } catch (...) {
                    one->complete(std::current_exception());
                    return;
                }
                queue.put_later(one);
            },
            queue.putters());
    }
};

/// An argument that was converted when it was given, or why it could not be.
template <class T>
class early_argument {
public:
    template <class A>
    requires(!std::is_same_v<std::remove_cvref_t<A>, early_argument>)
    explicit early_argument(A&& given) {
        try {
            value_.emplace(std::forward<A>(given));
        } catch (...) {
            failure_ = std::current_exception();
        }
    }
    operator T() const& {  // NOLINT(google-explicit-constructor): an argument
        if (failure_) std::rethrow_exception(failure_);
        return *value_;
    }
    operator T() && {  // NOLINT(google-explicit-constructor): an argument
        if (failure_) std::rethrow_exception(failure_);
        return *std::move(value_);
    }

private:
    std::optional<T> value_;
    std::exception_ptr failure_;
};

template <class List, std::size_t Count>
inline constexpr bool is_as_long = false;
template <class... P, std::size_t Count>
inline constexpr bool is_as_long<parameter_list<P...>, Count> = sizeof...(P) == Count;

// ---- what the members call

template <class>
struct asio_bridge {
    template <class Core, class First, class... A>
    static auto submit(const std::shared_ptr<Core>& core, First&& first, A&&... rest) {
        if constexpr (std::is_same_v<std::remove_cvref_t<First>, task_options>) {
            return split(core, first, std::forward_as_tuple(std::forward<A>(rest)...),
                         std::make_index_sequence<sizeof...(A) - 1>{});
        } else {
            return split(
                core, task_options{},
                std::forward_as_tuple(std::forward<First>(first), std::forward<A>(rest)...),
                std::make_index_sequence<sizeof...(A)>{});
        }
    }

    template <class Core, class Token>
    static auto join(const std::shared_ptr<Core>& core, Token&& token) {
        return boost::asio::async_initiate<Token, void(std::exception_ptr)>(
            initiate_join<Core>{core}, token);
    }

    template <class Executor, class Callback>
    static void on_done(future_state& task, Executor&& executor, Callback&& callback) {
        auto handler = boost::asio::bind_executor(
            std::forward<Executor>(executor),
            done_handler<std::decay_t<Callback>>{std::forward<Callback>(callback)});
        using operation = done_operation<decltype(handler)>;
        begin_operation<operation>(std::move(handler), [&](const std::shared_ptr<operation>& one) {
            task.on_done([one] { one->complete(nullptr); });
        });
    }

    template <class T, class Token>
    static auto get(const queue_core& queue, Token&& token) {
        return boost::asio::async_initiate<Token, typename completion_signature<T>::type>(
            initiate_get<T>{queue}, token);
    }

    template <class T, class Value, class Token>
    static auto put(const queue_core& queue, Value&& value, Token&& token) {
        if constexpr (std::is_same_v<std::remove_cvref_t<Value>, T>) {
            return boost::asio::async_initiate<Token, void(std::exception_ptr)>(
                initiate_put<T>{queue}, token, std::forward<Value>(value));
        } else {
            return boost::asio::async_initiate<Token, void(std::exception_ptr)>(
                initiate_put<T>{queue}, token, T(std::forward<Value>(value)));
        }
    }

private:
    /// The last is the token.
    template <class Core, class All, std::size_t... I>
    static auto split(const std::shared_ptr<Core>& core, const task_options& options, All&& all,
                      std::index_sequence<I...>) {
        using token = std::tuple_element_t<sizeof...(I), std::remove_cvref_t<All>>;
        return call(
            core, options, static_cast<token>(std::get<sizeof...(I)>(all)),
            static_cast<std::tuple_element_t<I, std::remove_cvref_t<All>>>(std::get<I>(all))...);
    }

    template <class Core, class Token, class F, class... A>
    static auto call(const std::shared_ptr<Core>& core, const task_options& options, Token&& token,
                     F&& f, A&&... arguments) {
        using result =
            typename decltype(submit_call(*core, when_full::exceed, options, std::forward<F>(f),
                                          std::forward<A>(arguments)...))::value_type;
        using value = typename result::value_type;
        using function = signature<std::decay_t<F>>;
        using parameters =
            typename without_stop_token<typename parameters_for<std::decay_t<F>, A...>::all>::type;
        if constexpr (function::known && is_as_long<parameters, sizeof...(A)>) {
            return initiate<value, Token>(parameters{}, initiate_submit<Core>{core, options}, token,
                                          std::forward<F>(f), std::forward<A>(arguments)...);
        } else {
            return boost::asio::async_initiate<Token, typename completion_signature<value>::type>(
                initiate_submit<Core>{core, options}, token, std::forward<F>(f),
                std::forward<A>(arguments)...);
        }
    }

    template <class Value, class Token, class... P, class Core, class F, class... A>
    static auto initiate(parameter_list<P...>, initiate_submit<Core>&& initiation,
                         std::remove_reference_t<Token>& token, F&& f, A&&... arguments) {
        return boost::asio::async_initiate<Token, typename completion_signature<Value>::type>(
            std::move(initiation), token, std::forward<F>(f),
            owned<Core, P>(std::forward<A>(arguments))...);
    }

    /// An argument as a lazy token, which begins later, may keep it: the text that it points to may have changed or
    /// gone by then.
    template <class Core, class P, class A>
    static decltype(auto) owned(A&& argument) {
        using given = std::decay_t<A>;
        using kept = stored<P>;
        constexpr bool points =
            std::is_pointer_v<given> || is_instance_of<given, std::basic_string_view>;
        if constexpr (!points || std::is_same_v<kept, given>) {
            return std::forward<A>(argument);
        } else if constexpr (std::is_same_v<Core, thread_core> ? is_converted_at_once<P, A>()
                                                               : converts_to_parameter<A, kept>) {
            return early_argument<kept>(std::forward<A>(argument));
        } else {
            return std::forward<A>(argument);
        }
    }
};

}  // namespace bulkhead::detail
