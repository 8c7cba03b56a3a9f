// thread_pool's members, each a call into the core.
#include <bulkhead/thread_pool.hpp>

#include "pool/thread_core.hpp"

namespace bulkhead {

thread_pool::thread_pool(thread_pool_options options)
    : core_(std::make_shared<detail::thread_core>(std::move(options))) {}

thread_pool::~thread_pool() { detail::end_pool(core_); }

void thread_pool::close() { detail::usable(core_).close(); }

void thread_pool::join() { detail::usable(core_).join(); }

void thread_pool::shutdown(const shutdown_options& options) {
    detail::usable(core_).close();
    if (options.cancel_queued) core_->cancel_queued();
    if (options.wait) core_->finish();
}

void thread_pool::terminate() {
    detail::usable(core_).close();
    core_->cancel_queued();
    core_->stop_running();
    core_->finish();
}

void thread_pool::resize_to(std::int64_t workers) { detail::usable(core_).resize(workers); }

std::vector<worker_info> thread_pool::workers() const { return detail::usable(core_).workers(); }

pool_stats thread_pool::stats() const { return detail::usable(core_).stats(); }

}  // namespace bulkhead
