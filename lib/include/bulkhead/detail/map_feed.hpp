/// @file
/// The input side of map() and map_unordered(): items from the ranges into batches, within the look-ahead.
#pragma once

#include <bulkhead/detail/map_batches.hpp>
#include <bulkhead/options.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <tuple>
#include <utility>

namespace bulkhead::detail {

template <class Source, std::ranges::view... Views>
class map_feed {
public:
    using batch = typename Source::batch;

    map_feed(Source source, const map_options& options, Views... inputs)
        : source_(std::move(source)),
          inputs_(std::make_unique<std::tuple<Views...>>(std::move(inputs)...)),
          tuner_(options, source_.workers()) {
        if constexpr (Source::is_flat) tuner_.is_flat();
    }

    [[nodiscard]] Source& source() noexcept { return source_; }
    [[nodiscard]] bool started() const noexcept { return positions_.has_value(); }
    /// Once, before fill().
    void start() {
        positions_.emplace(std::apply(
            [](auto&... input) { return std::tuple(std::ranges::begin(input)...); }, *inputs_));
    }

    /// Takes items while the look-ahead has room for a whole batch (or nothing runs), and gives each batch
    /// to `run`, with the index of its first item.
    template <class Run, class AnyRuns>
    void fill(const Run& run, const AnyRuns& any_runs) {
        while (!ended_) {
            const std::size_t size = tuner_.batch_size();
            const std::size_t room = tuner_.lookahead() - std::min(ahead_, tuner_.lookahead());
            if (room == 0 || (room < size && any_runs())) {
                steps_to_room_ = size - room;
                return;
            }
            std::size_t added = 0;
            try {
                source_.add_up_to(std::min(size, room), [&](const auto& add) {
                    // Not sooner: the next item of an input stream may depend on the results so far.
                    if (std::exchange(step_due_, false)) {
                        std::apply([](auto&... it) { (++it, ...); }, *positions_);
                    }
                    if (exhausted()) {
                        ended_ = true;
                        return false;
                    }
                    std::apply([&](auto&... it) { add(*it...); }, *positions_);
                    ++added;
                    step_due_ = true;
                    return true;
                });
            } catch (...) {
                error_ = std::current_exception();
                ended_ = true;
                ++ahead_;
            }
            ahead_ += added;
            auto refused = source_.take_refused();
            if (added != (refused ? 1U : 0U)) run(source_.flush(), taken_);
            taken_ += added;
            if (refused) run(*std::move(refused), taken_ - 1);
        }
    }

    /// Items in all; the shortest input counts.
    [[nodiscard]] std::size_t size() {
        return std::apply(
            [](auto&... input) {
                return std::min({static_cast<std::size_t>(std::ranges::size(input))...});
            },
            *inputs_);
    }

    /// The caller has stepped past an item. True when another batch may fit: time for fill().
    [[nodiscard]] bool stepped() noexcept {
        --ahead_;
        if (steps_to_room_ > 1) {
            --steps_to_room_;
            return false;
        }
        return !ended_;
    }
    /// After source().collect().
    void measured() noexcept { tuner_.measured(source_.last_run_time(), source_.last_items()); }

    /// What the input threw is the last element.
    [[nodiscard]] bool has_error() const noexcept { return error_ != nullptr; }
    [[nodiscard]] std::exception_ptr take_error() noexcept {
        return std::exchange(error_, nullptr);
    }
    /// Items taken from the input so far.
    [[nodiscard]] std::size_t taken() const noexcept { return taken_; }

private:
    bool exhausted() {
        return [&]<std::size_t... I>(std::index_sequence<I...>) {
            return ((std::get<I>(*positions_) == std::ranges::end(std::get<I>(*inputs_))) || ...);
        }(std::index_sequence_for<Views...>{});
    }

    Source source_;
    std::unique_ptr<std::tuple<Views...>>
        inputs_;  // where it is moved, iterators into it stay valid
    std::optional<std::tuple<std::ranges::iterator_t<Views>...>> positions_;
    chunk_tuner tuner_;
    std::exception_ptr error_;
    std::size_t taken_ = 0;
    std::size_t ahead_ = 0;  // taken, not yet stepped past
    std::size_t steps_to_room_ = 0;
    bool ended_ = false;
    bool step_due_ = false;  // past the item that was taken last
};

}  // namespace bulkhead::detail
