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

process_pool::~process_pool() { detail::end_pool(core_); }

void process_pool::close() { detail::usable(core_).close(); }

void process_pool::join() { detail::usable(core_).join(); }

void process_pool::shutdown(const shutdown_options& options) {
    detail::usable(core_).close();
    if (options.cancel_queued) core_->cancel_queued();
    if (options.wait) core_->finish();
}

void process_pool::terminate() { detail::usable(core_).terminate(); }

void process_pool::resize_to(std::int64_t workers) { detail::usable(core_).resize(workers); }

std::vector<worker_info> process_pool::workers() const { return detail::usable(core_).workers(); }

pool_stats process_pool::stats() const { return detail::usable(core_).stats(); }

}  // namespace bulkhead
