/// @file
/// An operation whose completion is a handler of Boost.Asio: where that waits, how it is called, and what ends it.
#pragma once

#include <bulkhead/detail/pending_operation.hpp>

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/execution/blocking.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution/executor.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/system_executor.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace bulkhead::detail {

/// Ends a context's pending operations when it is destroyed.
class pending_operations_service final : public boost::asio::execution_context::service {
public:
    static inline boost::asio::execution_context::id id;

    explicit pending_operations_service(boost::asio::execution_context& context)
        : service(context) {}

    [[nodiscard]] const std::shared_ptr<pending_operations>& operations() const noexcept {
        return operations_;
    }

private:
    void shutdown() override { operations_->close(); }

    std::shared_ptr<pending_operations> operations_ = std::make_shared<pending_operations>();
};

template <class Executor>
std::shared_ptr<pending_operations> operations_of(const Executor& executor) {
    namespace asio = boost::asio;
    if constexpr (asio::can_query_v<const Executor&, asio::execution::context_t>) {
        asio::execution_context& context = asio::query(executor, asio::execution::context);
        return asio::use_service<pending_operations_service>(context).operations();
    } else if constexpr (requires { executor.context(); }) {
        return asio::use_service<pending_operations_service>(executor.context()).operations();
    } else {
        return std::make_shared<pending_operations>();  // nobody tells of its end
    }
}

/// Work that an executor has outstanding. Not executor_work_guard where there is a choice: Boost 1.81 takes
/// a strand of any_io_executor for an executor of the old kind too, and does not compile.
template <class Executor>
class outstanding_work {
public:
    explicit outstanding_work(const Executor& executor)
        : executor_(executor),
          work_(boost::asio::prefer(executor, boost::asio::execution::outstanding_work.tracked)) {}
    [[nodiscard]] const Executor& get_executor() const noexcept { return executor_; }

private:
    Executor executor_;
    std::decay_t<decltype(boost::asio::prefer(std::declval<const Executor&>(),
                                              boost::asio::execution::outstanding_work.tracked))>
        work_;
};
template <class Executor>
requires(!boost::asio::execution::is_executor_v<Executor>)
class outstanding_work<Executor> : public boost::asio::executor_work_guard<Executor> {
    using boost::asio::executor_work_guard<Executor>::executor_work_guard;
};

/// Calls `function` on the executor, later: never in this call.
template <class Executor, class Function>
void call_later(const Executor& executor, Function&& function) {
    namespace asio = boost::asio;
    if constexpr (asio::execution::is_executor_v<Executor> &&
                  !asio::can_require_v<const Executor&, asio::execution::blocking_t::never_t>) {
        // Such as any_completion_executor: it may call within execute(), so that is called elsewhere. The work
        // ends behind it: before that, run() of the context does not return, whose end nobody else waits for.
        asio::post(asio::system_executor(),
                   [work = outstanding_work<Executor>(executor),
                    function = std::forward<Function>(function)]() mutable {
                       work.get_executor().execute(std::move(function));
                   });
    } else {
        asio::post(executor, std::forward<Function>(function));
    }
}

/// A handler that waits, in memory from its associated allocator, with its executor's outstanding
/// work.
template <class Handler>
class held_handler {
    using executor = boost::asio::associated_executor_t<Handler>;
    struct block {
        explicit block(Handler&& from)
            : handler(std::move(from)), work(boost::asio::get_associated_executor(handler)) {}
        Handler handler;
        outstanding_work<executor> work;
    };
    using allocator = typename std::allocator_traits<
        boost::asio::associated_allocator_t<Handler>>::template rebind_alloc<block>;
    using traits = std::allocator_traits<allocator>;

public:
    explicit held_handler(Handler&& handler)
        : allocator_(boost::asio::get_associated_allocator(handler)) {
        block_ = traits::allocate(allocator_, 1);
        try {
            traits::construct(allocator_, std::to_address(block_), std::move(handler));
        } catch (...) {
            traits::deallocate(allocator_, block_, 1);
            throw;
        }
    }
    held_handler(held_handler&& other) noexcept
        : allocator_(std::move(other.allocator_)), block_(std::exchange(other.block_, nullptr)) {}
    held_handler& operator=(held_handler&&) = delete;
    ~held_handler() { drop(); }

    [[nodiscard]] executor get_executor() const noexcept { return block_->work.get_executor(); }
    void drop() noexcept {
        if (block_ == nullptr) return;
        const auto gone = std::exchange(block_, nullptr);
        traits::destroy(allocator_, std::to_address(gone));
        traits::deallocate(allocator_, gone, 1);
    }
    /// Frees the memory first: the handler may begin the next operation in it.
    [[nodiscard]] Handler take() {
        Handler handler = std::move(block_->handler);
        drop();
        return handler;
    }

private:
    [[no_unique_address]] allocator allocator_;
    typename traits::pointer block_;
};

/// An operation with a result of type T for its handler.
template <class Handler, class T>
class asio_operation : public pending_operation {
public:
    explicit asio_operation(Handler&& handler) : handler_(std::move(handler)) {}

    /// From the handler's cancellation slot.
    virtual void request_cancel() = 0;

protected:
    /// Moves the result out or throws what came instead of it. In the handler's thread.
    virtual T take() = 0;

    void post(std::exception_ptr error) final {
        error_ = std::move(error);
        const auto executor = handler_.get_executor();
        call_later(executor, delivery{std::static_pointer_cast<asio_operation>(shared_from_this()),
                                      std::move(handler_)});
    }
    void orphan() noexcept override { handler_.drop(); }

private:
    /// Owns the handler from now on: it is destroyed with this, by the context at the latest.
    struct delivery {
        std::shared_ptr<asio_operation> of;
        held_handler<Handler> to;

        void operator()() {
            std::exception_ptr error = std::move(of->error_);
            if constexpr (std::is_void_v<T>) {
                if (!error) error = of->attempt([&] { of->take(); });
                of.reset();
                to.take()(std::move(error));
            } else {
                std::optional<T> value;
                if (!error) error = of->attempt([&] { value.emplace(of->take()); });
                of.reset();
                if (!value) value.emplace();
                to.take()(std::move(error), *std::move(value));
            }
        }
    };

    template <class F>
    static std::exception_ptr attempt(F&& take) {
        try {
            take();
            return nullptr;
        } catch (...) {
            return std::current_exception();
        }
    }

    held_handler<Handler> handler_;
    std::exception_ptr error_;
};

/// Makes an operation and calls `begin(operation)`, unless the handler's context is being
/// destroyed.
template <class Operation, class Handler, class Begin, class... A>
void begin_operation(Handler&& handler, Begin&& begin, A&&... arguments) {
    namespace asio = boost::asio;
    std::decay_t<Handler> own(std::forward<Handler>(handler));  // an lvalue stays its owner's
    auto operations = operations_of(asio::get_associated_executor(own));
    const auto slot = asio::get_associated_cancellation_slot(own);
    const auto operation =
        std::make_shared<Operation>(std::move(own), std::forward<A>(arguments)...);
    if (!operation->enlist(operations)) return;
    // Before it begins: it may be completed in another thread right then, and the slot used again.
    if (slot.is_connected()) {
        auto to = slot;
        to.assign([weak = std::weak_ptr(operation)](asio::cancellation_type type) {
            if (type == asio::cancellation_type::none) return;
            if (const auto still = weak.lock()) still->request_cancel();
        });
    }
    begin(operation);
}

template <class T>
struct completion_signature {
    static_assert(
        std::is_default_constructible_v<T> && std::is_move_constructible_v<T>,
        "bulkhead: the result of an operation with a completion token must be default "
        "constructible, as Asio's handlers take a value beside the exception too: return a "
        "std::optional of it, or use submit() and future::on_done()");
    using type = void(std::exception_ptr, T);
};
template <>
struct completion_signature<void> {
    using type = void(std::exception_ptr);
};

}  // namespace bulkhead::detail
