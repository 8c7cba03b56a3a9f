// A queue: a ring in a shared object, and its errors.
#include "ring/queue_line.hpp"
#include "ring/ring.hpp"
#include "ring/shared_object.hpp"

#include <bulkhead/detail/queue_core.hpp>
#include <bulkhead/error.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

namespace bulkhead::detail {
namespace {

using ring::byte_ring;
using ring::object_kind;
using ring::shared_object;

constexpr std::size_t capacity_bytes_anonymous = std::size_t{16} << 20;
constexpr std::size_t capacity_bytes_named = std::size_t{1} << 20;

std::size_t checked_capacity(std::optional<std::size_t> wanted, std::size_t otherwise) {
    const std::size_t bytes = wanted.value_or(otherwise);
    if (bytes == 0) {
        throw usage_error("bulkhead: queue_options::capacity_bytes is 0; a queue needs at least 1");
    }
    if (bytes > byte_ring::capacity_bytes_max) {
        throw usage_error("bulkhead: queue_options::capacity_bytes is " + std::to_string(bytes) +
                          "; at most " + std::to_string(byte_ring::capacity_bytes_max) +
                          " are possible (was it negative?)");
    }
    return bytes;
}

shared_object::initializer make_ring(std::size_t capacity_bytes) {
    return [capacity_bytes](std::byte* body, std::size_t) {
        byte_ring::construct(body, capacity_bytes);
    };
}

queue_core::received to_received(ring::outcome how) {
    switch (how) {
        case ring::outcome::done:
            return queue_core::received::message;
        case ring::outcome::timed_out:
            return queue_core::received::nothing_yet;
        case ring::outcome::closed:
            break;
    }
    return queue_core::received::nothing_ever_more;
}

ring::object_type queue_of(type_tag type) { return {object_kind::queue, type}; }

}  // namespace

class queue_core::state {
public:
    explicit state(std::shared_ptr<shared_object> from)
        : object(std::move(from)),
          messages(object->body(), object->body_bytes(), object->description().c_str()) {}

    std::shared_ptr<shared_object> object;
    byte_ring messages;
    std::shared_ptr<queue_line> getters = std::make_shared<queue_line>(queue_line::side::getters);
    std::shared_ptr<queue_line> putters = std::make_shared<queue_line>(queue_line::side::putters);
};

class queue_hold::held {
public:
    explicit held(std::shared_ptr<queue_core::state> from) : of(std::move(from)) {}

