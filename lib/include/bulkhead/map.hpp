/// @file
/// The range that map() of both pools returns.
#pragma once

#include <bulkhead/detail/map_batches.hpp>
#include <bulkhead/options.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <exception>
#include <iterator>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>

namespace bulkhead {

/// The results of map(), in the order of the input. A move-only input range, walked once:
///
/// - Nothing runs before begin(). From then on at most map_options::lookahead_max items have been
///   taken from the input beyond what the caller has stepped past, so the input may be infinite.
/// - `*it` moves the result out, or throws what its task ended with, at that position; `++it` goes on
///   past it. When the input itself throws, that exception appears at its position, which is the last.
/// - A crash fails the item that was being run and no other.
/// - Leaving early (destroying the range) drops the items that have not started; those that run end
///   by themselves and their results are dropped.
/// - For a function that returns void the elements are std::monostate.
///
/// Lvalue inputs are referred to and must outlive the range, as with standard views; so must the
/// pool's tasks: the range keeps the pool's core alive, but after shutdown() no item can start.
template <class Source, std::ranges::view... Views>
class [[nodiscard]] map_range {
    using outcome = detail::map_outcome<typename Source::result>;

public:
    using value_type = typename outcome::value_type;

    map_range(Source source, const map_options& options, Views... inputs)
        : source_(std::move(source)),
          inputs_(std::move(inputs)...),
          tuner_(options, source_.workers()) {}
    map_range(map_range&&) noexcept = default;
    map_range& operator=(map_range&&) = delete;
    ~map_range() {
        for (auto& batch : in_flight_) source_.abandon(batch);
    }

    class iterator {
    public:
        using iterator_concept = std::input_iterator_tag;
        using value_type = typename map_range::value_type;
        using difference_type = std::ptrdiff_t;

        iterator() = default;
        /// Waits for the result; throws what its task ended with.
        value_type&& operator*() const { return owner_->front(); }
        iterator& operator++() {
            owner_->step();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.at_end(); }

    private:
        [[nodiscard]] bool at_end() const { return owner_->at_end(); }

        friend class map_range;
        explicit iterator(map_range& owner) : owner_(&owner) {}
        map_range* owner_ = nullptr;
    };

    /// Once.
    [[nodiscard]] iterator begin() {
        if (!started_) {
            started_ = true;
            positions_.emplace(std::apply(
                [](auto&... input) { return std::tuple(std::ranges::begin(input)...); }, inputs_));
            fill();
        }
        return iterator(*this);
    }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

    /// Walks to the end, for functions called for what they do: throws the first error.
    void wait() {
        for (auto it = begin(); it != end(); ++it) (void)*it;
    }

private:
    bool at_end() {
        fill();
        return ready_.empty() && in_flight_.empty() && !input_error_;
    }

    value_type&& front() {
        need_front();
        return ready_.front().value();
    }

    void step() {
        need_front();
        ready_.pop_front();
        --taken_;
        fill();
    }

    /// Waits until the outcome at the current position is there.
    void need_front() {
        while (ready_.empty()) {
            if (in_flight_.empty()) {
                // Only reached with an error of the input left, which is the last element.
                ready_.emplace_back(std::exchange(input_error_, nullptr));
                return;
            }
            auto& batch = in_flight_.front();
            const bool finished = source_.collect(batch, ready_);
            tuner_.measured(source_.last_run_time(), source_.last_items());
            if (finished) in_flight_.pop_front();
        }
    }

    /// Takes items from the input while the look-ahead has room for a whole batch (or nothing runs).
    void fill() {
        while (!input_ended_) {
            const std::size_t size = tuner_.batch_size();
            const std::size_t room = tuner_.lookahead() - std::min(taken_, tuner_.lookahead());
            if (room == 0 || (room < size && !in_flight_.empty())) return;
            std::size_t added = 0;
            try {
                const std::size_t wanted = std::min(size, room);
                while (added < wanted && !source_.batch_is_large()) {
                    if (inputs_exhausted()) {
                        input_ended_ = true;
                        break;
                    }
                    std::apply([&](auto&... it) { source_.add(*it...); }, *positions_);
                    ++added;
                    std::apply([](auto&... it) { (++it, ...); }, *positions_);
                }
            } catch (...) {
                input_error_ = std::current_exception();
                input_ended_ = true;
                ++taken_;
            }
            taken_ += added;
            if (added != 0) in_flight_.push_back(source_.flush());
        }
    }

    bool inputs_exhausted() {
        return [&]<std::size_t... I>(std::index_sequence<I...>) {
            return ((std::get<I>(*positions_) == std::ranges::end(std::get<I>(inputs_))) || ...);
        }(std::index_sequence_for<Views...>{});
    }

    Source source_;
    std::tuple<Views...> inputs_;
    std::optional<std::tuple<std::ranges::iterator_t<Views>...>> positions_;
    detail::chunk_tuner tuner_;
    std::deque<typename Source::batch> in_flight_;
    std::deque<outcome> ready_;
    std::exception_ptr input_error_;
    std::size_t taken_ = 0;  // from the input, not yet stepped past
    bool started_ = false;
    bool input_ended_ = false;
};

}  // namespace bulkhead
