// Putting and taking, each under its robust lock, and the waiting around it.
#include "ring/ring.hpp"

#include "os/kill_point.hpp"
#include "ring/object_account.hpp"
#include "ring/ring_waiter.hpp"

#include <bulkhead/error.hpp>

#include <cstring>
#include <exception>
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

/// The tally that goes with a position, which others may move meanwhile.
std::uint64_t tally_of(const std::atomic<std::uint64_t>& position,
                       const std::atomic<std::uint64_t> (&tallies)[2]) noexcept {
    constexpr int attempts_max = 100;
    std::uint64_t tally = 0;
    for (int attempt = 0; attempt != attempts_max; ++attempt) {
        const std::uint64_t before = position.load(std::memory_order_acquire);
        // Acquire: if it is the next but one already, the position has moved for us too.
        tally = tallies[before & 1].load(std::memory_order_acquire);
        if (position.load(std::memory_order_relaxed) == before) break;
    }
    return tally;
}

/// Moves a side's position and adds to its tally, under the side's lock. No fence: there must be one before
/// pending() is asked, see wait_channel.
ring_position commit(std::atomic<std::uint64_t>& position, std::atomic<std::uint64_t> (&tallies)[2],
                     ring_position from, ring_position to, std::uint64_t count) noexcept {
    const std::uint64_t tally = tallies[from.tally()].load(std::memory_order_relaxed) + count;
    const ring_position next = to.with_tally(1 - from.tally());
    BULKHEAD_KILL_POINT("ring.copied");
    tallies[next.tally()].store(tally, std::memory_order_release);  // partner: tally_of()
    BULKHEAD_KILL_POINT("ring.state_written");
    // Release: all that the position stands for has been done before it counts: the tally, and the
    // messages' bytes written or read. Partners: own_tail() and own_head() of whoever has the lock next,
    // tail_beyond() and room_for() of the other side.
    position.store(next.word(), std::memory_order_release);
    BULKHEAD_KILL_POINT("ring.committed");
    return next;
}

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

std::optional<std::uint64_t> byte_ring::bytes_between(ring_position head,
                                                      ring_position tail) const noexcept {
    if (head.offset() < buffer_bytes_ && tail.offset() < buffer_bytes_) {
        if (head.round() == tail.round() && head.offset() <= tail.offset()) {
            return tail.offset() - head.offset();
        }
        if (head.next_begin().round() == tail.round() && tail.offset() <= head.offset()) {
            return buffer_bytes_ - head.offset() + tail.offset();
        }
    }
    return std::nullopt;
}

