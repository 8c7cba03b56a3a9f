// Which operations wait for a context's handlers, and who ends each.
#include <bulkhead/detail/pending_operation.hpp>

#include <utility>

namespace bulkhead::detail {

bool pending_operation::enlist(const std::shared_ptr<pending_operations>& of) {
    const std::lock_guard held(of->mutex_);
    if (of->closed_) return false;
    home_ = of;
    place_ = of->waiting_.insert(of->waiting_.end(), shared_from_this());
    listed_ = true;
    return true;
}

void pending_operation::complete(std::exception_ptr error) noexcept {
    std::shared_ptr<pending_operation> self;  // destroyed without the lock
    const std::lock_guard held(home_->mutex_);
    if (!listed_) return;
    listed_ = false;
    self = std::move(*place_);
    home_->waiting_.erase(place_);
    post(std::move(error));
}

void pending_operations::close() noexcept {
    std::list<std::shared_ptr<pending_operation>> orphans;
    {
        const std::lock_guard held(mutex_);
        closed_ = true;
        orphans.swap(waiting_);
        for (const auto& one : orphans) one->listed_ = false;
    }
    for (const auto& one : orphans) one->orphan();
}

}  // namespace bulkhead::detail
