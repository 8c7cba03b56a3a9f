/// @file
/// What can be a task, and how a call becomes bytes and a place in the executable.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/flat_chunk.hpp>
#include <bulkhead/detail/signature.hpp>
#include <bulkhead/detail/task_encoder.hpp>
#include <bulkhead/error.hpp>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <stop_token>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace bulkhead::detail {

/// A place in this program's code that another process of the same program finds again: which loaded
/// module (a hash of its build id) and how far in.
struct code_ref {
    std::uint64_t module = 0;
    std::uint64_t offset = 0;
    friend bool operator==(const code_ref&, const code_ref&) = default;
};

/// Throws usage_error when `code` lies in no loaded module.
[[nodiscard]] code_ref locate(const void* code);
/// Throws codec_error when this process has no such module, or the place is no code of it.
[[nodiscard]] void* resolve(const code_ref& ref);

/// What a running task may ask of the process that runs it.
class task_context {
public:
    virtual void enter(task_phase phase) = 0;
    [[nodiscard]] virtual std::stop_token stop_token() = 0;

    /// For a task made of several items: one starts (its clock and phase begin anew); false when the task shall
    /// stop here and give what it has.
    [[nodiscard]] virtual bool begin_item() = 0;
    /// The current exception is the item's outcome, in place of what it has written so far.
    virtual void item_failed() = 0;
    /// Publishes what the item wrote; false when the task shall stop here and give what it has.
    [[nodiscard]] virtual bool end_item() = 0;

    /// Ends this process, which is one that the task has forked: it shares with the worker what only that may
    /// write. The members that tell of the function's return call it themselves.
    [[noreturn]] virtual void leave_fork() = 0;

    /// For items of fixed sizes, in place of the three above: where their results go. Valid until the task ends.
    [[nodiscard]] virtual flat_block& begin_flat(std::size_t items, std::size_t bytes_each) = 0;
    /// The current exception is this item's outcome, still to be committed; false when the task shall stop
    /// here.
    [[nodiscard]] virtual bool flat_item_failed(std::size_t item) = 0;

protected:
    task_context() = default;
    ~task_context() = default;
};

/// Decodes, runs and encodes one call; throws what the call throws.
using task_entry = void (*)(decoder& in, encoder& out, task_context& context);

/// Entries of the tasks that a worker program has by name (named_task.hpp): no module has this number.
inline constexpr std::uint64_t named_module = ~std::uint64_t{0};
inline constexpr code_ref named_entry{named_module, 0};
inline constexpr code_ref named_chunk_entry{named_module, 1};
template <class F>
inline constexpr bool is_named_task = false;
void encode_named(encoder& out, std::string_view name, std::uint64_t signature);
/// FNV-1a, 64 bits (Fowler, Noll, Vo), of a mangled name and numbers.
[[nodiscard]] std::uint64_t signature_hash(const char* mangled_name,
                                           std::initializer_list<std::uint64_t> layout) noexcept;
template <class T>
constexpr std::uint64_t size_and_alignment() {
    if constexpr (std::is_void_v<T>) {
        return 0;
    } else {
        return std::uint64_t{sizeof(T)} << 16 | alignof(T);
    }
}

// ---- the rules for a task of a process pool ---------------------------------------------------

/// Not is_trivially_copyable: GCC 12 says no of a closure with captures once anything, such as a std::tuple, has asked
/// whether it can be assigned.
template <class F>
inline constexpr bool callable_travels =
    (std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>) ||
    (std::is_class_v<F> && std::is_trivially_destructible_v<F> &&
     std::is_trivially_move_constructible_v<F> &&
     (std::is_trivially_copy_constructible_v<F> || !std::is_copy_constructible_v<F>));

template <class P>
constexpr bool check_parameter() {
    static_assert(
        !is_out_parameter<P>,
        "bulkhead: a task's parameter is a non-const reference, but what a task changes in "
        "its arguments does not travel back; take it by value and return the result");
    static_assert(
        is_out_parameter<P> || can_travel<stored<P>>,
        "bulkhead: a task's parameter has a type that cannot travel to another process "
        "(codec<T> has no way for it): pass data by value (no pointers or views), make it "
        "a plain aggregate, or specialise bulkhead::codec<T>");
    return !is_out_parameter<P> && can_travel<stored<P>>;
}

template <class R>
constexpr bool result_travels() {
    if constexpr (std::is_void_v<R>) {
        return true;
    } else {
        return can_travel<R>;
    }
}

/// The call of an F with parameters P..., once checked.
template <bool TakesToken, class F, class List>
struct task_call;

template <bool TakesToken, class F, class... P>
struct task_call<TakesToken, F, parameter_list<P...>> {
    static auto invoke(F& function, task_context& context, stored<P>&... values) -> decltype(auto) {
        if constexpr (TakesToken) {
            return function(context.stop_token(), pass<P>(values)...);
        } else {
            return function(pass<P>(values)...);
        }
    }
    using raw_result = decltype(invoke(std::declval<F&>(), std::declval<task_context&>(),
                                       std::declval<stored<P>&>()...));
    using result = std::remove_cvref_t<raw_result>;

