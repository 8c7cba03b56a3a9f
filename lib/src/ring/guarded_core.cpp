// guarded<T>: a robust mutex and two slots for the value, of which an index names the valid one.
//
//   valid slot i --(lock owner writes slot 1-i wholly)--> still slot i --(index + 1)--> slot 1-i
//
// A dead owner leaves the old or the new value, so inheriting the lock needs no repair.
#include <bulkhead/guarded.hpp>

#include "ring/object_account.hpp"
#include "ring/robust_mutex.hpp"
#include "ring/shared_object.hpp"

#include <bulkhead/error.hpp>

#include <atomic>
#include <cstring>
#include <new>

namespace bulkhead::detail {
namespace {

using ring::object_kind;
using ring::shared_object;

/// The slots follow, each a multiple of 64 bytes; only the lock's owner touches them.
struct guarded_layout {
    ring::robust_mutex lock;
    alignas(64) std::atomic<std::uint32_t> index;
};
static_assert(sizeof(guarded_layout) == 128);

constexpr std::size_t slot_bytes(std::size_t value_bytes) { return (value_bytes + 63) / 64 * 64; }

std::size_t body_bytes(type_tag type) {
    return sizeof(guarded_layout) + 2 * slot_bytes(type.bytes);
}

shared_object::initializer make_guarded(type_tag type, const void* value) {
    return [type, value](std::byte* body, std::size_t) {
        auto* layout = new (body) guarded_layout{};
        ring::robust_mutex::construct(&layout->lock);
        std::memcpy(body + sizeof(guarded_layout), value, type.bytes);
    };
}

ring::object_type guarded_of(type_tag type) { return {object_kind::guarded, type}; }

}  // namespace

class guarded_core::state {
public:
    state(std::shared_ptr<shared_object> from, type_tag type)
        : object(std::move(from)), value_bytes(type.bytes) {
        if (object->body_bytes() < body_bytes(type)) {
            throw error("bulkhead: the memory of " + object->description() + " is too small");
        }
    }

    [[nodiscard]] guarded_layout& layout() const {
        return *reinterpret_cast<guarded_layout*>(object->body());
    }
    [[nodiscard]] std::byte* slot(std::uint32_t index) const {
        return object->body() + sizeof(guarded_layout) + (index & 1) * slot_bytes(value_bytes);
    }
    [[nodiscard]] const char* what() const { return object->description().c_str(); }

    std::shared_ptr<shared_object> object;
    std::size_t value_bytes;
};

guarded_core::locked::locked(const guarded_core& core) : core_(core) {
    static_cast<void>(core_.state_->layout().lock.lock(wait_for_ever, core_.state_->what()));
}

guarded_core::locked::~locked() {
    try {
        core_.state_->layout().lock.unlock(core_.state_->what());
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): damaged; the next locker says so
    }
}

const void* guarded_core::locked::value() const noexcept {
    // Acquire: partner is the release in commit().
    return core_.state_->slot(core_.state_->layout().index.load(std::memory_order_acquire));
}

void guarded_core::locked::commit(const void* value) noexcept {
    const state& to = *core_.state_;
    if (!to.layout().lock.is_mine()) return;  // a fork within with_lock(): the lock is its parent's
    const std::uint32_t now = to.layout().index.load(std::memory_order_relaxed);
    std::memcpy(to.slot(now + 1), value, to.value_bytes);
    to.layout().index.store(now + 1, std::memory_order_release);
}

guarded_core guarded_core::make(type_tag type, const void* value) {
    return guarded_core(
        std::make_shared<state>(shared_object::create_anonymous(guarded_of(type), body_bytes(type),
                                                                make_guarded(type, value)),
                                type));
}

guarded_core guarded_core::create(const std::string& name, type_tag type, const void* value) {
    return guarded_core(std::make_shared<state>(
        shared_object::create(name, guarded_of(type), body_bytes(type), make_guarded(type, value)),
        type));
}

guarded_core guarded_core::open(const std::string& name, type_tag type) {
    return guarded_core(std::make_shared<state>(shared_object::open(name, guarded_of(type)), type));
}

guarded_core guarded_core::open_or_create(const std::string& name, type_tag type,
                                          const void* value) {
    bool created = false;
    return guarded_core(std::make_shared<state>(
        shared_object::open_or_create(name, guarded_of(type), body_bytes(type),
                                      make_guarded(type, value), created),
        type));
}

bool guarded_core::remove(const std::string& name) {
    return shared_object::remove(name, object_kind::guarded);
}

void guarded_core::encode(encoder& out) const { shared_object::encode(out, state_->object); }

guarded_core guarded_core::decode(decoder& in, type_tag type) {
    auto object = shared_object::decode(in, guarded_of(type));
    try {
        return guarded_core(std::make_shared<state>(std::move(object), type));
    } catch (const error& damaged) {
        throw codec_error(damaged.what());
    }
}

}  // namespace bulkhead::detail

namespace bulkhead::ring {

constinit const accountant guarded_accountant{
    sizeof(detail::guarded_layout), [](const std::byte* body, object_account& to) {
        to.add_lock(reinterpret_cast<const detail::guarded_layout*>(body)->lock);
    }};

}  // namespace bulkhead::ring
