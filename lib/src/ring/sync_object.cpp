// Making, opening and sending locks and their like.
#include "ring/sync_object.hpp"

#include "os/fork_count.hpp"

#include <array>
#include <new>

namespace bulkhead {
namespace {

using detail::sync_kind;
using ring::shared_object;
using ring::sync_object;
using ring::sync_traits;

/// In the order of sync_kind.
constexpr std::array all_traits = {
    &ring::mutex_traits,     &ring::recursive_mutex_traits, &ring::shared_mutex_traits,
    &ring::semaphore_traits, &ring::event_traits,           &ring::condition_variable_traits,
    &ring::barrier_traits,
};

const sync_traits& traits_of(sync_kind kind) { return *all_traits[static_cast<std::size_t>(kind)]; }

ring::object_type type_of(sync_kind kind) { return {traits_of(kind).kind, {"lock", 0, 0}}; }

shared_object::initializer construct(sync_kind kind, std::uint64_t parameter) {
    return [kind, parameter](std::byte* body, std::size_t) {
        traits_of(kind).construct(body, parameter);
    };
}

std::shared_ptr<sync_object> adopt(std::shared_ptr<shared_object> object, sync_kind kind) {
    return std::make_shared<sync_object>(std::move(object), kind);
}

}  // namespace

namespace ring {

const sync_traits* sync_traits_of(object_kind kind) noexcept {
    for (const sync_traits* traits : all_traits) {
        if (traits->kind == kind) return traits;
    }
    return nullptr;
}

sync_object::sync_object(std::shared_ptr<shared_object> from, sync_kind kind)
    : object_(std::move(from)), traits_(traits_of(kind)), forks_(os::fork_count()) {
    if (object_->body_bytes() < traits_.body_bytes) {
        throw error("bulkhead: the memory of " + object_->description() + " is too small");
    }
    if (traits_.attach != nullptr) traits_.attach(*this);
}

sync_object::~sync_object() {
    // In a fork that has not used it, it was never attached.
    if (traits_.detach != nullptr && is_attached()) traits_.detach(*this);
    // Dropped while locked: the mapping stays, since the C library has the address.
    if (object_->locks_held.load() != 0) {
        static_cast<void>(new (std::nothrow) std::shared_ptr(object_));
    }
}

}  // namespace ring

namespace detail {

sync_handle::object sync_handle::make(sync_kind kind, std::uint64_t parameter) {
    return adopt(shared_object::create_anonymous(type_of(kind), traits_of(kind).body_bytes,
                                                 construct(kind, parameter)),
                 kind);
}

sync_handle::object sync_handle::create(sync_kind kind, const std::string& name,
                                        std::uint64_t parameter) {
    return adopt(shared_object::create(name, type_of(kind), traits_of(kind).body_bytes,
                                       construct(kind, parameter)),
                 kind);
}

sync_handle::object sync_handle::open(sync_kind kind, const std::string& name) {
    return adopt(shared_object::open(name, type_of(kind)), kind);
}

sync_handle::object sync_handle::open_or_create(sync_kind kind, const std::string& name,
                                                std::uint64_t parameter) {
    bool created = false;
    return adopt(shared_object::open_or_create(name, type_of(kind), traits_of(kind).body_bytes,
                                               construct(kind, parameter), created),
                 kind);
}

bool sync_handle::remove(sync_kind kind, const std::string& name) {
    return shared_object::remove(name, traits_of(kind).kind);
}

bool sync_handle::lock_was_inherited() const noexcept { return object_->inherited(); }

void sync_access::encode(encoder& out, const sync_handle& value) {
    shared_object::encode(out, value.object_->object());
}

sync_handle::object sync_access::decode(decoder& in, sync_kind kind) {
    auto object = shared_object::decode(in, type_of(kind));
    try {
        return adopt(std::move(object), kind);
    } catch (const error& damaged) {
        throw codec_error(damaged.what());
    }
}

}  // namespace detail
}  // namespace bulkhead
