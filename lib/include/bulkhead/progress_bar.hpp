/// @file
/// A line on standard error that shows how far a loop is.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <utility>

namespace bulkhead {

struct progress_bar_options {
    /// Stands in front.
    std::string label{};
    /// Steps in all; otherwise what the range's size() says, if it has one, or unknown.
    std::optional<std::uint64_t> total{};
    /// Also when standard error is no terminal: then as a line every five seconds, and one at the end.
    /// Otherwise nothing is printed there.
    bool always = false;
};

/// The line itself, for loops that are none over a range. It is drawn anew ten times a second at most, and
/// the last time by finish() or the destructor. One thread at a time.
class progress_meter {
public:
    explicit progress_meter(progress_bar_options options);
    progress_meter(progress_meter&&) noexcept;
    progress_meter& operator=(progress_meter&&) = delete;
    ~progress_meter();

    /// So many more steps are done.
    void advance(std::uint64_t steps = 1);
    /// So many are done in all.
    void set(std::uint64_t done);
    /// Shows the last state and ends the line. Later steps are not shown.
    void finish() noexcept;
    [[nodiscard]] std::uint64_t done() const noexcept;

private:
    struct state;
    std::unique_ptr<state> state_;
};

/// What progress_bar() returns: the range's own elements, by the same references. An input range, walked once.
template <std::ranges::input_range Range>
class [[nodiscard]] progress_range {
public:
    progress_range(Range&& base, progress_bar_options options)
        : base_(std::forward<Range>(base)), meter_(std::move(options)) {}

    class iterator {
        using base_iterator = std::ranges::iterator_t<Range>;

    public:
        using iterator_concept = std::input_iterator_tag;
        using value_type = std::iter_value_t<base_iterator>;
        using difference_type = std::ptrdiff_t;

        iterator() = default;
        decltype(auto) operator*() const { return *at_; }
        iterator& operator++() {
            ++at_;
            owner_->meter_.advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.at_end(); }
        /// The range's own iterator, for what else it has (map_unordered's index()).
        [[nodiscard]] const base_iterator& base() const noexcept { return at_; }

    private:
        friend class progress_range;
        iterator(progress_range& owner, base_iterator at) : owner_(&owner), at_(std::move(at)) {}

        [[nodiscard]] bool at_end() const {
            if (at_ != std::ranges::end(owner_->base_)) return false;
            owner_->meter_.finish();
            return true;
        }

        progress_range* owner_ = nullptr;
        base_iterator at_{};
    };

    /// Once.
    [[nodiscard]] iterator begin() { return iterator(*this, std::ranges::begin(base_)); }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

private:
    Range base_;  // a reference to an lvalue
    progress_meter meter_;
};

/// Walks through `range` and shows on standard error how far it is, at what rate, and how long the rest will
/// take at that:
///
///     for (int y : progress_bar(pool.map(square, xs), {.label = "squares"})) ...
///     for (auto& f : progress_bar(as_completed(futures))) use(f.get());
///
/// Only on a terminal, unless asked. A step counts when the loop comes back for the next element, whether or
/// not it threw. An lvalue is referred to and must outlive the loop.
template <std::ranges::input_range Range>
[[nodiscard]] auto progress_bar(Range&& range, progress_bar_options options = {}) {
    if constexpr (requires { range.size(); }) {
        if (!options.total) options.total = static_cast<std::uint64_t>(range.size());
    }
    return progress_range<Range>(std::forward<Range>(range), std::move(options));
}

}  // namespace bulkhead