    static_assert(
        result_travels<result>(),
        "bulkhead: the task's result has a type that cannot travel back from another "
        "process: return data by value (no pointers or views), make it a plain aggregate, "
        "or specialise bulkhead::codec<T>");

    template <class Encoder, class... A>
    static void encode_arguments(Encoder& out, A&&... arguments) {
        static_assert(sizeof...(A) == sizeof...(P),
                      "bulkhead: wrong number of arguments for the task (default arguments are not "
                      "known here: give them all)");
        if constexpr (sizeof...(A) == sizeof...(P)) {
            (encode_argument<stored<P>>(out, std::forward<A>(arguments)), ...);
        }
    }

    template <class S, class Encoder, class A>
    static void encode_argument(Encoder& out, A&& argument) {
        if constexpr (std::is_same_v<Encoder, task_encoder> && std::is_same_v<S, A> && is_bulk<S>) {
            if (out.keep(std::forward<A>(argument))) return;  // else it was not moved from
        }
        if constexpr (std::is_same_v<S, std::remove_cvref_t<A>>) {
            out.write(std::as_const(argument));
        } else {
            static_assert(converts_to_parameter<A, S>,
                          "bulkhead: an argument does not convert to the task's parameter type");
            out.write(static_cast<S>(std::forward<A>(argument)));
        }
    }

    /// What tells signatures apart between programs: the types in which values travel, by their names, sizes and
    /// alignments.
    using wire_types =
        parameter_list<std::bool_constant<TakesToken>, parameter_list<result>, stored<P>...>;
    /// For sentences.
    using wire_function =
        std::conditional_t<TakesToken, result(std::stop_token, stored<P>...), result(stored<P>...)>;
    [[nodiscard]] static std::uint64_t wire_signature() noexcept {
        return signature_hash(typeid(wire_types).name(),
                              {size_and_alignment<result>(), size_and_alignment<stored<P>>()...});
    }

    static void encode_function(encoder& out, const F& function) {
        if constexpr (is_named_task<F>) {
            encode_named(out, function.name(), wire_signature());
        } else if constexpr (std::is_pointer_v<F>) {
            const code_ref ref = locate(reinterpret_cast<const void*>(function));
            out.write_bytes(&ref, sizeof ref);
        } else if constexpr (!std::is_empty_v<F>) {
            out.write_bytes(std::addressof(function), sizeof function);
            // Keeps what follows aligned, so that it can be read in place.
            static constexpr std::byte padding[8]{};
            out.write_bytes(padding, (8 - sizeof function % 8) % 8);
        }
    }

    /// Holds a decoded F, which need not be default constructible.
    class decoded_function {
    public:
        explicit decoded_function(decoder& in) {
            if constexpr (std::is_pointer_v<F>) {
                code_ref ref;
                in.read_bytes(&ref, sizeof ref);
                const F function = reinterpret_cast<F>(resolve(ref));
                std::memcpy(bytes_, &function, sizeof function);
            } else if constexpr (!std::is_empty_v<F>) {
                in.read_bytes(bytes_, sizeof(F));
                (void)in.take((8 - sizeof(F) % 8) % 8);
            }
        }
        F& get() noexcept { return *std::launder(reinterpret_cast<F*>(bytes_)); }

    private:
        alignas(F) std::byte bytes_[sizeof(F)]{};
    };

    /// Runs the call on arguments read from `in` and writes its result.
    static void run_one(F& function, decoder& in, encoder& out, task_context& context) {
        // Braces: decoded in order.
        std::tuple<stored<P>...> values{in.read<stored<P>>()...};
        in.expect_end();
        context.enter(task_phase::run);
        std::apply(
            [&](stored<P>&... value) {
                if constexpr (std::is_void_v<result>) {
                    invoke(function, context, value...);
                    context.enter(task_phase::encode);
                } else {
                    auto&& value_out = invoke(function, context, value...);
                    context.enter(task_phase::encode);
                    out.write(std::as_const(value_out));
                }
            },
            values);
    }

    /// The task_entry of a single call.
    static void run(decoder& in, encoder& out, task_context& context) {
        decoded_function function(in);
        run_one(function.get(), in, out, context);
    }

    static constexpr bool is_flat_call =
        !TakesToken && is_flat<result> && (is_flat<stored<P>> && ...) && sizeof...(P) != 0;
    /// Of one item's arguments, one behind another.
    static constexpr std::size_t flat_argument_bytes = (sizeof(stored<P>) + ... + 0);

