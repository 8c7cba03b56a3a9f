// Changes of a shared_map's container, each within its two phases. Locking is left to shared_map_core.cpp.
#include "ring/map_table.hpp"

#include "os/kill_point.hpp"

#include <boost/interprocess/exceptions.hpp>
#include <bulkhead/error.hpp>

#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

namespace bulkhead::ring {
namespace {

/// A value that takes up less than a quarter of its place moves to a smaller one, if it is more than this.
constexpr std::size_t waste_bytes_max = 256;

std::string_view view(map_table::bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

map_table::bytes to_bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

void map_table::construct(std::byte* body, std::size_t capacity_bytes) {
    auto* layout = new (body) map_layout{};
    robust_mutex::construct(&layout->lock);
    layout->capacity_bytes = capacity_bytes;
    layout->container_word = map_container_word;
    map_table(body, capacity_bytes).make_anew();
}

map_table::map_table(std::byte* body, std::size_t body_bytes, const char* what)
    : layout_(*reinterpret_cast<map_layout*>(body)), capacity_bytes_(0), what_(what) {
    const auto refuse = [&](const std::string& why) {
        throw error(std::string("bulkhead: the memory of ") + what_ + " " + why);
    };
    if (body_bytes < sizeof(map_layout)) refuse("is too small");
    if (layout_.container_word != map_container_word) {
        refuse(
            "is laid out by another release of Boost than this program's; use one on both sides");
    }
    capacity_bytes_ = layout_.capacity_bytes;
    if (capacity_bytes_ > body_bytes || map_body_bytes(capacity_bytes_) != body_bytes) {
        refuse("is damaged: its capacity is not what was written");
    }
}

void map_table::make_anew() {
    auto* const memory = new (heap_begin()) map_heap(map_heap_bytes(capacity_bytes_));
    new (layout_.entries.data())
        map_entries(map_order(), map_allocator<map_entries::value_type>(memory));
    layout_.size.store(0, std::memory_order_relaxed);
    layout_.free_bytes.store(memory->get_free_memory(), std::memory_order_relaxed);
}

bool map_table::settle() {
    // Acquire: partner is the release in enter().
    switch (layout_.phase.load(std::memory_order_acquire)) {
        case map_phase::intact:
            return true;
        case map_phase::logged: {
            const std::uint64_t place = layout_.log_place;
            const std::uint64_t length = layout_.log_bytes;
            const std::size_t all_bytes = map_body_bytes(capacity_bytes_);
            if (length > layout_.log.size() || place < sizeof layout_ || place > all_bytes ||
                length > all_bytes - place) {
                break;
            }
            std::memcpy(reinterpret_cast<std::byte*>(&layout_) + place, layout_.log.data(), length);
            BULKHEAD_KILL_POINT("map.replaced");
            enter(map_phase::intact);
            return true;
        }
        case map_phase::changing:
            break;
    }
    return false;
}

void map_table::throw_damaged() const {
    throw map_damaged(
        std::string("bulkhead: ") + what_ +
        " is damaged: a process was killed while it added or removed an entry, so that "
        "nobody can tell which entries are whole; clear() makes it an empty map again");
}

map_table::iterator map_table::find(bytes key) const { return entries().find(view(key)); }

map_table::spot map_table::spot_of(bytes key) const {
    const iterator at = entries().lower_bound(view(key));
    return {at, at != entries().end() && !map_order()(view(key), at->first)};
}

map_table::bytes map_table::key_of(const map_entries::value_type& entry) noexcept {
    return to_bytes(map_order::view(entry.first));
}

map_table::bytes map_table::value_of(const map_entries::value_type& entry) const {
    const bytes stored = to_bytes(map_order::view(entry.second));
    value_length length = 0;
    if (stored.size() >= sizeof length) std::memcpy(&length, stored.data(), sizeof length);
    if (stored.size() < sizeof length || length > stored.size() - sizeof length) {
        throw error(std::string("bulkhead: the memory of ") + what_ +
                    " is damaged: a value is longer than its place");
    }
    return stored.subspan(sizeof length, length);
}

map_bytes map_table::stored_form(bytes value) const {
    const value_length length = value.size();
    map_bytes stored(sizeof length + value.size(), boost::container::default_init,
                     map_allocator<char>(&heap()));
    // All of the room that it got is for values to come.
    stored.resize(stored.capacity(), boost::container::default_init);
    std::memcpy(stored.data(), &length, sizeof length);
    if (!value.empty()) std::memcpy(stored.data() + sizeof length, value.data(), value.size());
    return stored;
}

/// A child that is forked in a function of update() would go on in there with a lock that its parent has.
void map_table::check_owner() const {
    if (!layout_.lock.is_mine()) {
        throw usage_error(
            std::string("bulkhead: ") + what_ +
            " is changed by a process that was forked within update(), and so does not "
            "have the lock");
    }
}

/// The fences and the release: see map_phase.
void map_table::enter(map_phase next) noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    layout_.phase.store(next, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

void map_table::begin_change() {
    check_owner();
    enter(map_phase::changing);
    BULKHEAD_KILL_POINT("map.changing");
}

void map_table::end_change() noexcept {
    layout_.size.store(entries().size(), std::memory_order_relaxed);
    layout_.free_bytes.store(heap().get_free_memory(), std::memory_order_relaxed);
    BULKHEAD_KILL_POINT("map.changed");
    enter(map_phase::intact);
    BULKHEAD_KILL_POINT("map.settled");
}

template <class Change>
void map_table::change(const Change& make) {
    begin_change();
    try {
        make();
    } catch (...) {
        end_change();  // there was no room; what was begun is undone
        throw;
    }
    end_change();
}

void map_table::throw_full(std::size_t wanted_bytes) const {
    throw std::length_error(
        std::string("bulkhead: ") + what_ + " has no room for an entry of " +
        std::to_string(wanted_bytes) + " bytes: of its capacity of " +
        std::to_string(capacity_bytes_) + " bytes " +
        std::to_string(layout_.free_bytes.load(std::memory_order_relaxed)) +
        " are free, perhaps in several pieces; erase entries, or make it larger");
}

void map_table::add(iterator at, bytes key, bytes value) {
    const std::size_t wanted = key.size() + value.size();
    if (wanted > capacity_bytes_) throw_full(wanted);
    try {
        change([&] {
            map_bytes first(view(key).data(), key.size(), map_allocator<char>(&heap()));
            map_bytes second(stored_form(value));
            BULKHEAD_KILL_POINT("map.allocated");
            entries().emplace_hint(at, std::move(first), std::move(second));
        });
    } catch (const bip::bad_alloc&) {
        throw_full(wanted);
    }
}

void map_table::replace(const iterator& at, bytes value) {
    map_bytes& stored = at->second;
    if (value.size() > capacity_bytes_) throw_full(value.size());
    const std::size_t wanted = sizeof(value_length) + value.size();
    const bool fits = wanted <= stored.size();
    const bool wastes = stored.size() / 4 > wanted && stored.size() > waste_bytes_max;
    if (fits && !wastes) return overwrite(stored, value);
    try {
        change([&] {
            map_bytes fresh(stored_form(value));
            BULKHEAD_KILL_POINT("map.allocated");
            stored.swap(fresh);
        });
    } catch (const bip::bad_alloc&) {
        if (!fits) throw_full(value.size());
        overwrite(stored, value);
    }
}

void map_table::overwrite(map_bytes& stored, bytes value) {
    const value_length length = value.size();
    const auto write = [&](std::byte* to) {
        std::memcpy(to, &length, sizeof length);
        if (!value.empty()) std::memcpy(to + sizeof length, value.data(), value.size());
    };
    auto* const place = reinterpret_cast<std::byte*>(stored.data());
    if (sizeof length + value.size() > layout_.log.size()) {
        return change([&] { write(place); });
    }
    check_owner();
    write(layout_.log.data());
    layout_.log_place = static_cast<std::uint64_t>(place - reinterpret_cast<std::byte*>(&layout_));
    layout_.log_bytes = sizeof length + value.size();
    enter(map_phase::logged);
    BULKHEAD_KILL_POINT("map.logged");
    std::memcpy(place, layout_.log.data(), sizeof length + value.size());
    BULKHEAD_KILL_POINT("map.replaced");
    enter(map_phase::intact);
}

void map_table::erase(iterator at) {
    change([&] { entries().erase(at); });
}

void map_table::clear() {
    begin_change();
    make_anew();
    end_change();
}

}  // namespace bulkhead::ring
