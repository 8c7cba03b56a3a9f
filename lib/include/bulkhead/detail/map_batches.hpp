/// @file
/// Where map() puts its items: batches for worker processes, single tasks for threads; and how many
/// items make a batch.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/flat_chunk.hpp>
#include <bulkhead/detail/local_state.hpp>
#include <bulkhead/detail/pool_access.hpp>
#include <bulkhead/options.hpp>
#include <bulkhead/task.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace bulkhead::detail {

template <class R>
class map_outcome {
public:
    using value_type = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

    explicit map_outcome(std::exception_ptr error) : content_(std::move(error)) {}
    explicit map_outcome(value_type value) : content_(std::in_place_index<1>, std::move(value)) {}

    value_type&& value() {
        if (content_.index() == 0) std::rethrow_exception(std::get<0>(content_));
        return std::move(std::get<1>(content_));
    }

private:
    std::variant<std::exception_ptr, value_type> content_;
};

/// Outcomes of items, in order, of which the first is taken. As flat_outcomes, for any type.
template <class R>
class outcome_list {
public:
    using value_type = typename map_outcome<R>::value_type;

    [[nodiscard]] bool empty() const noexcept { return outcomes_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return outcomes_.size(); }
    void push_error(std::exception_ptr error) { outcomes_.emplace_back(std::move(error)); }
    void push(value_type value) { outcomes_.emplace_back(std::move(value)); }
    /// Moves the value out, or throws.
    [[nodiscard]] value_type&& take_front() { return outcomes_.front().value(); }
    void pop_front() noexcept { outcomes_.pop_front(); }

private:
    std::deque<map_outcome<R>> outcomes_;
};

/// Chooses batch size and look-ahead where map_options leaves them open: a batch aims at
/// batch_time_target of work, so that a message's cost vanishes in it and no worker waits long.
class chunk_tuner {
public:
    chunk_tuner(const map_options& options, std::size_t workers);

    /// `flat`: of items that go as flat_message, of which a message can hold more.
    void is_flat() noexcept { flat_ = true; }
    [[nodiscard]] std::size_t batch_size() const noexcept { return batch_size_; }
    [[nodiscard]] std::size_t lookahead() const noexcept { return lookahead_; }
    void measured(std::chrono::nanoseconds run_time, std::size_t items) noexcept;

private:
    /// What a batch may hold, so that each worker can have one running and one waiting.
    [[nodiscard]] std::size_t share() const noexcept;
    void set_lookahead() noexcept;

    map_options options_;
    std::size_t workers_;
    bool flat_ = false;
    std::size_t batch_size_;
    std::size_t lookahead_ = 0;
};

/// A batch's items, framed one by one, and what became of them.
class chunk_message {
public:
    void add_item(std::span<const std::byte> item);
    [[nodiscard]] std::size_t items() const noexcept { return offsets_.size(); }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_.size(); }
    [[nodiscard]] std::vector<kept_object>& kept() noexcept { return kept_; }
    /// Writes the items from `first` on behind the function.
    void write(encoder& out, std::size_t first) const;
    [[nodiscard]] chunk_message take() { return std::exchange(*this, {}); }

private:
    std::vector<std::byte> bytes_;
    std::vector<std::size_t> offsets_;
    std::vector<kept_object> kept_;
};

/// A batch is left as it is once its arguments are this large, however many items it has.
inline constexpr std::size_t batch_bytes_max = std::size_t{256} * 1024;

/// What every chunk's outcomes begin with; only flat_content makes use of it.
void skip_chunk_header(decoder& in);
/// Reads one framed outcome of a chunk; throws the item's exception, thrown in process `pid`.
[[nodiscard]] decoder next_outcome(decoder& in, pid_t pid);

template <class Task, class F>
class process_batches {
    static_assert(Task::ok && Task::parameters_ok);
    using Call = typename Task::call;

public:
    using result = typename Call::result;
    static constexpr bool is_flat = Call::is_flat_call;
    using value_type = typename map_outcome<result>::value_type;
    using outcomes = std::conditional_t<is_flat, flat_outcomes<value_type>, outcome_list<result>>;
    using message = std::conditional_t<is_flat, flat_message, chunk_message>;

    struct batch {
        message items;
        std::size_t first = 0;  // items before it have their outcome
        state_ptr state;
        std::exception_ptr error;  // the pool would not take it
    };

    process_batches(std::shared_ptr<pool_core> core, F function)
        : core_(std::move(core)), function_(std::move(function)) {}