std::uint64_t byte_ring::used_bytes(ring_position head, ring_position tail) const {
    const auto bytes = bytes_between(head, tail);
    if (!bytes) fail_damaged("its positions lie outside of it");
    return *bytes;
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

void byte_ring::write_length(ring_position at, std::uint64_t length) noexcept {
    std::memcpy(buffer_ + at.offset(), &length, length_bytes);
}

std::uint64_t byte_ring::length_at(ring_position at) const noexcept {
    std::uint64_t length = 0;
    std::memcpy(&length, buffer_ + at.offset(), length_bytes);
    return length;
}

// ---- the writers' side

ring_position byte_ring::own_tail() const {
    // Acquire: partner is the release in commit_tail(), of a dead owner whom no unlock follows.
    return ring_position(layout_.writers.tail.load(std::memory_order_acquire));
}

std::uint64_t byte_ring::room_for(std::uint64_t needed, ring_position tail) {
    auto& seen = layout_.writers.head_seen;
    std::uint64_t room =
        buffer_bytes_ - used_bytes(ring_position(seen.load(std::memory_order_acquire)), tail);
    if (room >= needed) return room;
    // Acquire: what lies before the head has been read. Partner: the release in commit_head().
    const std::uint64_t head = layout_.readers.head.load(std::memory_order_acquire);
    room = buffer_bytes_ - used_bytes(ring_position(head), tail);
    seen.store(head, std::memory_order_release);
    return room;
}

void byte_ring::append(ring_position& tail, message bytes) noexcept {
    const std::uint64_t length = bytes.size();
    write_length(tail, length);
    copy_in(tail.offset() + length_bytes, bytes.data(), bytes.size());
    tail = tail.after(slot_bytes(length), buffer_bytes_);
}

ring_position byte_ring::commit_tail(ring_position from, ring_position to,
                                     std::uint64_t count) noexcept {
    return commit(layout_.writers.tail, layout_.writers.put, from, to, count);
}

void byte_ring::end_put(operation_lock& lock, std::uint64_t room) noexcept {
    lock.release();
    BULKHEAD_KILL_POINT("ring.unlocked");
    fence_after_unlock();
    pending_wake reader;
    pending_wake next_writer;
    reader.decide(layout_.data);
    if (room >= layout_.writers.space_wanted.load(std::memory_order_relaxed)) {
        next_writer.decide(layout_.space);
    }
    BULKHEAD_KILL_POINT("ring.decided");
    reader.give();
    next_writer.give();
    BULKHEAD_KILL_POINT("ring.woken");
}

bool byte_ring::pass_skip() {
    const auto at_skip = [&](ring_position head) {
        return used_bytes(head, own_tail()) != 0 && length_at(head) == skip_to_begin;
    };
    if (!at_skip(own_head())) return false;
    const robust_guard readers(layout_.readers_lock, detail::wait_not_at_all, what_);
    const ring_position head = own_head();
    if (!readers || !at_skip(head)) return false;
    (void)skip(head);
    return true;
}

void byte_ring::want_space(std::uint64_t needed) noexcept {
    auto& wanted = layout_.writers.space_wanted;
    const std::uint64_t mine = std::max(needed, buffer_bytes_ / wake_writers_at_part);
    const bool others_wait = layout_.space.pending();
    wanted.store(others_wait ? std::min(wanted.load(std::memory_order_relaxed), mine) : mine,
                 std::memory_order_relaxed);
}

ring_waiter byte_ring::waiting_writer(deadline until, const std::atomic<bool>* interrupted) {
    return {layout_.readers.head, writers_habit_, until, interrupted};
}

outcome byte_ring::await_room(std::uint64_t needed, ring_waiter&& wait, deadline until,
                              operation_lock& lock, ring_position& tail, std::uint64_t& room) {
    for (;;) {
        if (!lock && !lock.acquire(layout_.writers_lock, until, what_)) return outcome::timed_out;
        BULKHEAD_KILL_POINT("ring.locked");
        tail = own_tail();
        if (closed()) return outcome::closed;
        room = room_for(needed, tail);
        if (room >= needed) return outcome::done;
        if (!wait.spins_next() && pass_skip()) continue;
        if (wait.sleeps_next()) want_space(needed);
        const auto fits = [&] { return room_for(needed, tail) >= needed; };
        if (!wait.pause(lock, layout_.space, fits)) return outcome::timed_out;
    }
}

void byte_ring::refuse_too_large(std::size_t bytes) const {
    if (bytes <= capacity_bytes_) return;
    throw std::length_error("bulkhead: a message of " + std::to_string(bytes) +
                            " bytes does not fit into " + what_ + ", whose capacity is " +
                            std::to_string(capacity_bytes_) + " bytes");
}

outcome byte_ring::put(std::span<const message> messages, deadline until, std::size_t& count,
                       const std::atomic<bool>* interrupted) {
    count = 0;
    refuse_too_large(messages.front().size());
    operation_lock lock;
    ring_position tail;
    std::uint64_t room = 0;
    const auto how = await_room(slot_bytes(messages.front().size()),
                                waiting_writer(until, interrupted), until, lock, tail, room);
    if (how != outcome::done) return how;
    ring_position end = tail;
    while (count != messages.size() && messages[count].size() <= capacity_bytes_ &&
           room >= slot_bytes(messages[count].size())) {
        room -= slot_bytes(messages[count].size());
        append(end, messages[count++]);
    }
    (void)commit_tail(tail, end, count);
    end_put(lock, room);
    return outcome::done;
}

outcome byte_ring::lend(std::size_t bytes, deadline until, ring_hold& to) {
    refuse_too_large(bytes);
    std::uint64_t room = 0;
    const auto how =
        await_room(slot_bytes(bytes), waiting_writer(until), until, to.lock_, to.at_, room);
    if (how == outcome::done) hold(to, bytes);
    return how;
}

void byte_ring::put(ring_hold& lent, std::size_t bytes) {
    refuse_foreign(layout_.writers_lock);
    const ring_position tail = lent.at_;
    if (!own_tail().is_at(tail)) fail_damaged("its tail has moved during a loan");
    const std::uint64_t room = room_for(slot_bytes(bytes), tail);
    const std::uint64_t length = std::min<std::uint64_t>(bytes, lent.bytes_.size());
    write_length(tail, length);
    if (lent.copy_) copy_in(tail.offset() + length_bytes, lent.copy_.get(), length);
    (void)commit_tail(tail, tail.after(slot_bytes(length), buffer_bytes_), 1);
    end_put(lent.lock_, room - std::min(room, slot_bytes(length)));
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

bool byte_ring::reopen() {
    // Who has the readers' lock for long (a loan) needs no waiting for: nobody waits for that of the writers while
    // holding it, nor the other way round.
    operation_lock readers(layout_.readers_lock, detail::wait_for_ever, what_);
    operation_lock writers(layout_.writers_lock, detail::wait_for_ever, what_);
    if (!closed()) return true;
    if (used_bytes(own_head(), own_tail()) == 0) return false;
    layout_.writers.closed.store(0, std::memory_order_release);
    return true;
}

bool byte_ring::closed() const {
    const std::uint32_t closed = layout_.writers.closed.load(std::memory_order_acquire);
    if (closed > 1) fail_damaged("it is neither open nor closed");
    return closed != 0;
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
    // Acquire: the messages before it are there. Partner: the release in commit_tail().
    const std::uint64_t tail = layout_.writers.tail.load(std::memory_order_acquire);
    seen.store(tail, std::memory_order_release);
    return ring_position(tail);
}

std::uint64_t byte_ring::checked_length_at(ring_position head, std::uint64_t used) const {
    const std::uint64_t length = length_at(head);
    if (length > capacity_bytes_ || slot_bytes(length) > used) {
        fail_damaged("a message reaches beyond what is in use");
    }
    return length;
}

ring_position byte_ring::skip(ring_position head) noexcept {
    // First, as it must not be behind the head.
    const std::uint64_t tail = layout_.writers.tail.load(std::memory_order_acquire);
    layout_.readers.tail_seen.store(tail, std::memory_order_release);
    return commit_head(head, head.next_begin(), 0);
}

bool byte_ring::take(ring_position& head, std::uint64_t& used, detail::byte_sink sink) {
    const std::uint64_t length = checked_length_at(head, used);
    std::byte* room = sink.room(sink.context, length);
    if (room == nullptr) return false;
    copy_out(head.offset() + length_bytes, room, length);
    head = head.after(slot_bytes(length), buffer_bytes_);
    used -= slot_bytes(length);
    return true;
}

ring_position byte_ring::commit_head(ring_position from, ring_position to,
                                     std::uint64_t count) noexcept {
    return commit(layout_.readers.head, layout_.readers.got, from, to, count);
}

ring_position byte_ring::restart(ring_position head) {
    // Not its own loan's, which would be told as a mistake.
    if (!head.is_at(tail_beyond(head, true)) || layout_.writers_lock.is_mine()) return head;
    const robust_guard writers(layout_.writers_lock, detail::wait_not_at_all, what_);
    const ring_position tail = own_tail();
    if (!writers || !head.is_at(tail)) return head;
    // First, as the writers must not see the head more than a round behind the tail.
    layout_.writers.head_seen.store(head.word(), std::memory_order_release);
    write_length(tail, skip_to_begin);
    (void)commit_tail(tail, tail.next_begin(), 0);
    return skip(head);
}

void byte_ring::end_get(operation_lock& lock, ring_position head, std::uint64_t used) noexcept {
    try {
        if (used == 0 && head.offset() >= restart_from) head = restart(head);
    } catch (const std::exception&) {  // what was taken is taken; whoever comes next is told
    }
    lock.release();
    BULKHEAD_KILL_POINT("ring.unlocked");
    fence_after_unlock();
    pending_wake writer;
    pending_wake next_reader;
    if (layout_.space.pending()) {
        // None when others have moved both meanwhile. Too much in use, if they have moved the head: they ask
        // themselves, and know better.
        const std::uint64_t now = bytes_between(head, own_tail()).value_or(0);
        const auto wanted = layout_.writers.space_wanted.load(std::memory_order_relaxed);
        if (now == 0 || buffer_bytes_ - now >= wanted) writer.decide(layout_.space);
    }
    if (used != 0) next_reader.decide(layout_.data);
    BULKHEAD_KILL_POINT("ring.decided");
    writer.give();
    next_reader.give();
    BULKHEAD_KILL_POINT("ring.woken");
}

ring_waiter byte_ring::waiting_reader(deadline until, const std::atomic<bool>* interrupted) {
    return {layout_.writers.tail, readers_habit_, until, interrupted};
}

outcome byte_ring::await_message(bool newest, ring_waiter&& wait, deadline until,
                                 operation_lock& lock, ring_position& head, std::uint64_t& used) {
    for (;;) {
        if (!lock && !lock.acquire(layout_.readers_lock, until, what_)) return outcome::timed_out;
        BULKHEAD_KILL_POINT("ring.locked");
        head = own_head();
        const ring_position tail = tail_beyond(head, newest);
        used = used_bytes(head, tail);
        if (used != 0 && length_at(head) == skip_to_begin) {
            used = used_bytes(head.next_begin(), tail);
            head = skip(head);
            std::atomic_thread_fence(std::memory_order_seq_cst);  // see wait_channel
            pending_wake writer;
            writer.decide(layout_.space);
            writer.give();
        }
        if (used != 0) return outcome::done;
        const bool last = closed();
        // After the look at `closed`: what was put before the close is seen.
        if (!head.is_at(tail_beyond(head, true))) continue;
        if (last) return outcome::closed;
        const auto came = [&] { return closed() || !head.is_at(tail_beyond(head, true)); };
        if (!wait.pause(lock, layout_.data, came)) return outcome::timed_out;
    }
}

outcome byte_ring::get(detail::byte_sink sink, std::size_t count_max, deadline until,
                       std::size_t& count, const std::atomic<bool>* interrupted) {
    count = 0;
    operation_lock lock;
    ring_position head;
    std::uint64_t used = 0;
    const auto how =
        await_message(count_max > 1, waiting_reader(until, interrupted), until, lock, head, used);
    if (how != outcome::done) return how;
    ring_position next = head;
    while (count != count_max && used != 0 && take(next, used, sink)) ++count;
    end_get(lock, commit_head(head, next, count), used);
    return outcome::done;
}

outcome byte_ring::borrow(deadline until, ring_hold& to) {
    std::uint64_t used = 0;
    const auto how = await_message(false, waiting_reader(until), until, to.lock_, to.at_, used);
    if (how != outcome::done) return how;
    const std::uint64_t length = checked_length_at(to.at_, used);
    hold(to, length);
    if (to.copy_) copy_out(to.at_.offset() + length_bytes, to.copy_.get(), length);
    return outcome::done;
}

void byte_ring::take(ring_hold& borrowed) {
    refuse_foreign(layout_.readers_lock);
    const ring_position head = borrowed.at_;
    if (!own_head().is_at(head)) fail_damaged("its head has moved under a borrowed message");
    const ring_position next = head.after(slot_bytes(borrowed.bytes_.size()), buffer_bytes_);
    const std::uint64_t used = used_bytes(next, tail_beyond(next, false));
    end_get(borrowed.lock_, commit_head(head, next, 1), used);
}

void byte_ring::refuse_foreign(const robust_mutex& lock) const {
    if (lock.is_mine()) return;
    throw usage_error(std::string("bulkhead: a message of ") + what_ +
                      " that one thread has in its hands is ended by another");
}

void byte_ring::hold(ring_hold& to, std::size_t bytes) {
    std::uint64_t begin = to.at_.offset() + length_bytes;
    if (begin >= buffer_bytes_) begin -= buffer_bytes_;
    std::byte* data = buffer_ + begin;
    if (bytes > buffer_bytes_ - begin) {
        to.copy_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
        data = to.copy_.get();
    }
    to.bytes_ = {data, bytes};
}

bool byte_ring::let_go(ring_hold& held) noexcept {
    const bool unused = static_cast<bool>(held.lock_);
    if (!held.lock_.release()) return false;
    if (unused) {
        // Whoever was woken for what this one had may have found it locked, or have been this one.
        fence_after_unlock();
        for (auto* channel : {&layout_.data, &layout_.space}) {
            pending_wake next;
            next.decide(*channel);
            next.give();
        }
    }
    return true;
}

// ---- without a lock

std::uint64_t byte_ring::put_count() const noexcept {
    return tally_of(layout_.writers.tail, layout_.writers.put);
}

std::uint64_t byte_ring::got_count() const noexcept {
    return tally_of(layout_.readers.head, layout_.readers.got);
}

void byte_ring::wake_writers() noexcept { layout_.space.wake(layout_.space.registered(), INT_MAX); }

void byte_ring::wake_readers() noexcept { layout_.data.wake(layout_.data.registered(), INT_MAX); }

void byte_ring::task_done() {
    auto& done = layout_.readers.done;
    // Acquire, here and below: what was put is read after what was done, as in join_tasks().
    std::uint64_t before = done.load(std::memory_order_acquire);
    do {
        const std::uint64_t put = put_count();
        if (before > put) fail_damaged("more is done than was put");
        if (before == put) {
            throw usage_error(std::string("bulkhead: task_done() was called more often on ") +
                              what_ + " than messages were put");
        }
        // Release: who joins sees what the task did.
    } while (!done.compare_exchange_weak(before, before + 1, std::memory_order_acq_rel,
                                         std::memory_order_acquire));
    std::atomic_thread_fence(std::memory_order_seq_cst);  // see wait_channel
    if (before + 1 != put_count()) return;
    pending_wake joiners;
    joiners.decide(layout_.tasks, INT_MAX);
    joiners.give();
}

outcome byte_ring::join_tasks(deadline until) {
    spin_habit none;
    operation_lock no_lock;
    ring_waiter wait(layout_.readers.done, none, until);
    for (;;) {
        // In this order: as done <= put at any time, all was done when `done` was read.
        const std::uint64_t done = layout_.readers.done.load(std::memory_order_acquire);
        const std::uint64_t put = put_count();
        if (done == put) return outcome::done;
        if (done > put) fail_damaged("more is done than was put");
        const auto more = [&] {
            return layout_.readers.done.load(std::memory_order_acquire) != done;
        };
        if (!wait.pause(no_lock, layout_.tasks, more)) return outcome::timed_out;
    }
}

std::uint64_t byte_ring::size() const {
    constexpr int attempts_max = 100;
    const std::uint64_t most = buffer_bytes_ / length_bytes;
    std::uint64_t messages = 0;
    for (int attempt = 0; attempt != attempts_max; ++attempt) {
        const std::uint64_t got = got_count();
        messages = put_count() - got;
        if (got_count() != got) continue;  // more may have been put and taken in between
        if (messages > most) fail_damaged("its counts do not fit its positions");
        return messages;
    }
    return std::min(messages, most);
}

constinit const accountant queue_accountant{
    sizeof(ring_layout), [](const std::byte* body, object_account& to) {
        const auto& layout = *reinterpret_cast<const ring_layout*>(body);
        const auto& writers = layout.writers;
        const auto& readers = layout.readers;
        const ring_position tail(writers.tail.load(std::memory_order_relaxed));
        const ring_position head(readers.head.load(std::memory_order_relaxed));
        const std::uint64_t rounds = tail.round() == head.round() ? 0 : 1;
        to.add("messages", writers.put[tail.tally()] - readers.got[head.tally()]);
        to.add("bytes_used", tail.offset() + rounds * layout.geometry.buffer_bytes - head.offset());
        to.add("capacity_bytes", layout.geometry.capacity_bytes);
        to.add("closed", writers.closed.load(std::memory_order_relaxed));
        to.add_lock(layout.writers_lock, "writer");
        to.add_lock(layout.readers_lock, "reader");
    }};

}  // namespace bulkhead::ring
