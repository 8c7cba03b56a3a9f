// The thread of a queue's waiting operations.
#include "ring/queue_line.hpp"

#include "os/own_thread.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <iterator>
#include <thread>
#include <utility>

namespace bulkhead::detail {
namespace {

/// How long the thread stays when no operation waits.
constexpr auto linger_time = std::chrono::milliseconds(200);
/// One attempt: bounds how long a lock that another holds keeps a withdrawn operation.
constexpr auto attempt_time = std::chrono::milliseconds(50);

std::exception_ptr cancelled() {
    return std::make_exception_ptr(task_cancelled(
        "bulkhead: the wait for a queue was cancelled; no message was taken or put"));
}

}  // namespace

queue_line::queue_line(side of) : side_(of), shift_(new shift) {}

queue_line::~queue_line() {
    shift* const last = shift_.load();
    if (!last->made.in_a_fork()) delete last;
}

queue_line::shift& queue_line::own_shift() {
    // Acquire: partner is the exchange by another thread of this fork.
    shift* known = shift_.load(std::memory_order_acquire);
    if (!known->made.in_a_fork()) return *known;
    auto fresh = std::make_unique<shift>();
    if (!shift_.compare_exchange_strong(known, fresh.get())) return *known;
    return *fresh.release();
}

void queue_line::add(const queue_core& queue, std::shared_ptr<queue_operation> operation) {
    shift& own = own_shift();
    lock held(own.mutex);
    entry& one = own.waiting.emplace_back();
    one.queue = queue;
    one.operation = std::move(operation);
    start_thread(own, held);
}

void queue_line::start_thread(shift& own, lock& held) {
    if (own.has_thread) {
        own.more.notify_one();
        return;
    }
    try {
        os::start_thread([self = shared_from_this(), &own] { self->serve(own); }).detach();
        own.has_thread = true;
    } catch (...) {
        std::list<entry> refused;
        refused.splice(refused.end(), own.waiting, std::prev(own.waiting.end()));
        held.unlock();
        refused.front().queue.reset();
        refused.front().operation->ended(std::current_exception());
    }
}

void queue_line::serve(shift& own) {
    os::block_signals();
    os::name_thread("bulkhead-queue");
    lock held(own.mutex);
    while (true) {
        if (!own.more.wait_for(held, linger_time, [&] { return !own.waiting.empty(); })) {
            own.has_thread = false;
            return;
        }
        own.at_work.splice(own.at_work.end(), own.waiting, own.waiting.begin());
        held.unlock();
        entry& one = own.at_work.front();
        std::exception_ptr error;
        try {
            perform(one);
        } catch (...) {
            error = std::current_exception();
        }
        held.lock();
        one.queue.reset();
        auto operation = std::move(one.operation);
        own.at_work.clear();
        own.let_go.notify_all();
        held.unlock();
        operation->ended(std::move(error));
        operation.reset();
        held.lock();
    }
}

void queue_line::perform(entry& one) const {
    if (side_ == side::getters) {
        get(one);
    } else {
        put(one);
    }
}

void queue_line::get(entry& one) const {
    struct taking {
        entry& of;
        bool taken = false;
    } now{one};
    const byte_sink sink{&now, [](void* context, std::size_t bytes) -> std::byte* {
                             auto& self = *static_cast<taking*>(context);
                             if (self.of.withdrawn.load()) return nullptr;  // it stays
                             std::byte* const room = self.of.operation->room(bytes);
                             self.taken = true;
                             return room;
                         }};
    std::size_t count = 0;
    while (!now.taken) {
        if (one.withdrawn.load()) std::rethrow_exception(cancelled());
        const auto until = std::chrono::steady_clock::now() + attempt_time;
        const auto how = one.queue->get_several(sink, 1, until, count, &one.withdrawn);
        if (how == queue_core::received::nothing_ever_more) one.queue->throw_drained();
    }
}

void queue_line::put(entry& one) const {
    const std::span<const std::byte> message = one.operation->message();
    while (true) {
        if (one.withdrawn.load()) std::rethrow_exception(cancelled());
        const auto until = std::chrono::steady_clock::now() + attempt_time;
        if (one.queue->put_several({&message, 1}, until, &one.withdrawn) != 0) return;
    }
}

void queue_line::withdraw(const queue_operation& operation, bool and_wait) {
    const auto is_it = [&](const entry& one) { return one.operation.get() == &operation; };
    shift& own = *shift_.load(std::memory_order_acquire);
    if (own.made.in_a_fork()) return;  // one of the parent's, which ends it
    lock held(own.mutex);
    if (const auto at = std::find_if(own.waiting.begin(), own.waiting.end(), is_it);
        at != own.waiting.end()) {
        std::list<entry> gone;
        gone.splice(gone.end(), own.waiting, at);
        held.unlock();
        gone.front().queue.reset();
        gone.front().operation->ended(cancelled());
    } else if (!own.at_work.empty() && is_it(own.at_work.front())) {
        own.at_work.front().withdrawn.store(true);  // before the wake-up, see ring_waiter
        wake(*own.at_work.front().queue);
        if (and_wait) {
            own.let_go.wait(held,
                            [&] { return own.at_work.empty() || !is_it(own.at_work.front()); });
        }
    }
}

void queue_line::wake(const queue_core& queue) const noexcept {
    if (side_ == side::getters) {
        queue.wake_getters();
    } else {
        queue.wake_putters();
    }
}

void withdraw(queue_line& from, const queue_operation& operation) {
    from.withdraw(operation, false);
}

void withdraw_and_wait(queue_line& from, const queue_operation& operation) {
    from.withdraw(operation, true);
}

}  // namespace bulkhead::detail
