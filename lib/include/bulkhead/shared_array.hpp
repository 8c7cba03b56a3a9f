/// @file
/// An array in shared memory.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/handle.hpp>
#include <bulkhead/detail/shared_core.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

namespace bulkhead {

/// Elements that several processes see without copies: `std::span<double> s = a;`. T is trivially
/// copyable, or a lock-free std::atomic. There is no lock in it: processes that change the same elements
/// want a mutex, atomics, or parts of their own.
///
/// A copy is a handle of the same array; give it to tasks and processes as an argument, which costs some
/// hundred bytes and, once in each process, a mapping, whatever the array's size. Constness is the
/// handle's. A named array's memory is all taken when it is made; an anonymous one's page by page, when it
/// is first touched. A process that dies leaves the elements as its last stores left them. An anonymous
/// array goes with the last process that holds it, also when that was killed; a named one stays until
/// remove(). One that a task returns is held by the task's future, as a queue's docstring says.
template <class T>
class shared_array {
    static constexpr auto kind = detail::shared_kind::array;

public:
    using value_type = T;
    using iterator = T*;

    /// Anonymous, zeros (T's default). Throws bulkhead::error when this machine has less memory, std::length_error
    /// when the size in bytes is none that memory can have.
    explicit shared_array(std::size_t count)
        : core_(detail::shared_core::make(kind, tag(), count, maker(count))) {}
    shared_array(std::size_t count, const T& value)
    requires std::is_copy_constructible_v<T>
        : core_(detail::shared_core::make(kind, tag(), count, maker(count, value))) {}
    /// A copy of these.
    explicit shared_array(std::span<const T> values)
    requires std::is_copy_constructible_v<T>
        : core_(detail::shared_core::make(kind, tag(), values.size(), maker(values))) {}

    /// As queue::create, open, open_or_create and remove; the elements are for the one that makes it, and
    /// open_or_create() refuses one that has another size.
    [[nodiscard]] static shared_array create(const std::string& name, std::size_t count) {
        return shared_array(detail::shared_core::create(kind, name, tag(), count, maker(count)));
    }
    [[nodiscard]] static shared_array create(const std::string& name, std::size_t count,
                                             const T& value) {
        return shared_array(
            detail::shared_core::create(kind, name, tag(), count, maker(count, value)));
    }
    [[nodiscard]] static shared_array open(const std::string& name) {
        return shared_array(detail::shared_core::open(kind, name, tag()));
    }
    [[nodiscard]] static shared_array open_or_create(const std::string& name, std::size_t count) {
        return shared_array(
            detail::shared_core::open_or_create(kind, name, tag(), count, maker(count)));
    }
    [[nodiscard]] static shared_array open_or_create(const std::string& name, std::size_t count,
                                                     const T& value) {
        return shared_array(
            detail::shared_core::open_or_create(kind, name, tag(), count, maker(count, value)));
    }
    static bool remove(const std::string& name) { return detail::shared_core::remove(kind, name); }

    [[nodiscard]] std::size_t size() const noexcept { return core_.count(); }
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    [[nodiscard]] T* data() const noexcept {
        return std::launder(reinterpret_cast<T*>(core_.data()));
    }
    [[nodiscard]] iterator begin() const noexcept { return data(); }
    [[nodiscard]] iterator end() const noexcept { return data() + size(); }
    [[nodiscard]] std::span<T> span() const noexcept { return {data(), size()}; }
    /// Not checked; at() is: std::out_of_range.
    [[nodiscard]] T& operator[](std::size_t index) const noexcept { return data()[index]; }
    [[nodiscard]] T& at(std::size_t index) const {
        if (index >= size()) core_.throw_out_of_range(index);
        return data()[index];
    }
    [[nodiscard]] T& front() const noexcept { return data()[0]; }
    [[nodiscard]] T& back() const noexcept { return data()[size() - 1]; }

    template <class N>
    void resize(N) const {
        static_assert(
            detail::always_false<N>,
            "bulkhead: a shared_array keeps its size, since other processes have mapped it: "
            "make another one and copy, or make it as large as it may become");
    }

private:
    friend codec<shared_array>;
    explicit shared_array(const detail::shared_core& core) : core_(core) {}

    static detail::type_tag tag() {
        detail::check_shareable<T>();
        return detail::type_tag_of<T>();
    }
    static detail::shared_core::maker maker([[maybe_unused]] std::size_t count) {
        if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
            return [](std::byte*) {};  // zeros are there, and no page is touched
        } else {
            return [count](std::byte* memory) {
                std::uninitialized_value_construct_n(reinterpret_cast<T*>(memory), count);
            };
        }
    }
    static detail::shared_core::maker maker(std::size_t count, const T& value) {
        return [count, &value](std::byte* memory) {
            std::uninitialized_fill_n(reinterpret_cast<T*>(memory), count, value);
        };
    }
    static detail::shared_core::maker maker(std::span<const T> values) {
        return [values](std::byte* memory) {
            std::uninitialized_copy(values.begin(), values.end(), reinterpret_cast<T*>(memory));
        };
    }

    detail::shared_core core_;
};

template <class T>
shared_array(std::span<T>) -> shared_array<std::remove_const_t<T>>;

namespace detail {
template <class T>
inline constexpr bool is_handle<shared_array<T>> = true;
}  // namespace detail

/// Travels as its handle.
template <class T>
struct codec<shared_array<T>> {
    static void encode(encoder& out, const shared_array<T>& value) { value.core_.encode(out); }
    static shared_array<T> decode(decoder& in) {
        using made = shared_array<T>;
        return made(detail::shared_core::decode(detail::shared_kind::array, in, made::tag()));
    }
};

}  // namespace bulkhead
