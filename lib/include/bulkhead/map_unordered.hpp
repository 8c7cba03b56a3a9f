/// @file
/// The range that map_unordered() of both pools returns.
#pragma once

#include <bulkhead/detail/completion_watch.hpp>
#include <bulkhead/detail/map_batches.hpp>
#include <bulkhead/detail/map_feed.hpp>
#include <bulkhead/options.hpp>

#include <cstddef>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <ranges>
#include <unordered_map>
#include <utility>

namespace bulkhead {

/// Which item of the input, and what came of it: `for (auto [i, y] : pool.map_unordered(f, xs))`.
template <class T>
struct indexed_result {
    std::size_t index;
    T value;
};

/// The results of map_unordered(), as they finish: what is quick does not wait for what is slow before it.
/// A move-only input range, walked once. As map_range in what runs when, in how far it looks ahead, and in
/// its end, but:
///
/// - `*it` is an indexed_result, or throws what its task ended with; `it.index()` tells the item in either
///   case, and `++it` goes on past it.
/// - Items of one batch finish together: map_options::chunk_size 1 gives each as soon as it is done.
/// - When the input throws, that exception is the last element, at the index at which it was thrown.
template <class Source, std::ranges::view... Views>
class [[nodiscard]] map_unordered_range {
public:
    using value_type = indexed_result<typename Source::value_type>;

    map_unordered_range(Source source, const map_options& options, Views... inputs)
        : feed_(std::move(source), options, std::move(inputs)...) {}
    map_unordered_range(map_unordered_range&&) noexcept = default;
    /// As map_range's.
    map_unordered_range& operator=(map_unordered_range&& other) noexcept {
        if (this != &other) {
            std::destroy_at(this);
            std::construct_at(this, std::move(other));
        }
        return *this;
    }
    ~map_unordered_range() {
        for (auto& [first, batch] : in_flight_) feed_.source().abandon(batch);
    }

    class iterator {
    public:
        using iterator_concept = std::input_iterator_tag;
        using value_type = typename map_unordered_range::value_type;
        using difference_type = std::ptrdiff_t;

        iterator() = default;
        /// Waits for the next result and moves it out; throws what its task ended with.
        value_type operator*() const { return owner_->front(); }
        /// Waits for the next result.
        [[nodiscard]] std::size_t index() const { return owner_->front_index(); }
        iterator& operator++() {
            owner_->step();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.at_end(); }

    private:
        [[nodiscard]] bool at_end() const { return owner_->at_end(); }

        friend class map_unordered_range;
        explicit iterator(map_unordered_range& owner) : owner_(&owner) {}
        map_unordered_range* owner_ = nullptr;
    };

    /// Once; and once more in a range that was moved meanwhile, to go on where it was.
    [[nodiscard]] iterator begin() {
        if (!feed_.started()) {
            feed_.start();
            fill();
        }
        return iterator(*this);
    }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }
    /// Of all results, if the inputs know their sizes.
    [[nodiscard]] std::size_t size()
    requires(std::ranges::sized_range<Views> && ...)
    {
        return feed_.size();
    }

    /// Walks to the end, for functions called for what they do: throws the first error that happens.
    void wait() {
        for (auto it = begin(); it != end(); ++it) (void)*it;
    }

private:
    /// step() has seen to it that something is under way as long as there is any input.
    [[nodiscard]] bool at_end() const noexcept {
        return ready_.empty() && in_flight_.empty() && !feed_.has_error();
    }

    value_type front() {
        need_front();
        return {ready_index_, ready_.take_front()};
    }

    std::size_t front_index() {
        need_front();
        return ready_index_;
    }

    void step() {
        need_front();
        ready_.pop_front();
        ++ready_index_;
        if (feed_.stepped() || in_flight_.empty()) fill();
    }

    /// Waits until a batch has finished, and takes its outcomes.
    void need_front() {
        while (ready_.empty()) {
            if (in_flight_.empty()) {
                // Only reached with an error of the input left.
                ready_.push_error(feed_.take_error());
                ready_index_ = feed_.taken();
                return;
            }
            const std::size_t first = next_finished();
            const auto at = in_flight_.find(first);
            ready_index_ = first;
            const bool finished = feed_.source().collect(at->second, ready_);
            feed_.measured();
            if (finished) {
                in_flight_.erase(at);
            } else {  // what a crash left of it has been sent again
                auto rest = in_flight_.extract(at);
                const std::size_t next = first + ready_.size();
                rest.key() = next;
                watch(next, in_flight_.insert(std::move(rest)).position->second);
            }
        }
    }

    std::size_t next_finished() {
        if (refused_.empty()) return *watch_->next(detail::wait_for_ever);
        const std::size_t first = refused_.front();
        refused_.pop_front();
        return first;
    }

    void watch(std::size_t first, typename Source::batch& batch) {
        if (batch.error || !batch.state) {
            refused_.push_back(first);
        } else {
            watch_->add(*batch.state, first);
        }
    }

    void fill() {
        feed_.fill(
            [this](auto batch, std::size_t first) {
                watch(first, in_flight_.emplace(first, std::move(batch)).first->second);
            },
            [this] { return !in_flight_.empty(); });
    }

    detail::map_feed<Source, Views...> feed_;
    std::shared_ptr<detail::completion_watch> watch_ = detail::completion_watch::make();
    std::unordered_map<std::size_t, typename Source::batch> in_flight_;  // by its first item left
    std::deque<std::size_t> refused_;  // of these, batches that no pool has taken
    typename Source::outcomes ready_;  // of consecutive items
    std::size_t ready_index_ = 0;      // of the first of them
};

}  // namespace bulkhead
