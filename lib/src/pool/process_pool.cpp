// process_pool's members, each a call into the core.
#include <bulkhead/process_pool.hpp>

#include "os/fd.hpp"
#include "os/own_thread.hpp"
#include "pool/pool_core.hpp"

#include <boost/system/system_error.hpp>

namespace bulkhead {
namespace {

std::shared_ptr<detail::pool_core> make_core(process_pool_options options) {
    try {
        auto core = std::make_shared<detail::pool_core>(std::move(options));
        core->start();
        return core;
    } catch (const os::thread_failure& cause) {
        throw pool_broken(cause.what());
    } catch (const boost::system::system_error& cause) {  // Asio got no descriptors
        throw pool_broken("bulkhead: a pool cannot be made: " +
                          os::errno_text(cause.code().value()));
    }
}

}  // namespace

process_pool::process_pool(process_pool_options options) : core_(make_core(std::move(options))) {}

process_pool::~process_pool() {
    if (core_->in_a_fork()) {
        // Its thread and workers belong to another process: there is nothing here to end, and no way.
        // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new)
        new std::shared_ptr<detail::pool_core>(std::move(core_));
        return;
    }
    core_->finish();
}

void process_pool::close() {
    core_->check_process();
    core_->close();
}

void process_pool::join() {
    core_->check_process();
    core_->join();
}

void process_pool::shutdown(const shutdown_options& options) {
    core_->check_process();
    core_->close();
    if (options.cancel_queued) core_->cancel_queued();
    if (options.wait) core_->finish();
}

void process_pool::terminate() {
    core_->check_process();
    core_->terminate();
}

void process_pool::resize_to(std::int64_t workers) {
    core_->check_process();
    core_->resize(workers);
}

std::vector<worker_info> process_pool::workers() const {
    core_->check_process();
    return core_->workers();
}

pool_stats process_pool::stats() const {
    core_->check_process();
    return core_->stats();
}

}  // namespace bulkhead
