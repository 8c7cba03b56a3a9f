// The public mutex: a robust mutex in a shared object.
#include <bulkhead/mutex.hpp>

#include "ring/robust_mutex.hpp"
#include "ring/shared_object.hpp"

#include <bulkhead/error.hpp>

#include <new>

namespace bulkhead {
namespace {

using ring::shared_object;

constexpr ring::object_type mutex_type{ring::object_kind::mutex, {"lock", 0, 0}};

void make_mutex(std::byte* body, std::size_t) { ring::robust_mutex::construct(body); }

}  // namespace

class mutex::state {
public:
    explicit state(std::shared_ptr<shared_object> from) : object(std::move(from)) {
        if (object->body_bytes() < sizeof(ring::robust_mutex)) {
            throw error("bulkhead: the memory of " + object->description() + " is too small");
        }
    }
    ~state() {
        // Dropped while locked: the mapping stays, since the C library has the address.
        if (object->locks_held.load() != 0)
            static_cast<void>(new (std::nothrow) std::shared_ptr(object));
    }
    state(const state&) = delete;
    state& operator=(const state&) = delete;

    [[nodiscard]] ring::robust_mutex& lock() const {
        return *reinterpret_cast<ring::robust_mutex*>(object->body());
    }
    [[nodiscard]] const char* what() const { return object->description().c_str(); }

    std::shared_ptr<shared_object> object;
};

mutex::mutex()
    : state_(std::make_shared<state>(
          shared_object::create_anonymous(mutex_type, sizeof(ring::robust_mutex), make_mutex))) {}

mutex mutex::create(const std::string& name) {
    return mutex(std::make_shared<state>(
        shared_object::create(name, mutex_type, sizeof(ring::robust_mutex), make_mutex)));
}

mutex mutex::open(const std::string& name) {
    return mutex(std::make_shared<state>(shared_object::open(name, mutex_type)));
}

mutex mutex::open_or_create(const std::string& name) {
    bool created = false;
    return mutex(std::make_shared<state>(shared_object::open_or_create(
        name, mutex_type, sizeof(ring::robust_mutex), make_mutex, created)));
}

bool mutex::remove(const std::string& name) {
    return shared_object::remove(name, ring::object_kind::mutex);
}

bool mutex::lock_until(detail::deadline until, lock_state* how) const {
    const auto got = state_->lock().lock(until, state_->what());
    if (got == ring::acquired::no) return false;
    if (got == ring::acquired::inherited) {
        // The dead owner may have been a thread of this process, which has counted itself.
        state_->object->locks_held.store(1);
    } else {
        state_->object->locks_held.fetch_add(1);
    }
    if (how != nullptr) {
        *how = got == ring::acquired::inherited ? lock_state::inherited : lock_state::clean;
    }
    return true;
}

lock_state mutex::lock() const {
    lock_state how = lock_state::clean;
    static_cast<void>(lock_until(detail::wait_for_ever, &how));
    return how;
}

void mutex::unlock() const {
    state_->lock().unlock(state_->what());
    state_->object->locks_held.fetch_sub(1);
}

void codec<mutex>::encode(encoder& out, const mutex& value) {
    shared_object::encode(out, value.state_->object);
}

mutex codec<mutex>::decode(decoder& in) {
    auto object = shared_object::decode(in, mutex_type);
    try {
        return mutex(std::make_shared<mutex::state>(std::move(object)));
    } catch (const error& damaged) {
        throw codec_error(damaged.what());
    }
}

}  // namespace bulkhead
