/// @file
/// What of shared_value<T> and shared_array<T> needs no template.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/handle.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace bulkhead::ring {
class shared_object;
}  // namespace bulkhead::ring

namespace bulkhead::detail {

enum class shared_kind : std::uint8_t { value, array };

/// Elements of one type in shared memory, with nothing between a reader and them.
class shared_core {
public:
    /// Makes the elements in zeroed memory, before anybody else can see it.
    using maker = std::function<void(std::byte* elements)>;

    // A move is a copy: what was moved from still names its object.
    shared_core(const shared_core&) = default;
    shared_core& operator=(const shared_core&) = default;

    static shared_core make(shared_kind kind, type_tag type, std::size_t count, const maker& fill);
    static shared_core create(shared_kind kind, const std::string& name, type_tag type,
                              std::size_t count, const maker& fill);
    static shared_core open(shared_kind kind, const std::string& name, type_tag type);
    /// Throws bulkhead::error when there is one of another count.
    static shared_core open_or_create(shared_kind kind, const std::string& name, type_tag type,
                                      std::size_t count, const maker& fill);
    static bool remove(shared_kind kind, const std::string& name);
    void encode(encoder& out) const;
    static shared_core decode(shared_kind kind, decoder& in, type_tag type);

    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    [[noreturn]] void throw_out_of_range(std::size_t index) const;

private:
    shared_core(std::shared_ptr<ring::shared_object> object, type_tag type);

    std::shared_ptr<ring::shared_object> object_;
    std::byte* data_;
    std::size_t count_ = 0;
};

template <class T>
inline constexpr bool is_atomic = false;
template <class T>
inline constexpr bool is_atomic<std::atomic<T>> = true;

/// What can lie in memory that several processes see at different addresses.
template <class T>
constexpr void check_shareable() {
    static_assert(!std::is_pointer_v<T> && !std::is_reference_v<T>,
                  "bulkhead: a pointer means nothing in another process; share what it points at");
    static_assert(!std::is_const_v<T>, "bulkhead: share the type without const");
    if constexpr (is_atomic<T>) {
        static_assert(T::is_always_lock_free,
                      "bulkhead: this std::atomic has a lock outside of itself, which other "
                      "processes do not see; use guarded<T>");
    } else {
        static_assert(
            std::is_trivially_copyable_v<T>,
            "bulkhead: what lies in shared memory must be trivially copyable (no "
            "std::string, std::vector or other owner of memory in it), or a std::atomic; a "
            "std::array or char[N] does");
    }
    static_assert(alignof(T) <= 64, "bulkhead: shared memory is aligned to 64 bytes");
}

}  // namespace bulkhead::detail
