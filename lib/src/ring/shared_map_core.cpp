// shared_map: a map_table in a shared object, and its lock.
#include "os/kill_point.hpp"
#include "ring/map_table.hpp"
#include "ring/object_account.hpp"
#include "ring/shared_object.hpp"

#include <bulkhead/detail/map_core.hpp>
#include <bulkhead/error.hpp>

#include <cstring>
#include <stdexcept>

namespace bulkhead::detail {
namespace {

using ring::map_table;
using ring::object_kind;
using ring::shared_object;

constexpr std::size_t capacity_bytes_anonymous = std::size_t{16} << 20;
constexpr std::size_t capacity_bytes_named = std::size_t{1} << 20;
constexpr std::size_t capacity_bytes_min = std::size_t{4} << 10;
constexpr std::size_t capacity_bytes_max = std::size_t{1} << 40;

std::size_t checked_capacity(std::optional<std::size_t> wanted, std::size_t otherwise) {
    const std::size_t bytes = wanted.value_or(otherwise);
    if (bytes < capacity_bytes_min || bytes > capacity_bytes_max) {
        throw usage_error("bulkhead: shared_map_options::capacity_bytes is " +
                          std::to_string(bytes) + "; from " + std::to_string(capacity_bytes_min) +
                          " to " + std::to_string(capacity_bytes_max) + " are possible");
    }
    return bytes;
}

shared_object::initializer make_table(std::size_t capacity_bytes) {
    return [capacity_bytes](std::byte* body, std::size_t) {
        map_table::construct(body, capacity_bytes);
    };
}

ring::object_type map_of(type_tag type) { return {object_kind::map, type}; }

void give(byte_view bytes, byte_sink to) {
    std::byte* const room = to.room(to.context, bytes.size());
    if (!bytes.empty()) std::memcpy(room, bytes.data(), bytes.size());
}

}  // namespace

class map_core::state {
public:
    explicit state(std::shared_ptr<shared_object> from)
        : object(std::move(from)), table(object->body(), object->body_bytes(), what()) {}

    [[nodiscard]] const char* what() const noexcept { return object->description().c_str(); }

    std::shared_ptr<shared_object> object;
    map_table table;
};

map_core::session::session(const map_core& core) : state_(core.state_) {
    map_table& table = state_->table;
    static_cast<void>(table.lock().lock(wait_for_ever, state_->what()));
    BULKHEAD_KILL_POINT("map.locked");
    if (table.settle()) return;
    table.lock().unlock(state_->what());
    table.throw_damaged();
}

map_core::session::~session() {
    try {
        state_->table.lock().unlock(state_->what());
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): damaged; the next locker says so
    }
    BULKHEAD_KILL_POINT("map.unlocked");
}

std::optional<byte_view> map_core::session::find(byte_view key) const {
    const auto at = state_->table.find(key);
    if (at == state_->table.entries().end()) return std::nullopt;
    return state_->table.value_of(*at);
}

bool map_core::session::insert_or_assign(byte_view key, byte_view value) {
    const auto spot = state_->table.spot_of(key);
    if (spot.has_key) {
        state_->table.replace(spot.at, value);
    } else {
        state_->table.add(spot.at, key, value);
    }
    return !spot.has_key;
}

map_core map_core::make(std::optional<std::size_t> capacity_bytes, type_tag type) {
    const std::size_t bytes = checked_capacity(capacity_bytes, capacity_bytes_anonymous);
    return map_core(std::make_shared<state>(shared_object::create_anonymous(
        map_of(type), ring::map_body_bytes(bytes), make_table(bytes))));
}

map_core map_core::create(const std::string& name, std::optional<std::size_t> capacity_bytes,
                          type_tag type) {
    const std::size_t bytes = checked_capacity(capacity_bytes, capacity_bytes_named);
    return map_core(std::make_shared<state>(
        shared_object::create(name, map_of(type), ring::map_body_bytes(bytes), make_table(bytes))));
}

map_core map_core::open(const std::string& name, type_tag type) {
    return map_core(std::make_shared<state>(shared_object::open(name, map_of(type))));
}

