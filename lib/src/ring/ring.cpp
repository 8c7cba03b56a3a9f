// Putting and taking, each under its robust lock, and the waiting around it.
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

/// A reader that empties the buffer so far from its beginning has the writers go on there: the memory is in
/// use already.
constexpr std::uint64_t restart_from = std::uint64_t{1} << 20;

constexpr std::uint64_t padded(std::uint64_t bytes) { return (bytes + 7) / 8 * 8; }
constexpr std::uint64_t slot_bytes(std::uint64_t bytes) { return length_bytes + padded(bytes); }

}  // namespace

std::size_t byte_ring::body_bytes(std::size_t capacity_bytes) noexcept {
    return sizeof(ring_layout) + slot_bytes(capacity_bytes);
}

void byte_ring::construct(std::byte* body, std::size_t capacity_bytes) {
    auto* layout = new (body) ring_layout{};
    robust_mutex::construct(&layout->writers_lock);
    robust_mutex::construct(&layout->readers_lock);
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

std::uint64_t byte_ring::used_bytes(ring_position head, ring_position tail) const {
    if (head.offset() < buffer_bytes_ && tail.offset() < buffer_bytes_) {
        if (head.round() == tail.round() && head.offset() <= tail.offset()) {
            return tail.offset() - head.offset();
        }
        if (head.next_begin().round() == tail.round() && tail.offset() <= head.offset()) {
            return buffer_bytes_ - head.offset() + tail.offset();
        }
    }
    fail_damaged("its positions lie outside of it");
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

// ---- the writers' side

ring_position byte_ring::own_tail() const {
    // Acquire: partner is the release in commit(), of a dead owner whom no unlock follows.
    return ring_position(layout_.writers.tail.load(std::memory_order_acquire));
}

std::uint64_t byte_ring::room_for(std::uint64_t needed, ring_position tail) {
    auto& seen = layout_.writers.head_seen;
    std::uint64_t room =
        buffer_bytes_ - used_bytes(ring_position(seen.load(std::memory_order_acquire)), tail);
    if (room >= needed) return room;
    // Acquire: what lies before the head has been read. Partner: the release in commit().
    const std::uint64_t head = layout_.readers.head.load(std::memory_order_acquire);
    room = buffer_bytes_ - used_bytes(ring_position(head), tail);
    seen.store(head, std::memory_order_release);
    return room;
}

void byte_ring::append(ring_position& tail, message bytes) noexcept {
    const std::uint64_t length = bytes.size();
    copy_in(tail.offset(), reinterpret_cast<const std::byte*>(&length), length_bytes);
    copy_in(tail.offset() + length_bytes, bytes.data(), bytes.size());
    tail = tail.after(slot_bytes(length), buffer_bytes_);
}

void byte_ring::commit(ring_position tail, std::uint64_t put) noexcept {
    const ring_position next = tail.with_other_tally();
    BULKHEAD_KILL_POINT("ring.copied");
    layout_.writers.put[next.tally()] = put;
    BULKHEAD_KILL_POINT("ring.state_written");
    // Release: the tally and the messages' bytes are there before they count. Partners: own_tail() of
    // whoever has the lock next, and tail_beyond().
    layout_.writers.tail.store(next.word(), std::memory_order_release);
    BULKHEAD_KILL_POINT("ring.committed");
    std::atomic_thread_fence(std::memory_order_seq_cst);  // see wait_channel
}

bool byte_ring::pass_skip() {
    const auto at_skip = [&] {
        const ring_position head = own_head();
        return used_bytes(head, own_tail()) != 0 && skips(head);
    };
    if (!at_skip()) return false;
    const robust_guard readers(layout_.readers_lock, detail::wait_not_at_all, what_);
    if (!readers || !at_skip()) return false;
    skip(own_head());
    return true;
}

void byte_ring::want_space(std::uint64_t needed) noexcept {
    auto& wanted = layout_.writers.space_wanted;
    const std::uint64_t mine = std::max(needed, buffer_bytes_ / wake_writers_at_part);
    const bool others_wait = layout_.space.pending();
    wanted.store(others_wait ? std::min(wanted.load(std::memory_order_relaxed), mine) : mine,
                 std::memory_order_relaxed);
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
    ring_waiter wait(layout_.readers.head, writers_habit_, until);
    for (;;) {
        operation_lock lock(layout_.writers_lock, until, what_);
        if (!lock) return outcome::timed_out;
        BULKHEAD_KILL_POINT("ring.locked");
        ring_position tail = own_tail();
        if (closed()) return outcome::closed;
        std::uint64_t room = room_for(needed, tail);
        if (room >= needed) {
            const std::uint64_t put = layout_.writers.put[tail.tally()];
            while (count != messages.size() && messages[count].size() <= capacity_bytes_ &&
                   room >= slot_bytes(messages[count].size())) {
                room -= slot_bytes(messages[count].size());
                append(tail, messages[count++]);
            }
            commit(tail, put + count);
            pending_wake reader;
            pending_wake next_writer;
            reader.decide(layout_.data);
            if (room >= layout_.writers.space_wanted.load(std::memory_order_relaxed)) {
                next_writer.decide(layout_.space);
            }
            BULKHEAD_KILL_POINT("ring.decided");
            lock.release();
            BULKHEAD_KILL_POINT("ring.unlocked");
            reader.give();
            next_writer.give();
            BULKHEAD_KILL_POINT("ring.woken");
            return outcome::done;
        }
        if (wait.sleeps_next()) {
            if (pass_skip()) continue;
            want_space(needed);
        }
        const auto fits = [&] { return room_for(needed, tail) >= needed; };
        if (!wait.pause(lock, layout_.space, fits)) return outcome::timed_out;
    }
}

void byte_ring::close() {
    operation_lock lock(layout_.writers_lock, detail::wait_for_ever, what_);
    if (closed()) return;
    (void)room_for(0, own_tail());  // refuses damaged memory
    // Release: partner is the acquire in closed(): who sees this sees the last message's tail too.
    layout_.writers.closed.store(1, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // see wait_channel
    pending_wake readers;
    pending_wake writers;
    readers.decide(layout_.data, INT_MAX);
    writers.decide(layout_.space, INT_MAX);
    lock.release();
    readers.give();
    writers.give();
}

bool byte_ring::closed() const {
    const std::uint32_t closed = layout_.writers.closed.load(std::memory_order_acquire);
    if (closed > 1) fail_damaged("it is neither open nor closed");
    return closed != 0;
}

std::uint64_t byte_ring::put_count() {
    const operation_lock lock(layout_.writers_lock, detail::wait_for_ever, what_);
    const ring_position tail = own_tail();
    (void)room_for(0, tail);  // refuses damaged memory
    return layout_.writers.put[tail.tally()];
}

// ---- the readers' side

ring_position byte_ring::own_head() const {
    // Acquire: as in own_tail().
    return ring_position(layout_.readers.head.load(std::memory_order_acquire));
}

ring_position byte_ring::tail_beyond(ring_position head, bool newest) {
    auto& seen = layout_.readers.tail_seen;
    const ring_position before(seen.load(std::memory_order_acquire));
    if (!newest && !head.is_at(before)) return before;
    // Acquire: the messages before it are there. Partner: the release in commit().
    const std::uint64_t tail = layout_.writers.tail.load(std::memory_order_acquire);
    seen.store(tail, std::memory_order_release);
    return ring_position(tail);
}

bool byte_ring::skips(ring_position head) const noexcept {
    std::uint64_t length = 0;
    copy_out(head.offset(), reinterpret_cast<std::byte*>(&length), length_bytes);
    return length == skip_to_begin;
}

void byte_ring::skip(ring_position head) noexcept {
    // First, as it must not be behind the head.
    const std::uint64_t tail = layout_.writers.tail.load(std::memory_order_acquire);
    layout_.readers.tail_seen.store(tail, std::memory_order_release);
    commit(head.next_begin(), layout_.readers.tallies[head.tally()]);
}

bool byte_ring::take(ring_position& head, std::uint64_t& used, detail::byte_sink sink) {
    std::uint64_t length = 0;
    copy_out(head.offset(), reinterpret_cast<std::byte*>(&length), length_bytes);
    if (length == skip_to_begin) return false;
    if (length > capacity_bytes_ || slot_bytes(length) > used) {
        fail_damaged("a message reaches beyond what is in use");
    }
    std::byte* room = sink.room(sink.context, length);
    if (room == nullptr) return false;
    copy_out(head.offset() + length_bytes, room, length);
    head = head.after(slot_bytes(length), buffer_bytes_);
    used -= slot_bytes(length);
    return true;
}

void byte_ring::commit(ring_position head, const readers_tally& tally) noexcept {
    const ring_position next = head.with_other_tally();
    BULKHEAD_KILL_POINT("ring.copied");
    layout_.readers.tallies[next.tally()] = tally;
    BULKHEAD_KILL_POINT("ring.state_written");
    // Release: what lies before the head has been read. Partners: own_head() of whoever has the lock
    // next, and room_for().
    layout_.readers.head.store(next.word(), std::memory_order_release);
    BULKHEAD_KILL_POINT("ring.committed");
    std::atomic_thread_fence(std::memory_order_seq_cst);  // see wait_channel
}

void byte_ring::restart() {
    const robust_guard writers(layout_.writers_lock, detail::wait_not_at_all, what_);
    if (!writers) return;
    const ring_position head = own_head();
    const ring_position tail = own_tail();
    if (!head.is_at(tail)) return;
    copy_in(tail.offset(), reinterpret_cast<const std::byte*>(&skip_to_begin), length_bytes);
    commit(tail.next_begin(), layout_.writers.put[tail.tally()]);
    skip(head);
    layout_.writers.head_seen.store(own_head().word(), std::memory_order_release);
}

void byte_ring::decide_writers_wake(pending_wake& writer, ring_position head) const {
    if (!layout_.space.pending()) return;
    const ring_position tail(layout_.writers.tail.load(std::memory_order_acquire));
    const std::uint64_t used = used_bytes(head, tail);
    const std::uint64_t wanted = layout_.writers.space_wanted.load(std::memory_order_relaxed);
    if (used == 0 || buffer_bytes_ - used >= wanted) writer.decide(layout_.space);
}

outcome byte_ring::get(detail::byte_sink sink, std::size_t count_max, deadline until,
                       std::size_t& count) {
    count = 0;
    ring_waiter wait(layout_.writers.tail, readers_habit_, until);
    for (;;) {
        operation_lock lock(layout_.readers_lock, until, what_);
        if (!lock) return outcome::timed_out;
        BULKHEAD_KILL_POINT("ring.locked");
        ring_position head = own_head();
        ring_position tail = tail_beyond(head, count_max > 1);
        std::uint64_t used = used_bytes(head, tail);
        readers_tally tally = layout_.readers.tallies[head.tally()];
        if (used != 0 && skips(head)) {
            used = used_bytes(head.next_begin(), tail);
            skip(head);
            head = own_head();
        }
        if (used != 0) {
            while (count != count_max && used != 0 && take(head, used, sink)) ++count;
            tally.got += count;
            commit(head, tally);
            if (used == 0 && head.offset() >= restart_from) restart();
            pending_wake writer;
            pending_wake next_reader;
            decide_writers_wake(writer, own_head());
            if (used != 0) next_reader.decide(layout_.data);
            BULKHEAD_KILL_POINT("ring.decided");
            lock.release();
            BULKHEAD_KILL_POINT("ring.unlocked");
            writer.give();
            next_reader.give();
            BULKHEAD_KILL_POINT("ring.woken");
            return outcome::done;
        }
        const bool last = closed();
        // After the look at `closed`: what was put before the close is seen.
        if (!head.is_at(tail_beyond(head, true))) continue;
        if (last) return outcome::closed;
        const auto came = [&] { return closed() || !head.is_at(tail_beyond(head, true)); };
        if (!wait.pause(lock, layout_.data, came)) return outcome::timed_out;
    }
}

void byte_ring::task_done() {
    operation_lock lock(layout_.readers_lock, detail::wait_for_ever, what_);
    const ring_position head = own_head();
    (void)used_bytes(head, tail_beyond(head, true));  // refuses damaged memory
    readers_tally tally = layout_.readers.tallies[head.tally()];
    // The writers' lock after the readers': a writer never waits for the readers'.
    if (tally.done >= tally.got && tally.done >= put_count()) {
        throw usage_error(std::string("bulkhead: task_done() was called more often on ") + what_ +
                          " than messages were put");
    }
    ++tally.done;
    commit(head, tally);
    pending_wake joiners;
    if (tally.done >= tally.got) joiners.decide(layout_.tasks, INT_MAX);
    lock.release();
    joiners.give();
}

readers_tally byte_ring::taken() {
    const operation_lock lock(layout_.readers_lock, detail::wait_for_ever, what_);
    return layout_.readers.tallies[own_head().tally()];
}

outcome byte_ring::join_tasks(deadline until) {
    spin_habit habit;
    ring_waiter wait(layout_.readers.head, habit, until);
    for (;;) {
        // In this order: as done <= put at any time, all was done when `done` was read.
        const std::uint64_t done = taken().done;
        if (done == put_count()) return outcome::done;
        operation_lock lock(layout_.readers_lock, until, what_);
        if (!lock) return outcome::timed_out;
        const auto more = [&] { return layout_.readers.tallies[own_head().tally()].done != done; };
        if (!wait.pause(lock, layout_.tasks, more)) return outcome::timed_out;
    }
}

std::uint64_t byte_ring::size() {
    constexpr int attempts_max = 3;
    std::uint64_t messages = 0;
    for (int attempt = 0; attempt != attempts_max; ++attempt) {
        const std::uint64_t got = taken().got;
        messages = put_count() - got;
        if (messages > buffer_bytes_ / length_bytes) {
            // Others have put and taken many in between; or it is damage.
            if (taken().got == got) fail_damaged("its counts do not fit its positions");
        } else if (taken().got == got) {
            break;
        }
    }
    return messages;
}

constinit const accountant queue_accountant{
    sizeof(ring_layout), [](const std::byte* body, object_account& to) {
        const auto& layout = *reinterpret_cast<const ring_layout*>(body);
        const auto& writers = layout.writers;
        const auto& readers = layout.readers;
        const ring_position tail(writers.tail.load(std::memory_order_relaxed));
        const ring_position head(readers.head.load(std::memory_order_relaxed));
        const std::uint64_t rounds = tail.round() == head.round() ? 0 : 1;
        to.add("messages", writers.put[tail.tally()] - readers.tallies[head.tally()].got);
        to.add("bytes_used", tail.offset() + rounds * layout.geometry.buffer_bytes - head.offset());
        to.add("capacity_bytes", layout.geometry.capacity_bytes);
        to.add("closed", writers.closed.load(std::memory_order_relaxed));
        to.add_lock(layout.writers_lock);
        to.add_lock(layout.readers_lock);
    }};

}  // namespace bulkhead::ring
