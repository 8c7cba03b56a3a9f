// A lock or its like in a shared object: how it is made, found, kept mapped and handed on. What it does
// is in the file of its name.
#pragma once

#include "os/fork_count.hpp"
#include "ring/object_account.hpp"
#include "ring/shared_object.hpp"

#include <bulkhead/detail/sync_object.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/mutex.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace bulkhead::ring {

/// What one kind of object needs beyond its operations.
struct sync_traits {
    object_kind kind;
    std::size_t body_bytes;
    void (*construct)(std::byte* body, std::uint64_t parameter);
    void (*account)(const std::byte* body, object_account& to);
    /// A handle comes into being in this process, or its last copy goes.
    void (*attach)(sync_object&) = nullptr;
    void (*detach)(sync_object&) noexcept = nullptr;
};

/// What the copies of one handle share.
class sync_object {
public:
    sync_object(std::shared_ptr<shared_object> from, detail::sync_kind kind);
    ~sync_object();
    sync_object(const sync_object&) = delete;
    sync_object& operator=(const sync_object&) = delete;

    [[nodiscard]] const std::shared_ptr<shared_object>& object() const noexcept { return object_; }
    [[nodiscard]] const char* what() const noexcept { return object_->description().c_str(); }
    template <class Layout>
    [[nodiscard]] Layout& as() const noexcept {
        return *reinterpret_cast<Layout*>(object_->body());
    }

    /// False in a fork of the process that this was made in, until somebody attaches it there.
    [[nodiscard]] bool is_attached() const noexcept { return forks_.load() == os::fork_count(); }
    void note_attached() noexcept { forks_.store(os::fork_count()); }

    /// Notes of the thread that has got the lock in it, and keeps it beyond the call; `how` is what
    /// it was told, `from_the_dead` whether it may have been a thread of this process that has died.
    void note_lock(lock_state how, bool from_the_dead) noexcept {
        if (from_the_dead) {
            object_->locks_held.store(1);
        } else {
            object_->locks_held.fetch_add(1);
        }
        object_->inherited.store(how == lock_state::inherited, std::memory_order_relaxed);
    }
    void note_unlock() noexcept { object_->locks_held.fetch_sub(1); }
    /// What that thread was told.
    [[nodiscard]] bool inherited() const noexcept {
        return object_->inherited.load(std::memory_order_relaxed);
    }

private:
    std::shared_ptr<shared_object> object_;
    const sync_traits& traits_;
    std::atomic<unsigned> forks_;
};

/// nullptr when it is none of a lock or its like.
[[nodiscard]] const sync_traits* sync_traits_of(object_kind kind) noexcept;

// Each in the file of its name.
extern const sync_traits mutex_traits;
extern const sync_traits recursive_mutex_traits;
extern const sync_traits shared_mutex_traits;
extern const sync_traits semaphore_traits;
extern const sync_traits event_traits;
extern const sync_traits condition_variable_traits;
extern const sync_traits barrier_traits;

}  // namespace bulkhead::ring
