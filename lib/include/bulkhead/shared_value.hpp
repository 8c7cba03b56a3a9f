/// @file
/// One bare value in shared memory.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/handle.hpp>
#include <bulkhead/detail/shared_core.hpp>

#include <concepts>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

namespace bulkhead {

/// A T that several processes see, with no lock: `shared_value<std::atomic<int>> hits; ++*hits;`. T is
/// trivially copyable, or a lock-free std::atomic; a T that is neither atomic nor changed by one process
/// at a time wants guarded<T>.
///
/// A copy is a handle of the same value; give it to tasks and processes as an argument, which costs some
/// hundred bytes whatever T's size. Constness is the handle's. A process that dies leaves the value as its
/// last store left it. An anonymous value goes with the last process that holds it, also when that was
/// killed; a named one stays until remove().
template <class T>
class shared_value {
    static constexpr auto kind = detail::shared_kind::value;

public:
    using value_type = T;

    /// Anonymous; T is made of the arguments. Throws bulkhead::error when there is no memory, and what T's
    /// constructor throws.
    template <class... A>
    requires(std::constructible_from<T, A...> &&
             !(sizeof...(A) == 1 && (std::same_as<std::remove_cvref_t<A>, shared_value> && ...)))
    explicit shared_value(A&&... arguments)
        : core_(detail::shared_core::make(kind, tag(), 1, maker<A...>(arguments...))) {}

    /// As queue::create, open, open_or_create and remove; the arguments are for the one that makes it.
    template <class... A>
    [[nodiscard]] static shared_value create(const std::string& name, A&&... arguments) {
        return shared_value(
            detail::shared_core::create(kind, name, tag(), 1, maker<A...>(arguments...)),
            from_core());
    }
    [[nodiscard]] static shared_value open(const std::string& name) {
        return shared_value(detail::shared_core::open(kind, name, tag()), from_core());
    }
    template <class... A>
    [[nodiscard]] static shared_value open_or_create(const std::string& name, A&&... arguments) {
        return shared_value(
            detail::shared_core::open_or_create(kind, name, tag(), 1, maker<A...>(arguments...)),
            from_core());
    }
    static bool remove(const std::string& name) { return detail::shared_core::remove(kind, name); }

    [[nodiscard]] T& operator*() const noexcept { return *get(); }
    [[nodiscard]] T* operator->() const noexcept { return get(); }
    [[nodiscard]] T* get() const noexcept {
        return std::launder(reinterpret_cast<T*>(core_.data()));
    }

private:
    friend codec<shared_value>;
    struct from_core {};
    shared_value(const detail::shared_core& core, from_core) : core_(core) {}

    static detail::type_tag tag() {
        detail::check_shareable<T>();
        return detail::type_tag_of<T>();
    }
    template <class... A>
    static detail::shared_core::maker maker(A&... arguments) {
        return [&](std::byte* memory) { new (memory) T(std::forward<A>(arguments)...); };
    }

    detail::shared_core core_;
};

namespace detail {
template <class T>
inline constexpr bool is_handle<shared_value<T>> = true;
}  // namespace detail

/// Travels as its handle.
template <class T>
struct codec<shared_value<T>> {
    static void encode(encoder& out, const shared_value<T>& value) { value.core_.encode(out); }
    static shared_value<T> decode(decoder& in) {
        using made = shared_value<T>;
        return made(detail::shared_core::decode(detail::shared_kind::value, in, made::tag()),
                    typename made::from_core());
    }
};

}  // namespace bulkhead