    std::shared_ptr<queue_core::state> of;  // outlives the hold
    ring::ring_hold hold;
    held* next_kept = nullptr;
};

namespace {

/// What robust lists still lead into, for good.
std::atomic<queue_hold::held*> kept{nullptr};

}  // namespace

queue_hold::queue_hold() = default;
queue_hold::~queue_hold() { let_go(); }
queue_hold::queue_hold(queue_hold&&) noexcept = default;

std::span<std::byte> queue_hold::bytes() const noexcept {
    return held_ ? held_->hold.bytes() : std::span<std::byte>();
}

void queue_hold::put(std::size_t bytes) {
    held_->of->messages.put(held_->hold, bytes);
    let_go();
}

void queue_hold::take() {
    held_->of->messages.take(held_->hold);
    let_go();
}

void queue_hold::let_go() noexcept {
    if (held_ && !held_->of->messages.let_go(held_->hold)) {
        held* const one = held_.release();
        one->next_kept = kept.load();
        while (!kept.compare_exchange_weak(one->next_kept, one)) {
        }
    }
    held_.reset();
}

queue_core queue_core::make(std::optional<std::size_t> capacity_bytes, type_tag type) {
    const std::size_t bytes = checked_capacity(capacity_bytes, capacity_bytes_anonymous);
    return queue_core(std::make_shared<state>(shared_object::create_anonymous(
        queue_of(type), byte_ring::body_bytes(bytes), make_ring(bytes))));
}

queue_core queue_core::create(const std::string& name, std::optional<std::size_t> capacity_bytes,
                              type_tag type) {
    const std::size_t bytes = checked_capacity(capacity_bytes, capacity_bytes_named);
    return queue_core(std::make_shared<state>(shared_object::create(
        name, queue_of(type), byte_ring::body_bytes(bytes), make_ring(bytes))));
}

queue_core queue_core::open(const std::string& name, type_tag type) {
    return queue_core(std::make_shared<state>(shared_object::open(name, queue_of(type))));
}

std::optional<queue_core> queue_core::open_if_there(const std::string& name, type_tag type) {
    auto object = shared_object::open_if_there(name, queue_of(type));
    if (object == nullptr) return std::nullopt;
    return queue_core(std::make_shared<state>(std::move(object)));
}

queue_core queue_core::open_or_create(const std::string& name,
                                      std::optional<std::size_t> capacity_bytes, type_tag type,
                                      bool smaller_will_do) {
    const std::size_t bytes = checked_capacity(capacity_bytes, capacity_bytes_named);
    bool created = false;
    queue_core opened(std::make_shared<state>(shared_object::open_or_create(
        name, queue_of(type), byte_ring::body_bytes(bytes), make_ring(bytes), created)));
    if (!smaller_will_do && capacity_bytes && opened.capacity_bytes() < *capacity_bytes) {
        throw error("bulkhead: " + opened.state_->object->description() +
                    " exists already, with a capacity of " +
                    std::to_string(opened.capacity_bytes()) + " bytes where " +
                    std::to_string(*capacity_bytes) +
                    " are asked for; open it, or remove it first");
    }
    return opened;
}

bool queue_core::remove(const std::string& name) {
    return shared_object::remove(name, object_kind::queue);
}

void queue_core::encode(encoder& out) const { shared_object::encode(out, state_->object); }

queue_core queue_core::decode(decoder& in, type_tag type) {
    auto object = shared_object::decode(in, queue_of(type));
    try {
        return queue_core(std::make_shared<state>(std::move(object)));
    } catch (const error& damaged) {
        throw codec_error(damaged.what());
    }
}

bool queue_core::put(std::span<const std::byte> message, deadline until) const {
    return put_several({&message, 1}, until) != 0;
}

std::size_t queue_core::put_several(std::span<const std::span<const std::byte>> messages,
                                    deadline until, const std::atomic<bool>* interrupted) const {
    std::size_t count = 0;
    const auto how = state_->messages.put(messages, until, count, interrupted);
    if (how == ring::outcome::closed) throw_closed();
    return count;
}

bool queue_core::lend(std::size_t bytes, deadline until, queue_hold& to) const {
    auto held = std::make_unique<queue_hold::held>(state_);
    const auto how = state_->messages.lend(bytes, until, held->hold);
    if (how == ring::outcome::closed) throw_closed();
    if (how == ring::outcome::done) to.held_ = std::move(held);
    return to.holds();
}

queue_core::received queue_core::borrow(deadline until, queue_hold& to) const {
    auto held = std::make_unique<queue_hold::held>(state_);
    const auto how = to_received(state_->messages.borrow(until, held->hold));
    if (how == received::message) to.held_ = std::move(held);
    return how;
}

void queue_core::throw_closed() const {
    throw queue_closed("bulkhead: put on " + state_->object->description() +
                       ", which has been closed");
}

queue_core::received queue_core::get(byte_sink sink, deadline until) const {
    std::size_t count = 0;
    return get_several(sink, 1, until, count);
}

queue_core::received queue_core::get_several(byte_sink sink, std::size_t count_max, deadline until,
                                             std::size_t& count,
                                             const std::atomic<bool>* interrupted) const {
    return to_received(state_->messages.get(sink, count_max, until, count, interrupted));
}

void queue_core::wake_getters() const noexcept { state_->messages.wake_readers(); }
void queue_core::wake_putters() const noexcept { state_->messages.wake_writers(); }

void queue_core::get_later(std::shared_ptr<queue_operation> operation) const {
    state_->getters->add(*this, std::move(operation));
}

void queue_core::put_later(std::shared_ptr<queue_operation> operation) const {
    state_->putters->add(*this, std::move(operation));
}

const std::shared_ptr<queue_line>& queue_core::getters() const { return state_->getters; }
const std::shared_ptr<queue_line>& queue_core::putters() const { return state_->putters; }

void queue_core::throw_drained() const {
    throw queue_closed("bulkhead: get on " + state_->object->description() +
                       ", which has been closed and holds no more messages");
}

void queue_core::close() const { state_->messages.close(); }
bool queue_core::reopen() const { return state_->messages.reopen(); }

bool queue_core::closed() const { return state_->messages.closed(); }
std::size_t queue_core::size() const { return state_->messages.size(); }
std::size_t queue_core::capacity_bytes() const { return state_->messages.capacity_bytes(); }
void queue_core::task_done() const { state_->messages.task_done(); }

bool queue_core::join_tasks(deadline until) const {
    return state_->messages.join_tasks(until) == ring::outcome::done;
}

queue_marks queue_core::marks() const {
    ring::ring_marks& marks = state_->messages.marks();
    return {marks.writers_started, marks.writers_ended, marks.keep};
}

int queue_core::native_handle() const { return state_->object->fd(); }

void queue_core::remove_own_name() const {
    if (is_reachable()) remove(state_->object->name());
}

bool queue_core::is_reachable() const { return state_->object->is_reachable_by_name(); }

void message_encoder::keep_alive(std::shared_ptr<const void>) {
    throw codec_error(
        std::string("bulkhead: a handle of an anonymous queue, mutex or other object ") + refusal_);
}

void message_encoder::grow(std::size_t bytes) {
    const std::size_t used = size();
    const std::size_t room = std::max(used + bytes, 2 * used);
    auto larger = std::make_unique_for_overwrite<std::byte[]>(room);
    std::memcpy(larger.get(), begin_, used);
    heap_ = std::move(larger);
    begin_ = heap_.get();
    pos_ = begin_ + used;
    end_ = begin_ + room;
}

void outgoing_batch::put(const queue_core& to, std::size_t& done) const {
    std::array<std::span<const std::byte>, count_max> messages;
    std::size_t begin = 0;
    for (std::size_t i = 0; i != ends_.size(); ++i) {
        messages[i] = out_.bytes().subspan(begin, ends_[i] - begin);
        begin = ends_[i];
    }
    for (std::size_t first = 0; first != ends_.size();) {
        const std::size_t count =
            to.put_several(std::span(messages).subspan(first, ends_.size() - first), wait_for_ever);
        first += count;
        done += count;
    }
}

std::byte* incoming_batch::room(std::size_t bytes) {
    static std::byte nowhere{};
    const std::size_t begin = bytes_.size();
    if (begin >= outgoing_batch::bytes_max) return nullptr;
    bytes_.resize(begin + bytes);
    ends_.push_back(begin + bytes);
    return bytes == 0 ? &nowhere : bytes_.data() + begin;
}

std::byte* message_buffer::room(std::size_t bytes) {
    if (bytes > sizeof inline_) {
        heap_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
        data_ = heap_.get();
    }
    bytes_ = bytes;
    return data_;
}

}  // namespace bulkhead::detail
