// shared_value<T> and shared_array<T>: a count, and the elements behind it.
#include <bulkhead/detail/shared_core.hpp>

#include "ring/object_account.hpp"
#include "ring/shared_object.hpp"

#include <bulkhead/error.hpp>

#include <limits>
#include <stdexcept>
#include <string>

namespace bulkhead::detail {
namespace {

using ring::object_kind;
using ring::shared_object;

/// Written by the maker, then constant.
struct alignas(64) array_layout {
    std::uint64_t count;
};
static_assert(sizeof(array_layout) == 64);

object_kind kind_of(shared_kind kind) {
    return kind == shared_kind::value ? object_kind::value : object_kind::array;
}

std::size_t body_bytes(type_tag type, std::size_t count) {
    constexpr std::size_t bytes_max =
        std::numeric_limits<std::ptrdiff_t>::max() / 2 - sizeof(array_layout);
    if (count > bytes_max / type.bytes) {
        throw std::length_error("bulkhead: a shared_array of " + std::to_string(count) +
                                " elements of " + std::to_string(type.bytes) +
                                " bytes is larger than any memory");
    }
    return sizeof(array_layout) + count * type.bytes;
}

shared_object::initializer initialize(std::size_t count, const shared_core::maker& fill) {
    return [count, &fill](std::byte* body, std::size_t) {
        new (body) array_layout{count};
        fill(body + sizeof(array_layout));
    };
}

}  // namespace

shared_core::shared_core(std::shared_ptr<shared_object> object, type_tag type)
    : object_(std::move(object)), data_(object_->body() + sizeof(array_layout)) {
    // Its count is believed as far as there is memory for it.
    const std::size_t bytes = object_->body_bytes();
    const auto* layout = reinterpret_cast<const array_layout*>(object_->body());
    if (bytes < sizeof(array_layout) ||
        layout->count > (bytes - sizeof(array_layout)) / type.bytes) {
        throw error("bulkhead: the memory of " + object_->description() + " is too small");
    }
    count_ = static_cast<std::size_t>(layout->count);
}

shared_core shared_core::make(shared_kind kind, type_tag type, std::size_t count,
                              const maker& fill) {
    return shared_core(shared_object::create_anonymous(
                           {kind_of(kind), type}, body_bytes(type, count), initialize(count, fill)),
                       type);
}

shared_core shared_core::create(shared_kind kind, const std::string& name, type_tag type,
                                std::size_t count, const maker& fill) {
    return shared_core(shared_object::create(name, {kind_of(kind), type}, body_bytes(type, count),
                                             initialize(count, fill)),
                       type);
}

shared_core shared_core::open(shared_kind kind, const std::string& name, type_tag type) {
    return shared_core(shared_object::open(name, {kind_of(kind), type}), type);
}

shared_core shared_core::open_or_create(shared_kind kind, const std::string& name, type_tag type,
                                        std::size_t count, const maker& fill) {
    bool created = false;
    auto object = shared_object::open_or_create(
        name, {kind_of(kind), type}, body_bytes(type, count), initialize(count, fill), created);
    shared_core found(object, type);
    if (found.count() != count) {
        throw error("bulkhead: " + object->description() + " has " + std::to_string(found.count()) +
                    " elements, not " + std::to_string(count) + ": open() takes it as it is");
    }
    return found;
}

bool shared_core::remove(shared_kind kind, const std::string& name) {
    return shared_object::remove(name, kind_of(kind));
}

void shared_core::encode(encoder& out) const { shared_object::encode(out, object_); }

shared_core shared_core::decode(shared_kind kind, decoder& in, type_tag type) {
    try {
        return shared_core(shared_object::decode(in, {kind_of(kind), type}), type);
    } catch (const codec_error&) {
        throw;
    } catch (const error& damaged) {
        throw codec_error(damaged.what());
    }
}

void shared_core::throw_out_of_range(std::size_t index) const {
    throw std::out_of_range("bulkhead: index " + std::to_string(index) + " of a shared_array of " +
                            std::to_string(count_) + " elements");
}

}  // namespace bulkhead::detail

namespace bulkhead::ring {

constinit const accountant array_accountant{
    sizeof(detail::array_layout), [](const std::byte* body, object_account& to) {
        to.add("elements", reinterpret_cast<const detail::array_layout*>(body)->count);
    }};

}  // namespace bulkhead::ring
