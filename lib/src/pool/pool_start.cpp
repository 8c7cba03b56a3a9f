// Workers' beginnings: a process takes its seat, runs the initializer, is ready. On the loop thread.
#include "pool/pool_core.hpp"

#include "os/doorbell.hpp"
#include "os/kill_point.hpp"
#include "pool/exception_travel.hpp"

#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cassert>
#include <csignal>

namespace bulkhead::detail {
namespace {

/// After the n-th failed start in a row: this, times 2^n.
constexpr std::chrono::milliseconds first_back_off{10};
constexpr unsigned back_off_doublings_max = 6;
/// Programs that make a pool for one task, and are in a hurry, are done by then.
constexpr std::chrono::milliseconds spare_after{20};
constexpr std::uint64_t no_ticket = ~std::uint64_t{0};

}  // namespace

void pool_core::start_worker(worker_index worker) {
    seat& at = *seats_[worker];
    {
        const lock held(mutex_);
        if (ending_ || broken_ || !is_wanted(worker) || at.resting || at.box ||
            scheduler_.step(worker) != fsm::worker_step::absent) {
            return;
        }
        scheduler_.starting(worker);
    }
    std::vector<remote_task*> resolved;
    try {
        seat_crew(worker, take_crew());
    } catch (const std::exception& cause) {
        lock held(mutex_);
        const auto* from_asio = dynamic_cast<const boost::system::system_error*>(&cause);
        start_failure_ = from_asio == nullptr
                             ? cause.what()
                             : os::cannot_start(os::errno_text(from_asio->code().value()));
        if (scheduler_.start_failed(worker) == fsm::after_death::give_up) {
            give_up(start_failure_, resolved);
        } else {
            start_later(worker);
        }
        wake_waiters(held);
    }
    resolve_all(resolved);
}

void pool_core::seat_crew(worker_index worker, crew who) {
    seat& at = *seats_[worker];
    const pid_t pid = who.process.pid();
    try {
        // Duplicates: Asio closes what it is given.
        os::unique_fd death = os::duplicate(who.process.pidfd());
        os::unique_fd bell = os::duplicate(who.box->bell());
        at.death.assign(death.get());
        (void)death.release();
        at.bell.assign(bell.get());
        (void)bell.release();
    } catch (...) {
        boost::system::error_code ignored;
        at.death.close(ignored);
        who.disband();
        throw;
    }
    {
        const lock held(mutex_);
        who.seat->store(worker);
        assert(!at.coming);
        at.box = std::move(who.box);
        at.process = std::move(who.process);
        at.streams = std::move(who.streams);
        ++at.generation;
        at.hung_up = at.has_served = false;
        at.lied = false;
        at.waiting_ticket = at.stalled_ticket = 0;
        at.started_at = std::chrono::steady_clock::now();
        listen(worker);
        if (options_.initializer) {
            initialise(worker);
        } else {
            now_ready(worker);
        }
    }
    emit({.what = pool_event::kind::worker_started, .pid = pid});
}

void pool_core::now_ready(worker_index worker) {
    scheduler_.ready(worker);
    BULKHEAD_KILL_POINT("parent.ready");
    seats_[worker]->idle_since = std::chrono::steady_clock::now();
    if (!is_wanted(worker) || seats_[worker]->hung_up) retire(worker);  // resized in between
    dispatch();
    arm_balance();
    arm_idle();
    spares_dismissed_ = false;
    arm_spares(spare_after);
}

void pool_core::initialise(worker_index worker) {
    seat& at = *seats_[worker];
    const auto& call = options_.initializer.call();
    const channel::payload arguments =
        call.arguments.shared() ? channel::payload(call.arguments.shared(), call.arguments.size())
                                : channel::payload(call.arguments.bytes());
    channel::task_envelope envelope;
    envelope.entry = call.what.entry;
    envelope.chunk = 0;
    envelope.timed = 0;
    envelope.takes_stop_token = call.what.takes_stop_token ? 1 : 0;
    at.init_failure.clear();
    try {
        if (!at.box->place_arguments(arguments, envelope)) {
            throw error("bulkhead: there is no room for the initializer's arguments");
        }
        at.init_placed = envelope;
        at.init_ticket = at.box->post(envelope);
    } catch (const error& cause) {
        at.init_ticket = no_ticket;
        fail_initializer(at, cause.what());
        return;
    }
    watch_initializer(worker, std::chrono::steady_clock::now() + initializer_timeout_default +
                                  initializer_limit());
}

std::chrono::nanoseconds pool_core::initializer_limit() const noexcept {
    constexpr std::chrono::nanoseconds ever =
        std::chrono::hours(24 * 365);  // can be added to a time
    if (options_.task_timeout.count() == 0) return initializer_timeout_default;
    return std::min(options_.task_timeout, ever);
}

void pool_core::watch_initializer(worker_index worker, std::chrono::steady_clock::time_point last) {
    seat& at = *seats_[worker];
    const std::chrono::nanoseconds limit = initializer_limit();
    // The clock starts with the initializer, not with the process.
    const bool begun = at.box->at(at.init_ticket) == channel::progress::begun;
    const auto left = begun ? limit - running_for(worker, channel::monotonic_ns()) : limit;
    const std::chrono::nanoseconds left_of_all = last - std::chrono::steady_clock::now();
    at.watch_timer.expires_after(std::min(left, left_of_all));
    at.watch_timer.async_wait([this, worker, limit, last, generation = at.generation](
                                  const boost::system::error_code& cancelled) {
        if (cancelled) return;
        const lock held(mutex_);
        seat& mine = *seats_[worker];
        if (mine.generation != generation || mine.init_ticket == 0) return;
        const bool late = mine.box->at(mine.init_ticket) == channel::progress::begun &&
                          running_for(worker, channel::monotonic_ns()) >= limit;
        if (late || std::chrono::steady_clock::now() >= last) {
            fail_initializer(mine, "bulkhead: the initializer ran longer than its time limit");
        } else {
            watch_initializer(worker, last);
        }
    });
}

void pool_core::initialised(collected& result) {
    seat& at = *seats_[result.worker];
    at.box->release_result(result.ticket, result.envelope);
    at.box->settled(result.ticket);
    if (!at.init_failure.empty() || scheduler_.step(result.worker) != fsm::worker_step::starting) {
        return;  // it is being killed already
    }
    if (static_cast<channel::result_kind>(result.envelope.kind) == channel::result_kind::value) {
        at.init_ticket = 0;
        at.box->release_arguments(at.init_placed);
        at.watch_timer.cancel();
        at.box->use_again();  // what the initializer needs is no wear
        scheduler_.has_come_up(result.worker);
        now_ready(result.worker);
        return;
    }
    std::string why = "bulkhead: the initializer failed: ";
    try {
        if (result.failure) std::rethrow_exception(result.failure);
        throw_remote(result.bytes.bytes(), at.process.pid(), "");
    } catch (const std::exception& thrown) {
        why += thrown.what();
    } catch (const remote_info& thrown) {  // of the program's own type, which derives from nothing
        why += thrown.type_name() + ": " + thrown.message();
    } catch (...) {  // by a codec<T> of the program's, here
        why += "what it threw does not decode";
    }
    fail_initializer(at, why);
}

void pool_core::fail_initializer(seat& at, const std::string& why) {
    at.init_failure = why;
    at.process.signal_group(SIGKILL);  // the rest is done at its end
}

void pool_core::start_later(worker_index worker) {
    seat& at = *seats_[worker];
    const unsigned failures = scheduler_.back_off(worker);
    if (failures == 0) {
        boost::asio::post(io_, [this, worker] { start_worker(worker); });
        return;
    }
    at.restart_timer.expires_after(first_back_off *
                                   (1 << std::min(failures, back_off_doublings_max)));
    at.restart_timer.async_wait([this, worker](const boost::system::error_code& cancelled) {
        if (!cancelled) start_worker(worker);
    });
}

void pool_core::listen(worker_index worker) {
    seat& at = *seats_[worker];
    at.death.async_wait(
        boost::asio::posix::stream_descriptor::wait_read,
        [this, worker, generation = at.generation](const boost::system::error_code& cancelled) {
            if (!cancelled && seats_[worker]->generation == generation) {
                on_death(worker);
            }
        });
    struct bell_waiter {
        pool_core* core;
        worker_index worker;
        std::uint64_t generation;
        void arm() {
            core->seats_[worker]->bell.async_wait(
                boost::asio::posix::stream_descriptor::wait_read,
                [self = *this](const boost::system::error_code& cancelled) mutable {
                    seat& mine = *self.core->seats_[self.worker];
                    if (cancelled || mine.generation != self.generation || !mine.box) return;
                    // Its end is the worker's: that is told by its death.
                    if (os::silence(mine.box->bell())) self.arm();
                });
        }
    };
    bell_waiter{this, worker, at.generation}.arm();
}

}  // namespace bulkhead::detail