    [[nodiscard]] std::size_t workers() const { return worker_count(*core_); }

    /// Adds up to `count` items, as long as the batch is not large and none is refused. `next(add)` calls
    /// add(arguments...) once and returns true, or returns false: there is no more.
    template <class Next>
    void add_up_to(std::size_t count, const Next& next) {
        if constexpr (is_flat) {
            add_flat(std::min(count, flat_room()), next);
        } else {
            for (std::size_t added = 0;
                 added != count && filling_.bytes() < batch_bytes_max && !refused_ &&
                 next([this](auto&&... arguments) {
                     this->add_framed(std::forward<decltype(arguments)>(arguments)...);
                 });
                 ++added) {
            }
        }
    }

    /// The last item that was given, if its arguments do not encode: as a batch of its own, which ends
    /// with what that threw.
    std::optional<batch> take_refused() {
        if (!refused_) return std::nullopt;
        batch made{.items = {}, .first = 0, .state = {}, .error = std::exchange(refused_, {})};
        if constexpr (is_flat) {
            (void)made.items.room_for(1, 1);
            made.items.added(1);
        } else {
            made.items.add_item({});
        }
        return made;
    }

    batch flush() {
        batch made{.items = filling_.take(), .first = 0, .state = {}, .error = {}};
        send(made);
        return made;
    }

    /// Waits for the batch and appends the outcomes it has; false when the rest had to be sent again.
    bool collect(batch& from, outcomes& out) {
        if (from.error) {
            while (left(from) != 0) {
                out.push_error(from.error);
                ++from.first;
            }
            return true;
        }
        from.state->wait(std::nullopt);
        const std::size_t before = from.first;
        sink target{&from, &out, from.state->worker_pid()};
        try {
            from.state->take(&read_outcomes, &target);
            if (auto error = from.state->item_error(); error && left(from) != 0) {
                out.push_error(std::move(error));
                ++from.first;
            }
        } catch (...) {
            // Not an item's fault (cancelled, broken pool, undecodable): all that is left ends so.
            from.error = std::current_exception();
            return collect(from, out);
        }
        last_items_ = from.first - before;
        last_run_time_ = from.state->run_time();
        if (left(from) == 0) return true;
        if (last_items_ == 0) {
            from.error = std::make_exception_ptr(
                codec_error("bulkhead: a worker gave a batch back without any result"));
            return collect(from, out);
        }
        send(from);
        return false;
    }

    void abandon(batch& from) noexcept {
        if (from.state) from.state->abandon();
    }

    [[nodiscard]] std::chrono::nanoseconds last_run_time() const noexcept { return last_run_time_; }
    [[nodiscard]] std::size_t last_items() const noexcept { return last_items_; }

private:
    template <class... A>
    void add_framed(A&&... arguments) {
        item_->clear();
        try {
            Call::encode_arguments(*item_, std::forward<A>(arguments)...);
        } catch (...) {
            refused_ = std::current_exception();
            return;
        }
        filling_.add_item(item_->bytes());
        for (auto& object : item_->kept()) filling_.kept().push_back(std::move(object));
        item_->kept().clear();
    }

    /// Items that a batch can take, as far as arguments and results are bounded.
    [[nodiscard]] std::size_t flat_room() const noexcept {
        constexpr std::size_t argument_bytes = std::max<std::size_t>(Call::flat_argument_bytes, 1);
        constexpr std::size_t result_bytes = std::max<std::size_t>(flat_bytes<result>, 1);
        constexpr std::size_t items_max =
            std::min((batch_bytes_max + argument_bytes - 1) / argument_bytes,
                     std::max<std::size_t>(flat_result_bytes_max / result_bytes, 1));
        return items_max - std::min(filling_.items(), items_max);
    }

    template <class Next>
    void add_flat(std::size_t count, const Next& next) {
        // Adds what there is, also when the next one throws.
        struct cursor {
            flat_message& to;
            std::byte* at;
            std::size_t added = 0;
            ~cursor() { to.added(added); }
        } here{filling_, filling_.room_for(count, Call::flat_argument_bytes)};
        std::byte* at = here.at;
        std::size_t added = 0;
        const auto add = [&](auto&&... arguments) {
            try {
                Call::encode_flat(at, std::forward<decltype(arguments)>(arguments)...);
            } catch (...) {
                refused_ = std::current_exception();
                count = added;  // this was the last one
                return;
            }
            at += Call::flat_argument_bytes;
            here.added = ++added;
        };
        while (added != count && next(add)) {
        }
    }