map_core map_core::open_or_create(const std::string& name,
                                  std::optional<std::size_t> capacity_bytes, type_tag type) {
    const std::size_t bytes = checked_capacity(capacity_bytes, capacity_bytes_named);
    bool created = false;
    map_core opened(std::make_shared<state>(shared_object::open_or_create(
        name, map_of(type), ring::map_body_bytes(bytes), make_table(bytes), created)));
    if (capacity_bytes && opened.capacity_bytes() < *capacity_bytes) {
        throw error("bulkhead: " + opened.state_->object->description() +
                    " exists already, with a capacity of " +
                    std::to_string(opened.capacity_bytes()) + " bytes where " +
                    std::to_string(*capacity_bytes) +
                    " are asked for; open it, or remove it first");
    }
    return opened;
}

bool map_core::remove(const std::string& name) {
    return shared_object::remove(name, object_kind::map);
}

void map_core::encode(encoder& out) const { shared_object::encode(out, state_->object); }

map_core map_core::decode(decoder& in, type_tag type) {
    auto object = shared_object::decode(in, map_of(type));
    try {
        return map_core(std::make_shared<state>(std::move(object)));
    } catch (const error& damaged) {
        throw codec_error(damaged.what());
    }
}

bool map_core::contains(byte_view key) const {
    const session locked(*this);
    return state_->table.find(key) != state_->table.entries().end();
}

bool map_core::get(byte_view key, byte_sink to) const {
    const session locked(*this);
    const auto value = locked.find(key);
    if (value) give(*value, to);
    return value.has_value();
}

bool map_core::take(byte_view key, byte_sink to) const {
    const session locked(*this);
    const auto at = state_->table.find(key);
    if (at == state_->table.entries().end()) return false;
    give(state_->table.value_of(*at), to);
    state_->table.erase(at);
    return true;
}

bool map_core::insert(byte_view key, byte_view value) const {
    const session locked(*this);
    const auto spot = state_->table.spot_of(key);
    if (!spot.has_key) state_->table.add(spot.at, key, value);
    return !spot.has_key;
}

bool map_core::insert_or_assign(byte_view key, byte_view value) const {
    return session(*this).insert_or_assign(key, value);
}

bool map_core::erase(byte_view key) const {
    const session locked(*this);
    const auto at = state_->table.find(key);
    if (at == state_->table.entries().end()) return false;
    state_->table.erase(at);
    return true;
}

std::size_t map_core::size() const {
    const session locked(*this);
    return state_->table.entries().size();
}

map_copy map_core::copy(map_copy::part what) const {
    const auto wants = [what](map_copy::part part) {
        return (static_cast<unsigned>(what) & static_cast<unsigned>(part)) != 0;
    };
    map_copy all;
    const session locked(*this);
    for (const auto& entry : state_->table.entries()) {
        if (wants(map_copy::part::keys)) all.add(map_table::key_of(entry));
        if (wants(map_copy::part::values)) all.add(state_->table.value_of(entry));
    }
    return all;
}

void map_core::clear() const {
    const std::shared_ptr<state> kept = state_;
    const ring::robust_guard lock(kept->table.lock(), wait_for_ever, kept->what());
    BULKHEAD_KILL_POINT("map.locked");
    kept->table.clear();
}

bool map_core::damaged() const {
    const std::shared_ptr<state> kept = state_;
    const ring::robust_guard lock(kept->table.lock(), wait_for_ever, kept->what());
    return !kept->table.settle();
}

std::size_t map_core::capacity_bytes() const noexcept { return state_->table.capacity_bytes(); }

void map_core::throw_no_such_key() const {
    throw std::out_of_range("bulkhead: " + state_->object->description() + " has no such key");
}

}  // namespace bulkhead::detail

namespace bulkhead::ring {

constinit const accountant map_accountant{
    sizeof(map_layout), [](const std::byte* body, object_account& to) {
        const auto& layout = *reinterpret_cast<const map_layout*>(body);
        to.add("entries", layout.size.load(std::memory_order_relaxed));
        to.add("free_bytes", layout.free_bytes.load(std::memory_order_relaxed));
        to.add("capacity_bytes", layout.capacity_bytes);
        const bool is_nobodys = layout.lock.owner() == 0 || layout.lock.owner_has_died();
        if (layout.phase.load(std::memory_order_relaxed) == map_phase::changing && is_nobodys) {
            to.add("damaged", 1);
        }
        to.add_lock(layout.lock);
    }};

}  // namespace bulkhead::ring
