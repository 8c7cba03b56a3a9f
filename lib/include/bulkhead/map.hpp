/// @file
/// The range that map() of both pools returns.
#pragma once

#include <bulkhead/detail/map_batches.hpp>
#include <bulkhead/detail/map_feed.hpp>
#include <bulkhead/options.hpp>

#include <cstddef>
#include <deque>
#include <iterator>
#include <memory>
#include <ranges>
#include <utility>

namespace bulkhead {

/// The results of map(), in the order of the input. A move-only input range, walked once:
///
/// - Nothing runs before begin(). From then on at most map_options::lookahead_max items have been
///   taken from the input beyond what the caller has stepped past, so the input may be infinite.
/// - `*it` moves the result out, or throws what its task ended with, at that position; `++it` goes on
///   past it. So for an item whose arguments do not convert or encode. When the input itself throws, that
///   exception appears at its position, which is the last.
/// - A crash fails the item that was being run and no other.
/// - Leaving early (destroying the range) drops the items that have not started; those that run end
///   by themselves and their results are dropped.
/// - For a function that returns void the elements are std::monostate.
///
/// Lvalue inputs are referred to and must outlive the range, as with standard views; so must the
/// pool's tasks: the range keeps the pool's core alive, but after close() or shutdown() no item starts that has not been handed
/// out, and it ends with pool_closed; so may the rest of a chunk that is cut short then (an item of it crashed,
/// its results were above 256 KiB, or it gave eight descriptors).
template <class Source, std::ranges::view... Views>
class [[nodiscard]] map_range {
public:
    using value_type = typename Source::value_type;

    map_range(Source source, const map_options& options, Views... inputs)
        : feed_(std::move(source), options, std::move(inputs)...) {}
    map_range(map_range&&) noexcept = default;
    /// Leaves what it held before. (A closure cannot be assigned, so it is made anew.)
    map_range& operator=(map_range&& other) noexcept {
        if (this != &other) {
            std::destroy_at(this);
            std::construct_at(this, std::move(other));
        }
        return *this;
    }
    ~map_range() {
        for (auto& batch : in_flight_) feed_.source().abandon(batch);
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

    /// Walks to the end, for functions called for what they do: throws the first error.
    void wait() {
        for (auto it = begin(); it != end(); ++it) (void)*it;
    }

private:
    /// step() has seen to it that something is under way as long as there is any input.
    [[nodiscard]] bool at_end() const noexcept {
        return ready_.empty() && in_flight_.empty() && !feed_.has_error();
    }

    value_type&& front() {
        need_front();
        return ready_.take_front();
    }

    void step() {
        need_front();
        ready_.pop_front();
        if (feed_.stepped() || in_flight_.empty()) fill();
    }

    /// Waits until the outcome at the current position is there.
    void need_front() {
        while (ready_.empty()) {
            if (in_flight_.empty()) {
                // Only reached with an error of the input left, which is the last element.
                ready_.push_error(feed_.take_error());
                return;
            }
            auto& batch = in_flight_.front();
            const bool finished = feed_.source().collect(batch, ready_);
            feed_.measured();
            if (finished) in_flight_.pop_front();
        }
    }

    void fill() {
        feed_.fill([this](auto batch, std::size_t) { in_flight_.push_back(std::move(batch)); },
                   [this] { return !in_flight_.empty(); });
    }

    detail::map_feed<Source, Views...> feed_;
    std::deque<typename Source::batch> in_flight_;
    typename Source::outcomes ready_;
};

}  // namespace bulkhead