    struct sink {
        batch* from;
        outcomes* out;
        pid_t pid;
    };

    static std::size_t left(const batch& of) { return of.items.items() - of.first; }

    static void read_outcomes(decoder& in, void* raw) {
        auto [from, out, pid] = *static_cast<sink*>(raw);
        if (in.remaining() == 0) return;  // died before the first was done
        if constexpr (is_flat) {
            flat_content content(in, left(*from), flat_bytes<result>, pid);
            from->first += content.items;
            out->push(std::move(content));
        } else {
            read_framed(in, *from, *out, pid);
        }
    }

    static void read_framed(decoder& in, batch& from, outcomes& out, pid_t pid) {
        skip_chunk_header(in);
        while (in.remaining() != 0 && left(from) != 0) {
            try {
                decoder item = next_outcome(in, pid);
                if constexpr (std::is_void_v<result>) {
                    item.expect_end();
                    out.push(std::monostate{});
                } else {
                    auto value = item.template read<result>();
                    item.expect_end();
                    out.push(std::move(value));
                }
            } catch (...) {
                out.push_error(std::current_exception());
            }
            ++from.first;
        }
    }

    void send(batch& of) {
        try {
            task_encoder arguments(argument_memory(*core_));
            Call::encode_function(arguments, function_);
            of.items.write(arguments, of.first);
            if constexpr (!is_flat) {
                // Copies: the batch may have to be sent again.
                for (const auto& one : of.items.kept()) arguments.keep_alive(one.object);
            }
            of.state = submit_encoded(*core_, {.entry = Call::chunk_entry(), .chunk = true},
                                      task_options{}, arguments, when_full::wait);
        } catch (...) {
            of.error = std::current_exception();
        }
    }

    std::shared_ptr<pool_core> core_;
    F function_;
    std::unique_ptr<task_encoder> item_ = std::make_unique<task_encoder>();
    message filling_;
    std::exception_ptr refused_;
    std::chrono::nanoseconds last_run_time_{0};
    std::size_t last_items_ = 0;
};

template <class F, class... A>
class thread_batches {
public:
    using task = local_task_for<F, const A&...>;
    using result = typename task::result;
    static constexpr bool is_flat = false;
    using value_type = typename map_outcome<result>::value_type;
    using outcomes = outcome_list<result>;
    struct batch {
        state_ptr state;
        std::exception_ptr error;
    };

    thread_batches(std::shared_ptr<thread_core> core, F function)
        : core_(std::move(core)), function_(std::move(function)) {}

    [[nodiscard]] std::size_t workers() const { return worker_count(*core_); }

    template <class Next>
    void add_up_to(std::size_t count, const Next& next) {
        if (count == 0 || filling_.state || filling_.error) return;
        (void)next([this](auto&&... arguments) {
            this->add(std::forward<decltype(arguments)>(arguments)...);
        });
    }
    batch flush() { return std::exchange(filling_, {}); }
    /// Each item is a batch here, also one whose arguments cannot be kept.
    static std::optional<batch> take_refused() { return std::nullopt; }

    bool collect(batch& from, outcomes& out) {
        try {
            if (from.error) std::rethrow_exception(from.error);
            from.state->wait(std::nullopt);
            if constexpr (std::is_void_v<result>) {
                from.state->take(nullptr, nullptr);
                out.push(std::monostate{});
            } else {
                std::optional<result> value;
                from.state->take(nullptr, &value);
                out.push(std::move(*value));
            }
        } catch (...) {
            out.push_error(std::current_exception());
        }
        return true;
    }

    void abandon(batch& from) noexcept {
        if (from.state) from.state->abandon();
    }
    [[nodiscard]] static std::chrono::nanoseconds last_run_time() { return {}; }
    [[nodiscard]] static std::size_t last_items() { return 0; }

private:
    template <class... Args>
    void add(Args&&... arguments) {
        try {
            filling_.state = submit_local(*core_, task_options{}, when_full::wait,
                                          [&](thread_core& core) -> local_state* {
                                              return new task(core, task_options{}, function_,
                                                              std::forward<Args>(arguments)...);
                                          });
        } catch (...) {
            filling_.error = std::current_exception();
        }
    }

    std::shared_ptr<thread_core> core_;
    F function_;
    batch filling_;
};

}  // namespace bulkhead::detail
