// Workers in waiting: started, up, and without a seat. On the loop thread.
#include "pool/pool_core.hpp"

#include "os/kill_point.hpp"
#include "process/start.hpp"

#include <boost/system/system_error.hpp>

#include <algorithm>
#include <csignal>

namespace bulkhead::detail {
namespace {

/// Behind a crash come its replacement's first tasks, which are more urgent.
constexpr std::chrono::milliseconds refill_after{2};
/// After the n-th spare in a row that failed or died: this, times 2^n.
constexpr std::chrono::milliseconds first_back_off{50};
constexpr unsigned back_off_doublings_max = 8;

}  // namespace

pool_core::crew pool_core::launch_crew() {
    if (!keeper_) keeper_ = os::keeper::of_this_process();
    crew made;
    made.seat = std::make_shared<std::atomic<worker_index>>(fsm::no_worker);
    made.box = std::make_shared<channel::compartment>(
        options_.worker_memory_max_bytes, static_cast<bool>(options_.worker_output.callback()));
    made.streams = relay_.open([this, seat = made.seat] { return running_name(*seat); });
    made.process = os::spawn(
        {.arguments = {worker_flag, os::fd_list(made.box->worker_fds())},
         .executable = options_.executable,
         .passed_fds = made.box->worker_fds(),
         .out_fd = made.streams->out_for_worker(),
         .err_fd = made.streams->err_for_worker(),
         .cgroup = cgroup_,
         .group_bytes = std::min(options_.worker_memory_max_bytes, ~worker_group_extra_bytes) +
                        worker_group_extra_bytes});
    BULKHEAD_KILL_POINT("parent.spawned");
    made.box->launched();
    made.streams->launched(made.process.pid());
    return made;
}

void pool_core::crew::disband() noexcept {
    process.signal_group(SIGKILL);
    streams->finish();
    (void)process.reap();
}

bool pool_core::is_ready(const std::unique_ptr<spare>& one) {
    return !one->hung_up && one->who.box->attached();
}

std::size_t pool_core::spares_ready() const {
    return static_cast<std::size_t>(std::count_if(spares_.begin(), spares_.end(), is_ready));
}

pool_core::crew pool_core::take_crew() {
    // One that has just died shows it in its seat.
    const auto ready = std::find_if(spares_.begin(), spares_.end(), is_ready);
    if (ready == spares_.end()) return launch_crew();
    crew taken;
    {
        const lock held(mutex_);
        taken = std::move((*ready)->who);
        spares_.erase(ready);
    }
    spare_failures_ = 0;
    arm_spares(refill_after);
    BULKHEAD_KILL_POINT("parent.spare_taken");
    return taken;
}

void pool_core::arm_spares(std::chrono::nanoseconds after) {
    if (spares_armed_ || spares_dismissed_ || spares_.size() >= options_.spare_workers) return;
    spares_armed_ = true;
    spare_timer_.expires_at(std::max(std::chrono::steady_clock::now() + after, spares_not_before_));
    spare_timer_.async_wait([this](const boost::system::error_code& cancelled) {
        // By who arms it anew, or wants none any more; one that has expired already comes all the same.
        if (cancelled || !spares_armed_) return;
        if (std::chrono::steady_clock::now() < spare_timer_.expiry()) return;
        spares_armed_ = false;
        start_spares();
    });
}

void pool_core::start_spares() {
    {
        const lock held(mutex_);
        if (ending_ || broken_ || spares_dismissed_) return;
        if (spares_.size() >= options_.spare_workers) return;
        // Whether workers come up at all is seen by those that have a seat.
        const bool any_up = std::any_of(seats_.begin(), seats_.end(), [](const auto& at) {
            return at->box && at->box->attached();
        });
        if (!any_up) {
            arm_spares(first_back_off);
            return;
        }
    }
    std::unique_ptr<spare> one;
    try {
        one = std::make_unique<spare>(io_, ++last_spare_id_, launch_crew());
        os::unique_fd death = os::duplicate(one->who.process.pidfd());
        one->death.assign(death.get());
        (void)death.release();
    } catch (const std::exception&) {  // pool_broken, or Asio's own
        if (one) one->who.disband();
        arm_spares_after_failure();
        return;
    }
    one->death.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                          [this, id = one->id](const boost::system::error_code& cancelled) {
                              if (!cancelled) on_spare_death(id);
                          });
    one->kill_timer.expires_after(start_time_max);
    one->kill_timer.async_wait([this, id = one->id](const boost::system::error_code& cancelled) {
        spare* const late = cancelled ? nullptr : find_spare(id);
        if (late != nullptr && !late->who.box->attached()) late->who.process.signal_group(SIGKILL);
    });
    {
        const lock held(mutex_);
        spares_.push_back(std::move(one));
    }
    arm_spares(refill_after);
}

pool_core::spare* pool_core::find_spare(std::uint64_t id) const noexcept {
    for (const auto& one : spares_) {
        if (one->id == id) return one.get();
    }
    return nullptr;
}

void pool_core::on_spare_death(std::uint64_t id) {
    spare* const dead = find_spare(id);
    if (dead == nullptr) return;  // it has taken a seat this very moment
    dead->who.streams->finish();
    (void)dead->who.process.reap();
    const bool expected = dead->hung_up;
    bool done = false;
    {
        const lock held(mutex_);
        std::erase_if(spares_, [&](const auto& one) { return one->id == id; });
        done = ending_ || broken_ || spares_dismissed_;
    }
    os::keeper::revive();
    if (done) {
        dismiss_keeper();
    } else if (expected) {
        arm_spares(first_back_off);
    } else {
        arm_spares_after_failure();
    }
}

void pool_core::arm_spares_after_failure() {
    const auto after = first_back_off * (1 << std::min(spare_failures_++, back_off_doublings_max));
    spares_not_before_ = std::chrono::steady_clock::now() + after;
    if (spare_timer_.expiry() < spares_not_before_) spares_armed_ = false;  // it would come sooner
    arm_spares(after);
}

void pool_core::part_with_spares() {
    spares_dismissed_ = true;
    spares_armed_ = false;
    spare_timer_.cancel();
    for (const auto& one : spares_) {
        if (std::exchange(one->hung_up, true)) continue;
        one->who.box->hang_up();
        // One that is not up does not hear it, and has nothing to end in order.
        if (!one->who.box->attached()) one->who.process.signal_group(SIGKILL);
        one->kill_timer.expires_after(options_.kill_grace);
        one->kill_timer.async_wait(
            [this, id = one->id](const boost::system::error_code& cancelled) {
                spare* const late = cancelled ? nullptr : find_spare(id);
                if (late != nullptr) late->who.process.signal_group(SIGKILL);
            });
    }
}

}  // namespace bulkhead::detail
