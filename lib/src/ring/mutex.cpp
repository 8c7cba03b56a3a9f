// mutex and recursive_mutex: a robust mutex in a shared object.
#include <bulkhead/mutex.hpp>

#include "ring/robust_mutex.hpp"
#include "ring/sync_object.hpp"

#include <bulkhead/error.hpp>

#include <atomic>
#include <limits>
#include <new>

namespace bulkhead {
namespace {

/// The depth is the owner's alone; a new owner sets it.
struct recursive_layout {
    ring::robust_mutex lock;
    alignas(64) std::atomic<std::uint32_t> depth;
};
static_assert(sizeof(recursive_layout) == 128);

bool lock_robust(ring::sync_object& object, ring::robust_mutex& lock, detail::deadline until,
                 lock_state* how) {
    const auto got = lock.lock(until, object.what());
    if (got == ring::acquired::no) return false;
    const bool inherited = got == ring::acquired::inherited;
    const lock_state state = inherited ? lock_state::inherited : lock_state::clean;
    object.note_lock(state, inherited);
    if (how != nullptr) *how = state;
    return true;
}

/// The note goes first: the next owner, in this process, makes its own.
void unlock_robust(ring::sync_object& object, ring::robust_mutex& lock) {
    if (lock.is_mine()) object.note_unlock();
    lock.unlock(object.what());
}

}  // namespace

namespace ring {

constinit const sync_traits mutex_traits{
    object_kind::mutex, sizeof(robust_mutex),
    [](std::byte* body, std::uint64_t) { robust_mutex::construct(body); },
    [](const std::byte* body, object_account& to) {
        to.add_lock(*reinterpret_cast<const robust_mutex*>(body));
    }};

constinit const sync_traits recursive_mutex_traits{
    object_kind::recursive_mutex, sizeof(recursive_layout),
    [](std::byte* body, std::uint64_t) {
        auto* layout = new (body) recursive_layout{};
        robust_mutex::construct(&layout->lock);
    },
    [](const std::byte* body, object_account& to) {
        to.add_lock(reinterpret_cast<const recursive_layout*>(body)->lock);
    }};

}  // namespace ring

bool mutex::lock_until(detail::deadline until, lock_state* how) const {
    return lock_robust(shared(), shared().as<ring::robust_mutex>(), until, how);
}

void mutex::unlock() const { unlock_robust(shared(), shared().as<ring::robust_mutex>()); }

bool recursive_mutex::lock_until(detail::deadline until, lock_state* how) const {
    auto& layout = shared().as<recursive_layout>();
    if (!layout.lock.is_mine()) {
        if (!lock_robust(shared(), layout.lock, until, how)) return false;
        layout.depth.store(1, std::memory_order_relaxed);
        return true;
    }
    const std::uint32_t depth = layout.depth.load(std::memory_order_relaxed);
    if (depth == std::numeric_limits<std::uint32_t>::max()) {
        throw usage_error(std::string("bulkhead: this thread has locked ") + shared().what() +
                          " 4294967295 times; it cannot once more");
    }
    layout.depth.store(depth + 1, std::memory_order_relaxed);
    if (how != nullptr) *how = lock_state::clean;
    return true;
}

void recursive_mutex::unlock() const {
    auto& layout = shared().as<recursive_layout>();
    const bool mine = layout.lock.is_mine();
    const std::uint32_t depth = layout.depth.load(std::memory_order_relaxed);
    if (mine && depth > 1) {
        layout.depth.store(depth - 1, std::memory_order_relaxed);
        return;
    }
    unlock_robust(shared(), layout.lock);
}

}  // namespace bulkhead
