// Putting and taking under the robust lock, and the waiting around it.
#include "ring/ring.hpp"

#include "os/kill_point.hpp"
#include "ring/object_account.hpp"
#include "ring/ring_waiter.hpp"

#include <bulkhead/error.hpp>

#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

namespace bulkhead::ring {
namespace {

using detail::deadline;

constexpr std::size_t length_bytes = sizeof(std::uint64_t);
/// A writer is woken when this part of the ring is free, so that it is woken for more than one
/// message. A waiting writer that would fit earlier finds out by its heartbeat.
constexpr std::uint64_t wake_writers_at_part = 4;

constexpr std::uint64_t padded(std::uint64_t bytes) { return (bytes + 7) / 8 * 8; }
constexpr std::uint64_t slot_bytes(std::uint64_t bytes) { return length_bytes + padded(bytes); }

}  // namespace

std::size_t byte_ring::body_bytes(std::size_t capacity_bytes) noexcept {
    return sizeof(ring_layout) + slot_bytes(capacity_bytes);
}

void byte_ring::construct(std::byte* body, std::size_t capacity_bytes) {
    auto* layout = new (body) ring_layout{};
    robust_mutex::construct(&layout->lock);
    layout->geometry = {capacity_bytes, slot_bytes(capacity_bytes)};
}

byte_ring::byte_ring(std::byte* body, std::size_t body_bytes, const char* what)
    : layout_(*reinterpret_cast<ring_layout*>(body)),
      buffer_(body + sizeof(ring_layout)),
      capacity_bytes_(0),
      buffer_bytes_(0),
      what_(what) {
    if (body_bytes < sizeof(ring_layout)) fail_damaged("it is too small");
    capacity_bytes_ = layout_.geometry.capacity_bytes;
    buffer_bytes_ = layout_.geometry.buffer_bytes;
    if (capacity_bytes_ > capacity_bytes_max || buffer_bytes_ != slot_bytes(capacity_bytes_) ||
        buffer_bytes_ > body_bytes - sizeof(ring_layout)) {
        fail_damaged("its capacity is not that of its memory");
    }
}

void byte_ring::fail_damaged(const char* why) const {
    throw error(std::string("bulkhead: the memory of ") + what_ + " is damaged: " + why);
}

ring_state byte_ring::valid_state() const {
    // Acquire: partner is the release in commit().
    const ring_state state = layout_.states[layout_.commit.load(std::memory_order_acquire) & 1];
    if (state.head >= buffer_bytes_ || state.used > buffer_bytes_ ||
        (state.head | state.used) % 8 != 0 || (state.used == 0 && state.head != 0) ||
        state.closed > 1) {
        fail_damaged("its positions lie outside of it");
    }
    const std::uint64_t messages = state.put - state.got;
    if (messages > state.used / length_bytes || (messages == 0) != (state.used == 0)) {
        fail_damaged("its counts do not fit its positions");
    }
    return state;
}

void byte_ring::commit(const ring_state& next) noexcept {
    const std::uint32_t now = layout_.commit.load(std::memory_order_relaxed);
    BULKHEAD_KILL_POINT("ring.copied");
    layout_.states[(now + 1) & 1] = next;
    BULKHEAD_KILL_POINT("ring.state_written");
    // Release: the state and the message's bytes are there before it counts. Partner: valid_state()
    // of whoever has the lock next, also of a heir whom no unlock by us precedes.
    layout_.commit.store(now + 1, std::memory_order_release);
    BULKHEAD_KILL_POINT("ring.committed");
}

void byte_ring::copy_in(std::uint64_t at, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes == 0) return;
    if (at >= buffer_bytes_) at -= buffer_bytes_;
    const std::size_t to_end = std::min<std::size_t>(bytes, buffer_bytes_ - at);
    std::memcpy(buffer_ + at, from, to_end);
    if (bytes != to_end) std::memcpy(buffer_, from + to_end, bytes - to_end);
}

void byte_ring::copy_out(std::uint64_t at, std::byte* to, std::size_t bytes) const noexcept {
    if (bytes == 0) return;
    if (at >= buffer_bytes_) at -= buffer_bytes_;
    const std::size_t to_end = std::min<std::size_t>(bytes, buffer_bytes_ - at);
    std::memcpy(to, buffer_ + at, to_end);
    if (bytes != to_end) std::memcpy(to + to_end, buffer_, bytes - to_end);
}

void byte_ring::append(ring_state& state, message bytes) noexcept {
    const std::uint64_t at = state.head + state.used;
    const std::uint64_t length = bytes.size();
    copy_in(at, reinterpret_cast<const std::byte*>(&length), length_bytes);
    copy_in(at + length_bytes, bytes.data(), bytes.size());
    state.used += slot_bytes(length);
    ++state.put;
    ++state.unfinished;
}

