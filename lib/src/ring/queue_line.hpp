// Gets or puts of one queue that wait in this process, in the order in which they came, and the
// thread that performs them one by one. It comes with the first operation and ends when it has had
// nothing to do for a while: who awaits one message after the other pays for one thread. What an
// end means is left to the operations.
//
// An operation:  waiting -> at work -> ended      by the thread
//                waiting -> ended                 by who withdraws it
// One that is withdrawn while it is at work ends by the thread, which looks at the mark before it
// takes a message: a message that was taken has an operation that says so. The thread holds the
// queue only for the operation at work, and lets go of it before that is told its end.
#pragma once

#include "os/fork_count.hpp"

#include <bulkhead/detail/queue_core.hpp>
#include <bulkhead/detail/queue_operation.hpp>

#include <atomic>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <optional>

namespace bulkhead::detail {

class queue_line : public std::enable_shared_from_this<queue_line> {
public:
    enum class side : std::uint8_t { getters, putters };

    explicit queue_line(side of);
    ~queue_line();
    queue_line(const queue_line&) = delete;
    queue_line& operator=(const queue_line&) = delete;

    /// Ends the operation at once if no thread can be had.
    void add(const queue_core& queue, std::shared_ptr<queue_operation> operation);
    void withdraw(const queue_operation& operation, bool and_wait);

private:
    struct entry {
        std::optional<queue_core> queue;
        std::shared_ptr<queue_operation> operation;
        std::atomic<bool> withdrawn{false};
    };
    using lock = std::unique_lock<std::mutex>;
    /// What belongs to one process, with its thread. A fork gets another, and leaves this one as it is:
    /// its mutex may be locked, and its condition variables wait for threads that the fork has not.
    struct shift {
        os::fork_mark made;
        std::mutex mutex;
        std::condition_variable more;
        std::condition_variable let_go;
        std::list<entry> waiting;
        std::list<entry> at_work;  // none or one
        bool has_thread = false;
    };

    [[nodiscard]] shift& own_shift();
    void start_thread(shift& own, lock& held);
    void serve(shift& own);
    void perform(entry& one) const;
    void get(entry& one) const;
    void put(entry& one) const;
    void wake(const queue_core& queue) const noexcept;

    const side side_;
    std::atomic<shift*> shift_;
};

}  // namespace bulkhead::detail
