/// @file
/// What the handles of locks and their like (mutex, semaphore, barrier, ...) have in common.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/handle.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace bulkhead::ring {
class sync_object;
}  // namespace bulkhead::ring

namespace bulkhead::detail {

enum class sync_kind : std::uint8_t {
    mutex,
    recursive_mutex,
    shared_mutex,
    semaphore,
    event,
    condition_variable,
    barrier,
};

/// Shares one object in shared memory; `Kind` says which. `parameter` is what its maker gives it: a
/// semaphore's permits, a barrier's parties.
class sync_handle {
protected:
    using object = std::shared_ptr<ring::sync_object>;

    explicit sync_handle(object from) noexcept : object_(std::move(from)) {}

    static object make(sync_kind kind, std::uint64_t parameter = 0);
    static object create(sync_kind kind, const std::string& name, std::uint64_t parameter = 0);
    static object open(sync_kind kind, const std::string& name);
    static object open_or_create(sync_kind kind, const std::string& name,
                                 std::uint64_t parameter = 0);
    static bool remove(sync_kind kind, const std::string& name);

    [[nodiscard]] ring::sync_object& shared() const noexcept { return *object_; }

private:
    friend class sync_codec;

    object object_;
};

template <class T>
concept sync_type = std::derived_from<T, sync_handle>;

template <sync_type T>
inline constexpr bool is_handle<T> = true;

class sync_codec {
public:
    static void encode(encoder& out, const sync_handle& value);
    template <class T>
    static T decode(decoder& in) {
        return T(decode(in, T::kind));
    }

private:
    static sync_handle::object decode(decoder& in, sync_kind kind);
};

}  // namespace bulkhead::detail

namespace bulkhead {

/// Travels as its handle.
template <detail::sync_type T>
struct codec<T> {
    static void encode(encoder& out, const T& value) { detail::sync_codec::encode(out, value); }
    static T decode(decoder& in) { return detail::sync_codec::decode<T>(in); }
};

}  // namespace bulkhead
