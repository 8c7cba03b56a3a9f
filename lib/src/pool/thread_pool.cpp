// thread_pool's members, each a call into the core.
#include <bulkhead/thread_pool.hpp>

#include "pool/thread_core.hpp"

namespace bulkhead {

thread_pool::thread_pool(thread_pool_options options)
    : core_(std::make_shared<detail::thread_core>(std::move(options))) {}

thread_pool::~thread_pool() {
    if (core_->in_a_fork()) {
        // Its threads are another process's: there is nothing here to end, and no way.
        // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new)
        new std::shared_ptr<detail::thread_core>(std::move(core_));
        return;
    }
    core_->finish();
}

void thread_pool::close() {
    core_->check_process();
    core_->close();
}

void thread_pool::join() {
    core_->check_process();
    core_->join();
}

void thread_pool::shutdown(const shutdown_options& options) {
    core_->check_process();
    core_->close();
    if (options.cancel_queued) core_->cancel_queued();
    if (options.wait) core_->finish();
}

void thread_pool::terminate() {
    core_->check_process();
    core_->close();
    core_->cancel_queued();
    core_->stop_running();
    core_->finish();
}

void thread_pool::resize_to(std::int64_t workers) {
    core_->check_process();
    core_->resize(workers);
}

std::vector<worker_info> thread_pool::workers() const {
    core_->check_process();
    return core_->workers();
}

pool_stats thread_pool::stats() const {
    core_->check_process();
    return core_->stats();
}

}  // namespace bulkhead
