/// @file
/// A value in shared memory together with its lock.
/// @code
/// bulkhead::guarded<int> balance(0);
/// bulkhead::process other(pay_in, balance);
/// balance.with_lock([](int& b) { b -= 5; });
/// @endcode
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/handle.hpp>

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

namespace bulkhead {
namespace detail {

/// What of guarded<T> needs no template.
class guarded_core {
public:
    // A move is a copy: what was moved from still names its object.
    guarded_core(const guarded_core&) = default;
    guarded_core& operator=(const guarded_core&) = default;

    static guarded_core make(type_tag type, const void* value);
    static guarded_core create(const std::string& name, type_tag type, const void* value);
    static guarded_core open(const std::string& name, type_tag type);
    static guarded_core open_or_create(const std::string& name, type_tag type, const void* value);
    static bool remove(const std::string& name);
    void encode(encoder& out) const;
    static guarded_core decode(decoder& in, type_tag type);

    /// The lock, for a scope.
    class locked {
    public:
        explicit locked(const guarded_core& core);
        ~locked();
        locked(const locked&) = delete;
        locked& operator=(const locked&) = delete;

        [[nodiscard]] const void* value() const noexcept;
        /// Replaces the value in one step.
        void commit(const void* value) noexcept;

    private:
        const guarded_core& core_;
    };

private:
    class state;
    explicit guarded_core(std::shared_ptr<state> from) : state_(std::move(from)) {}

    std::shared_ptr<state> state_;
};

}  // namespace detail

/// A trivially copyable T that threads of several processes change one at a time. A copy is a handle
/// of the same value; give it to tasks and processes as an argument. Constness is the handle's.
///
/// A change is whole or not at all: it is made on a copy, which replaces the value in one step. So a
/// process that is killed, or a function that throws, inside with_lock leaves the value as it was
/// before, the lock free, and nobody hangs. An anonymous value goes with the last process that holds
/// it; a named one stays until remove().
template <class T>
class guarded {
    static_assert(std::is_trivially_copyable_v<T> && std::is_copy_constructible_v<T>,
                  "bulkhead: guarded<T> keeps T in shared memory, so T must be trivially copyable: "
                  "no std::string or std::vector in it; a std::array or char[N] does");
    static_assert(!std::is_pointer_v<T>,
                  "bulkhead: a pointer means nothing in another process; keep the value itself");

public:
    using value_type = T;

    /// Anonymous.
    explicit guarded(const T& value = T())
        : core_(detail::guarded_core::make(detail::type_tag_of<T>(), std::addressof(value))) {}

    /// As queue::create, open, open_or_create and remove; `value` is for the one that makes it.
    [[nodiscard]] static guarded create(const std::string& name, const T& value = T()) {
        return guarded(
            detail::guarded_core::create(name, detail::type_tag_of<T>(), std::addressof(value)));
    }
    [[nodiscard]] static guarded open(const std::string& name) {
        return guarded(detail::guarded_core::open(name, detail::type_tag_of<T>()));
    }
    [[nodiscard]] static guarded open_or_create(const std::string& name, const T& value = T()) {
        return guarded(detail::guarded_core::open_or_create(name, detail::type_tag_of<T>(),
                                                            std::addressof(value)));
    }
    static bool remove(const std::string& name) { return detail::guarded_core::remove(name); }

    /// Calls `change(T&)` while no other thread of any process can, and returns what it returns (by
    /// value). The reference is to a copy and ends with the call. If `change` throws, the value
    /// stays and the exception passes through. usage_error when called, or get(), on the same value
    /// within `change`.
    template <class F>
    auto with_lock(F&& change) const {
        draft copy;
        detail::guarded_core::locked hold(core_);
        T& value = copy.of(hold.value());
        if constexpr (std::is_void_v<std::invoke_result_t<F, T&>>) {
            std::invoke(std::forward<F>(change), value);
            hold.commit(std::addressof(value));
        } else {
            auto result = std::invoke(std::forward<F>(change), value);
            hold.commit(std::addressof(value));
            return result;
        }
    }

    /// The value as it is now.
    [[nodiscard]] T get() const {
        draft copy;
        const detail::guarded_core::locked hold(core_);
        return copy.of(hold.value());
    }

private:
    friend codec<guarded>;
    explicit guarded(const detail::guarded_core& core) : core_(core) {}

    /// A copy of the value; a large one is on the heap: the stack may have no room for it.
    class draft {
    public:
        draft() {
            if constexpr (is_large) storage_ = std::make_unique_for_overwrite<place>();
        }
        T& of(const void* value) {
            std::byte* bytes = nullptr;
            if constexpr (is_large) {
                bytes = storage_->bytes;
            } else {
                bytes = storage_.bytes;
            }
            std::memcpy(bytes, value, sizeof(T));
            return *std::launder(reinterpret_cast<T*>(bytes));
        }

    private:
        struct place {
            alignas(T) std::byte bytes[sizeof(T)];
        };
        static constexpr bool is_large = sizeof(T) > 16384;
        std::conditional_t<is_large, std::unique_ptr<place>, place> storage_;
    };

    detail::guarded_core core_;
};

namespace detail {
template <class T>
inline constexpr bool is_handle<guarded<T>> = true;
}  // namespace detail

/// Travels as its handle.
template <class T>
struct codec<guarded<T>> {
    static void encode(encoder& out, const guarded<T>& value) { value.core_.encode(out); }
    static guarded<T> decode(decoder& in) {
        return guarded<T>(detail::guarded_core::decode(in, detail::type_tag_of<T>()));
    }
};

}  // namespace bulkhead
