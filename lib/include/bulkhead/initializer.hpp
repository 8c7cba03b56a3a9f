/// @file
/// What each new worker of a process_pool does before its first task.
#pragma once

#include <bulkhead/detail/submission.hpp>
#include <bulkhead/detail/task_encoder.hpp>
#include <bulkhead/task.hpp>

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace bulkhead {

/// A function, with arguments, for process_pool_options::initializer: `.initializer = load_model` or
/// `.initializer = {load_model, "model.bin"}`. What f and the arguments may be: as for submit(). What
/// it returns is dropped.
class worker_initializer {
public:
    /// None.
    worker_initializer() = default;

    /// Encodes the arguments now; throws codec_error when one cannot be.
    template <class F, class... A>
    requires(!std::same_as<std::remove_cvref_t<F>, worker_initializer>)
    worker_initializer(F&& f, A&&... args)  // NOLINT(google-explicit-constructor): for `= function`
        : call_(std::make_shared<encoded_call>()) {
        using task = detail::task_of<F, A...>;
        static_assert(task::ok && task::parameters_ok);
        using call = typename task::call;
        const std::decay_t<F> function(std::forward<F>(f));
        call::encode_function(call_->arguments, function);
        call::encode_arguments(call_->arguments, std::forward<A>(args)...);
        call_->what = {.entry = call::entry(), .takes_stop_token = task::token};
    }

    explicit operator bool() const noexcept { return call_ != nullptr; }

    /// For the pool.
    struct encoded_call {
        detail::submission what;
        detail::task_encoder arguments;
    };
    [[nodiscard]] const encoded_call& call() const noexcept { return *call_; }

private:
    std::shared_ptr<encoded_call> call_;
};

}  // namespace bulkhead
