/// @file
/// A large result that is built as its bytes arrive: written once, where they would be kept and decoded
/// later.
#pragma once

#include <bulkhead/codec.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace bulkhead::detail {

class arriving_value {
public:
    arriving_value() = default;
    arriving_value(const arriving_value&) = delete;
    arriving_value& operator=(const arriving_value&) = delete;
    virtual ~arriving_value() = default;

    /// The next bytes, of which it takes whole elements, at least one; gives how many it has taken. They may
    /// lie in memory that a hostile process writes to.
    [[nodiscard]] virtual std::size_t append(const std::byte* from, std::size_t bytes) noexcept = 0;
    /// Into a std::optional of its type, once everything has come.
    virtual void take(void* out) = 0;
};

/// In front of the elements: how many there are, as encode_elements() writes it.
using arriving_head = std::uint64_t;

/// Makes what takes the `bytes` behind a head; null if the head lies about them. Throws std::bad_alloc.
using arriving_maker = std::unique_ptr<arriving_value> (*)(arriving_head head, std::size_t bytes);

/// Pieces are at least as large.
inline constexpr std::size_t arriving_element_bytes_max = 4096;

/// A container whose elements are one block of bytes, and that may be built in any thread: no code of the user's
/// runs, and its allocator knows no threads.
template <class T>
inline constexpr bool is_bulk = false;
template <class T>
inline constexpr bool is_bulk<std::vector<T>> =
    is_primary_codec<codec<std::vector<T>>> && contiguous_trivial<std::vector<T>> &&
    alignof(T) <= alignof(arriving_head) && sizeof(T) <= arriving_element_bytes_max;
template <class C>
inline constexpr bool is_bulk<std::basic_string<C>> =
    std::is_integral_v<C> && is_primary_codec<codec<std::basic_string<C>>>;

template <class Container>
class arriving_elements final : public arriving_value {
public:
    explicit arriving_elements(std::size_t count) { values_.reserve(count); }

    std::size_t append(const std::byte* from, std::size_t bytes) noexcept override {
        const auto* first = reinterpret_cast<const element*>(from);
        const std::size_t count = bytes / sizeof(element);
        values_.insert(values_.end(), first, first + count);
        return count * sizeof(element);
    }
    void take(void* out) override {
        static_cast<std::optional<Container>*>(out)->emplace(std::move(values_));
    }

private:
    using element = typename Container::value_type;

    Container values_;
};

template <class Container>
std::unique_ptr<arriving_value> make_arriving(arriving_head head, std::size_t bytes) {
    constexpr std::size_t each = sizeof(typename Container::value_type);
    if (bytes % each != 0 || head != bytes / each) return nullptr;
    return std::make_unique<arriving_elements<Container>>(bytes / each);
}

}  // namespace bulkhead::detail
