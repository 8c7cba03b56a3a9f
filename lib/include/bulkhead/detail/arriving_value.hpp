/// @file
/// A large result that is built as its bytes arrive: written once, where they would be kept and decoded
/// later.
#pragma once

#include <bulkhead/detail/bulk.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

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

/// Makes what takes the `bytes` behind a head; null if the head lies about them. Throws std::bad_alloc.
using arriving_maker = std::unique_ptr<arriving_value> (*)(bulk_count head, std::size_t bytes);

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
std::unique_ptr<arriving_value> make_arriving(bulk_count head, std::size_t bytes) {
    constexpr std::size_t each = sizeof(typename Container::value_type);
    if (bytes % each != 0 || head != bytes / each) return nullptr;
    return std::make_unique<arriving_elements<Container>>(bytes / each);
}

}  // namespace bulkhead::detail