outcome byte_ring::put(std::span<const message> messages, deadline until, std::size_t& count) {
    count = 0;
    const std::size_t first_bytes = messages.front().size();
    if (first_bytes > capacity_bytes_) {
        throw std::length_error("bulkhead: a message of " + std::to_string(first_bytes) +
                                " bytes does not fit into " + what_ + ", whose capacity is " +
                                std::to_string(capacity_bytes_) + " bytes");
    }
    const std::uint64_t needed = slot_bytes(first_bytes);
    ring_waiter wait(layout_, until);
    for (;;) {
        wait.remember();
        operation_lock lock(layout_.lock, until, what_);
        if (!lock) return outcome::timed_out;
        BULKHEAD_KILL_POINT("ring.locked");
        ring_state state = valid_state();
        if (state.closed != 0) return outcome::closed;
        if (buffer_bytes_ - state.used >= needed) {
            while (count != messages.size() && messages[count].size() <= capacity_bytes_ &&
                   buffer_bytes_ - state.used >= slot_bytes(messages[count].size())) {
                append(state, messages[count++]);
            }
            commit(state);
            pending_wake reader;
            pending_wake next_writer;
            reader.decide(layout_.data);
            if (buffer_bytes_ - state.used >= layout_.space_wanted)
                next_writer.decide(layout_.space);
            BULKHEAD_KILL_POINT("ring.decided");
            lock.release();
            BULKHEAD_KILL_POINT("ring.unlocked");
            reader.give();
            next_writer.give();
            BULKHEAD_KILL_POINT("ring.woken");
            return outcome::done;
        }
        if (wait.sleeps_next()) {
            const std::uint64_t mine = std::max(needed, buffer_bytes_ / wake_writers_at_part);
            layout_.space_wanted =
                layout_.space.pending() ? std::min(layout_.space_wanted, mine) : mine;
        }
        if (!wait.pause(lock, layout_.space)) return outcome::timed_out;
    }
}

bool byte_ring::take(ring_state& state, detail::byte_sink sink) {
    std::uint64_t length = 0;
    copy_out(state.head, reinterpret_cast<std::byte*>(&length), length_bytes);
    if (length > capacity_bytes_ || slot_bytes(length) > state.used) {
        fail_damaged("a message reaches beyond what is in use");
    }
    std::byte* room = sink.room(sink.context, length);
    if (room == nullptr) return false;
    copy_out(state.head + length_bytes, room, length);
    state.used -= slot_bytes(length);
    state.head += slot_bytes(length);
    if (state.head >= buffer_bytes_) state.head -= buffer_bytes_;
    // An emptied ring starts over: the beginning of its memory is still in the caches.
    if (state.used == 0) state.head = 0;
    ++state.got;
    return true;
}

outcome byte_ring::get(detail::byte_sink sink, std::size_t count_max, deadline until,
                       std::size_t& count) {
    count = 0;
    ring_waiter wait(layout_, until);
    for (;;) {
        wait.remember();
        operation_lock lock(layout_.lock, until, what_);
        if (!lock) return outcome::timed_out;
        BULKHEAD_KILL_POINT("ring.locked");
        ring_state state = valid_state();
        if (state.used != 0) {
            while (count != count_max && state.used != 0 && take(state, sink)) ++count;
            if ((state.used == 0) != (state.put == state.got)) {
                fail_damaged("it holds more or fewer messages than it counts");
            }
            commit(state);
            pending_wake writer;
            pending_wake next_reader;
            if (state.used == 0 || buffer_bytes_ - state.used >= layout_.space_wanted) {
                writer.decide(layout_.space);
            }
            if (state.used != 0) next_reader.decide(layout_.data);
            BULKHEAD_KILL_POINT("ring.decided");
            lock.release();
            BULKHEAD_KILL_POINT("ring.unlocked");
            writer.give();
            next_reader.give();
            BULKHEAD_KILL_POINT("ring.woken");
            return outcome::done;
        }
        if (state.closed != 0) return outcome::closed;
        if (!wait.pause(lock, layout_.data)) return outcome::timed_out;
    }
}

void byte_ring::close() {
    operation_lock lock(layout_.lock, detail::wait_for_ever, what_);
    ring_state state = valid_state();
    if (state.closed != 0) return;
    state.closed = 1;
    commit(state);
    pending_wake readers;
    pending_wake writers;
    readers.decide(layout_.data, INT_MAX);
    writers.decide(layout_.space, INT_MAX);
    lock.release();
    readers.give();
    writers.give();
}

void byte_ring::task_done() {
    operation_lock lock(layout_.lock, detail::wait_for_ever, what_);
    ring_state state = valid_state();
    if (state.unfinished == 0) {
        throw usage_error(std::string("bulkhead: task_done() was called more often on ") + what_ +
                          " than messages were put");
    }
    --state.unfinished;
    commit(state);
    pending_wake joiners;
    if (state.unfinished == 0) joiners.decide(layout_.tasks, INT_MAX);
    lock.release();
    joiners.give();
}

outcome byte_ring::join_tasks(deadline until) {
    ring_waiter wait(layout_, until);
    for (;;) {
        wait.remember();
        operation_lock lock(layout_.lock, until, what_);
        if (!lock) return outcome::timed_out;
        if (valid_state().unfinished == 0) return outcome::done;
        if (!wait.pause(lock, layout_.tasks)) return outcome::timed_out;
    }
}

ring_counts byte_ring::counts() {
    const operation_lock lock(layout_.lock, detail::wait_for_ever, what_);
    const ring_state state = valid_state();
    return {state.put - state.got, state.unfinished, state.closed != 0};
}

constinit const accountant queue_accountant{
    sizeof(ring_layout), [](const std::byte* body, object_account& to) {
        const auto& layout = *reinterpret_cast<const ring_layout*>(body);
        const ring_state& state = layout.states[layout.commit.load(std::memory_order_relaxed) & 1];
        to.add("messages", state.put - state.got);
        to.add("bytes_used", state.used);
        to.add("capacity_bytes", layout.geometry.capacity_bytes);
        to.add("closed", state.closed);
        to.add_lock(layout.lock);
    }};

}  // namespace bulkhead::ring
