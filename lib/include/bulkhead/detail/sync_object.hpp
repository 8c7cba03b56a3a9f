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

/// Shares one object in shared memory. `parameter` is what its maker gives it: a semaphore's permits, a
/// barrier's parties.
class sync_handle {
protected:
    using object = std::shared_ptr<ring::sync_object>;

    explicit sync_handle(object from) noexcept : object_(std::move(from)) {}
    // A move is a copy: what was moved from still names its object.
    sync_handle(const sync_handle&) = default;
    sync_handle& operator=(const sync_handle&) = default;

    static object make(sync_kind kind, std::uint64_t parameter = 0);
    static object create(sync_kind kind, const std::string& name, std::uint64_t parameter = 0);
    static object open(sync_kind kind, const std::string& name);
    static object open_or_create(sync_kind kind, const std::string& name,
                                 std::uint64_t parameter = 0);
    static bool remove(sync_kind kind, const std::string& name);

    [[nodiscard]] ring::sync_object& shared() const noexcept { return *object_; }
    [[nodiscard]] bool lock_was_inherited() const noexcept;

private:
    friend class sync_access;

    object object_;
};

template <class T>
concept sync_type = std::derived_from<T, sync_handle>;

template <sync_type T>
inline constexpr bool is_handle<T> = true;

/// Makes handles of objects. A friend of all their classes.
class sync_access {
public:
    template <class T, class Object>
    static T handle_of(Object from) {
        return T(std::move(from));
    }
    static void encode(encoder& out, const sync_handle& value);
    template <class T>
    static T decode(decoder& in) {
        return T(decode(in, T::kind));
    }

private:
    static sync_handle::object decode(decoder& in, sync_kind kind);
};

/// A handle of one kind of object, of class Self.
template <class Self, sync_kind Kind>
class sync_handle_of : public sync_handle {
public:
    static constexpr auto kind = Kind;

    /// As queue::open and remove.
    [[nodiscard]] static Self open(const std::string& name) {
        return sync_access::handle_of<Self>(sync_handle::open(Kind, name));
    }
    static bool remove(const std::string& name) { return sync_handle::remove(Kind, name); }

protected:
    using sync_handle::sync_handle;
};

/// One whose maker says nothing but its name.
template <class Self, sync_kind Kind>
class plain_handle_of : public sync_handle_of<Self, Kind> {
public:
    /// As queue::create and open_or_create.
    [[nodiscard]] static Self create(const std::string& name) {
        return sync_access::handle_of<Self>(sync_handle::create(Kind, name));
    }
    [[nodiscard]] static Self open_or_create(const std::string& name) {
        return sync_access::handle_of<Self>(sync_handle::open_or_create(Kind, name));
    }

protected:
    using sync_handle_of<Self, Kind>::sync_handle_of;
};

}  // namespace bulkhead::detail

namespace bulkhead {

/// Travels as its handle.
template <detail::sync_type T>
struct codec<T> {
    static void encode(encoder& out, const T& value) { detail::sync_access::encode(out, value); }
    static T decode(decoder& in) { return detail::sync_access::decode<T>(in); }
};

}  // namespace bulkhead
