/// @file
/// Waiting for several futures: wait() and as_completed(), as in Python's concurrent.futures.
#pragma once

#include <bulkhead/detail/completion_watch.hpp>
#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/future.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace bulkhead {

namespace detail {

template <class T>
inline constexpr bool is_future = false;
template <class T>
inline constexpr bool is_future<future<T>> = true;

/// The future that an element of a range is, points to, or refers to.
template <class Element>
[[nodiscard]] auto* future_of(Element& element) {
    using bare = std::remove_cv_t<Element>;
    if constexpr (is_future<bare>) {
        return &element;
    } else if constexpr (requires { element.get().valid(); }) {
        return &element.get();  // std::reference_wrapper
    } else {
        static_assert(
            requires { element->valid(); },
            "bulkhead: wait() and as_completed() take a range of futures, or of pointers "
            "or references to futures");
        return &*element;
    }
}

template <std::ranges::forward_range Futures>
[[nodiscard]] std::vector<future_state*> states_of(Futures& futures) {
    std::vector<future_state*> states;
    for (auto& element : futures) states.push_back(shared_state(*future_of(element)));
    check_valid(states);
    return states;
}

}  // namespace detail

/// What wait() waits for.
enum wait_condition : unsigned char {
    wait_for_first,        ///< one future is done
    wait_for_all,          ///< all are done
    wait_for_first_error,  ///< one has failed (cancelled is not failed), or all are done
};

/// Indices into the range, ascending.
struct wait_result {
    std::vector<std::size_t> done;
    std::vector<std::size_t> pending;
};

/// Waits until the condition holds, and says which futures are done; they stay as they are. A future
/// may be in the range several times. An empty range is done at once. Throws usage_error when one is
/// not valid().
template <std::ranges::forward_range Futures>
wait_result wait(Futures&& futures, wait_condition condition = wait_for_all) {
    auto [done, pending] =
        detail::wait_for_states(detail::states_of(futures), condition == wait_for_all,
                                condition == wait_for_first_error, detail::wait_for_ever);
    return {std::move(done), std::move(pending)};
}

/// The same, at most for `timeout`: then the condition may not hold.
template <std::ranges::forward_range Futures, class Rep, class Period>
wait_result wait(Futures&& futures, wait_condition condition,
                 const std::chrono::duration<Rep, Period>& timeout) {
    auto [done, pending] =
        detail::wait_for_states(detail::states_of(futures), condition == wait_for_all,
                                condition == wait_for_first_error, detail::deadline_after(timeout));
    return {std::move(done), std::move(pending)};
}

/// What as_completed() gives: an input range of the futures (by reference), each as soon as it is done.
template <class Future>
class completed_range {
public:
    class iterator {
    public:
        using value_type = Future;
        using difference_type = std::ptrdiff_t;

        iterator() = default;
        explicit iterator(completed_range* range) : range_(range) { ++*this; }
        Future& operator*() const { return *range_->futures_[*range_->current_]; }
        Future* operator->() const { return range_->futures_[*range_->current_]; }
        iterator& operator++() {
            range_->advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator& at, std::default_sentinel_t) { return at.at_end(); }

    private:
        [[nodiscard]] bool at_end() const noexcept { return !range_->current_.has_value(); }

        completed_range* range_ = nullptr;
    };

    completed_range(std::vector<Future*> futures, const std::vector<detail::future_state*>& states,
                    detail::deadline until)
        : futures_(std::move(futures)),
          watch_(detail::completion_watch::over(states)),
          until_(until) {}

    /// Waits for the first. Once. Throws wait_timeout.
    [[nodiscard]] iterator begin() { return iterator(this); }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }
    [[nodiscard]] std::size_t size() const noexcept { return futures_.size(); }

private:
    void advance() {
        current_.reset();
        if (given_ == futures_.size()) return;
        current_ = watch_->next(until_);
        if (!current_) detail::throw_wait_timeout(futures_.size() - given_);
        ++given_;
    }

    std::vector<Future*> futures_;
    std::shared_ptr<detail::completion_watch> watch_;
    detail::deadline until_;
    std::size_t given_ = 0;
    std::optional<std::size_t> current_{};
};

namespace detail {
template <std::ranges::forward_range Futures>
[[nodiscard]] auto completed(Futures& futures, deadline until) {
    using future_type = std::remove_pointer_t<decltype(future_of(*std::ranges::begin(futures)))>;
    std::vector<future_type*> all;
    for (auto& element : futures) all.push_back(future_of(element));
    return completed_range<future_type>(std::move(all), states_of(futures), until);
}

/// The futures of what is passed are there for longer than the call.
template <class Futures>
concept shows_lasting_futures =
    std::ranges::forward_range<Futures> &&
    (std::is_lvalue_reference_v<Futures> || std::ranges::borrowed_range<Futures> ||
     std::is_pointer_v<std::remove_cvref_t<std::ranges::range_reference_t<Futures>>>);
}  // namespace detail

/// The futures of a range as they are done, each once: `for (auto& f : as_completed(futures))
/// use(f.get());`. Those that are done already come first. The futures must outlive the loop. Throws
/// usage_error when one is not valid().
template <detail::shows_lasting_futures Futures>
[[nodiscard]] auto as_completed(Futures&& futures) {
    return detail::completed(futures, detail::wait_for_ever);
}
template <class T>
[[nodiscard]] auto as_completed(std::initializer_list<future<T>*> futures) {
    return detail::completed(futures, detail::wait_for_ever);
}

/// The same; the iteration throws wait_timeout when the next is not done within `timeout` from now.
template <detail::shows_lasting_futures Futures, class Rep, class Period>
[[nodiscard]] auto as_completed(Futures&& futures,
                                const std::chrono::duration<Rep, Period>& timeout) {
    return detail::completed(futures, detail::deadline_after(timeout));
}
template <class T, class Rep, class Period>
[[nodiscard]] auto as_completed(std::initializer_list<future<T>*> futures,
                                const std::chrono::duration<Rep, Period>& timeout) {
    return detail::completed(futures, detail::deadline_after(timeout));
}

}  // namespace bulkhead
