/// @file
/// An operation that another thread completes on behalf of a context: one that may be destroyed
/// first.
#pragma once

#include <exception>
#include <list>
#include <memory>
#include <mutex>

namespace bulkhead::detail {

class pending_operation;

/// The operations that wait to be completed on one context.
class pending_operations {
public:
    /// Tells them that the context goes away. Later ones are refused.
    void close() noexcept;

private:
    friend pending_operation;

    std::mutex mutex_;
    bool closed_ = false;
    std::list<std::shared_ptr<pending_operation>> waiting_;
};

/// Invariant: enters the list of its context once, and leaves it once: by complete(), which posts
/// under the list's lock and so while the context exists, or by close(). Whoever takes it out has
/// its handler.
class pending_operation : public std::enable_shared_from_this<pending_operation> {
public:
    pending_operation() = default;
    pending_operation(const pending_operation&) = delete;
    pending_operation& operator=(const pending_operation&) = delete;
    virtual ~pending_operation() = default;

    /// False when the context is being destroyed.
    [[nodiscard]] bool enlist(const std::shared_ptr<pending_operations>& of);
    /// Any thread; only the first counts. Where no memory can be had to post, the program ends.
    void complete(std::exception_ptr error) noexcept;

protected:
    /// Hands the completion to the handler's executor, for later. `error` is what became of it,
    /// nullptr: it went well, or its result knows.
    virtual void post(std::exception_ptr error) = 0;
    /// Destroys the handler, and lets go of what it waits for.
    virtual void orphan() noexcept = 0;

private:
    friend pending_operations;

    std::shared_ptr<pending_operations> home_;
    std::list<std::shared_ptr<pending_operation>>::iterator place_;
    bool listed_ = false;
};

}  // namespace bulkhead::detail
