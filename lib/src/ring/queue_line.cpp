// The thread of a queue's waiting operations.
#include "ring/queue_line.hpp"

#include "os/fork_count.hpp"
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

void queue_line::add(const queue_core& queue, std::shared_ptr<queue_operation> operation) {
    lock held(mutex_);
    entry& one = waiting_.emplace_back();
    one.queue = queue;
    one.operation = std::move(operation);
    start_thread(held);
}

void queue_line::start_thread(lock& held) {
    if (has_thread_ && forks_ == os::fork_count()) {
        more_.notify_one();
        return;
    }
    if (has_thread_) {  // in the parent of this fork, as are the operations it serves
        at_work_.clear();
        waiting_.erase(waiting_.begin(), std::prev(waiting_.end()));
        has_thread_ = false;
    }
    try {
        os::start_thread([self = shared_from_this()] { self->serve(); }).detach();
        has_thread_ = true;
        forks_ = os::fork_count();
    } catch (...) {
        std::list<entry> refused;
        refused.splice(refused.end(), waiting_, std::prev(waiting_.end()));
        held.unlock();
        refused.front().queue.reset();
        refused.front().operation->ended(std::current_exception());
    }
}

void queue_line::serve() {
    os::block_signals();
    os::name_thread("bulkhead-queue");
    lock held(mutex_);
    while (true) {
        if (!more_.wait_for(held, linger_time, [&] { return !waiting_.empty(); })) {
            has_thread_ = false;
            return;
        }
        at_work_.splice(at_work_.end(), waiting_, waiting_.begin());
        held.unlock();
        entry& one = at_work_.front();
        std::exception_ptr error;
        try {
            perform(one);
        } catch (...) {
            error = std::current_exception();
        }
        held.lock();
        one.queue.reset();
        auto operation = std::move(one.operation);
        at_work_.clear();
        let_go_.notify_all();
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
    lock held(mutex_);
    if (const auto at = std::find_if(waiting_.begin(), waiting_.end(), is_it);
        at != waiting_.end()) {
        std::list<entry> gone;
        gone.splice(gone.end(), waiting_, at);
        held.unlock();
        gone.front().queue.reset();
        gone.front().operation->ended(cancelled());
    } else if (!at_work_.empty() && is_it(at_work_.front())) {
        at_work_.front().withdrawn.store(true);  // before the wake-up, see ring_waiter
        wake(*at_work_.front().queue);
        if (and_wait) {
            let_go_.wait(held, [&] { return at_work_.empty() || !is_it(at_work_.front()); });
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