    /// Writes flat_argument_bytes to `at`.
    template <class... A>
    static void encode_flat(std::byte* at, A&&... arguments) {
        static_assert(sizeof...(A) == sizeof...(P),
                      "bulkhead: wrong number of arguments for the task (default arguments are not "
                      "known here: give them all)");
        static_assert((converts_to_parameter<A, stored<P>> && ...),
                      "bulkhead: an argument does not convert to the task's parameter type");
        if constexpr (sizeof...(A) == sizeof...(P)) {
            // All converted before any is added: a conversion may throw.
            const std::tuple<stored<P>...> values{
                static_cast<stored<P>>(std::forward<A>(arguments))...};
            std::apply(
                [&](const stored<P>&... value) {
                    ((std::memcpy(at, std::addressof(value), sizeof value), at += sizeof value),
                     ...);
                },
                values);
        }
    }

    /// The task_entry of several calls of one function.
    static void run_chunk(decoder& in, encoder& out, task_context& context) {
        if constexpr (is_flat_call) {
            run_flat_chunk(in, context);
        } else {
            run_framed_chunk(in, out, context);
        }
    }

    /// Values that go by memcpy cannot fail to decode or encode: these phases are left out.
    static void run_flat_chunk(decoder& in, task_context& context) {
        decoded_function function(in);
        flat_block& block = context.begin_flat(in.read_count(), flat_bytes<result>);
        context.enter(task_phase::run);
        for (std::size_t i = 0; i != block.items; ++i) {
            if (block.timed) {
                if (!context.begin_item()) return;
                context.enter(task_phase::run);
            }
            try {
                std::tuple<stored<P>...> values{in.read<stored<P>>()...};
                std::apply(
                    [&](stored<P>&... value) {
                        if constexpr (std::is_void_v<result>) {
                            invoke(function.get(), context, value...);
                            if (block.in_a_fork()) context.leave_fork();
                        } else {
                            auto&& value_out = invoke(function.get(), context, value...);
                            if (block.in_a_fork()) context.leave_fork();
                            std::memcpy(block.values + i * sizeof(result),
                                        std::addressof(value_out), sizeof(result));
                        }
                    },
                    values);
            } catch (...) {
                if (!context.flat_item_failed(i)) return;
            }
            if (!block.commit(i + 1)) return;
        }
    }

    /// Each item is framed by its length.
    static void run_framed_chunk(decoder& in, encoder& out, task_context& context) {
        decoded_function function(in);
        const std::size_t items = in.read_count();
        for (std::size_t i = 0; i != items; ++i) {
            const std::size_t bytes = in.read_count();
            decoder item({in.take(bytes), bytes});
            if (!context.begin_item()) return;
            try {
                run_one(function.get(), item, out, context);
            } catch (...) {
                context.item_failed();
            }
            if (!context.end_item()) return;
        }
    }

    static const code_ref& entry() {
        if constexpr (is_named_task<F>) {
            return named_entry;
        } else {
            static const code_ref place = locate(reinterpret_cast<const void*>(&run));
            return place;
        }
    }
    static const code_ref& chunk_entry() {
        if constexpr (is_named_task<F>) {
            return named_chunk_entry;
        } else {
            static const code_ref place = locate(reinterpret_cast<const void*>(&run_chunk));
            return place;
        }
    }
};

/// The task_call for submit(f, args...); static_asserts with advice where it cannot be one.
template <class Fn, class... A>
struct task_of {
    using F = std::decay_t<Fn>;
    static_assert(!std::is_member_pointer_v<F>,
                  "bulkhead: a pointer to member cannot be a task: pass a lambda that takes the "
                  "object as a parameter and calls the member");
    static_assert(
        std::is_member_pointer_v<F> || callable_travels<F>,
        "bulkhead: this callable cannot travel to another process because it owns memory "
        "(a std::function, or a closure that captured a std::string, a vector, ...): pass "
        "the captured values as arguments of the task instead");
    static constexpr bool ok = !std::is_member_pointer_v<F> && callable_travels<F>;

    using cut = without_stop_token<typename parameters_for<F, A...>::all>;
    using list = typename cut::type;

    template <class List>
    struct checked;
    template <class... P>
    struct checked<parameter_list<P...>> {
        static constexpr bool value = (check_parameter<P>() && ... && true);
    };
    static constexpr bool parameters_ok = checked<list>::value;

    // A generic callable takes a token if it can: stop_token first, then the arguments.
    static constexpr bool token = [] {
        if constexpr (cut::takes_token) {
            return true;
        } else if constexpr (!signature<F>::known && ok) {
            // Not both: what is asked of a generic lambda compiles its body.
            return std::conjunction_v<std::negation<std::is_invocable<F&, std::decay_t<A>...>>,
                                      std::is_invocable<F&, std::stop_token, std::decay_t<A>...>>;
        } else {
            return false;
        }
    }();
    using call = task_call<token, F, list>;
};

}  // namespace bulkhead::detail
