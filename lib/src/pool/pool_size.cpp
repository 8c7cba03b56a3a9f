// How many workers there are: a new size, those that are worn, spent or idle, and parting with them. On the loop
// thread.
#include "pool/pool_core.hpp"

#include <boost/asio/post.hpp>

#include <csignal>

namespace bulkhead::detail {

void pool_core::apply_size() {
    const lock held(mutex_);
    while (seats_.size() < wanted_) seats_.push_back(std::make_unique<seat>(io_));
    scheduler_.grow(seats_.size());
    for (worker_index i = 0; i != seats_.size(); ++i) {
        seat& at = *seats_[i];
        if (is_wanted(i)) {
            boost::asio::post(io_, [this, i] { start_worker(i); });  // if there is none
            continue;
        }
        if (std::exchange(at.resting, false)) --resting_;
        if (at.box) retire(i);
    }
    dispatch();
    room_.notify_all();
}

void pool_core::retire(worker_index worker) {
    if (scheduler_.step(worker) == fsm::worker_step::ready) {
        take_back(worker, fsm::window_max);
        if (scheduler_.step(worker) == fsm::worker_step::ready) scheduler_.retire(worker);
    }
    if (scheduler_.ledger(worker).empty()) part_with(worker);
}

void pool_core::part_with(worker_index worker) {
    seat& at = *seats_[worker];
    if (at.hung_up) return;
    at.hung_up = true;
    at.box->hang_up();
    if (scheduler_.step(worker) == fsm::worker_step::condemned) return;  // being killed
    at.kill_timer.expires_after(options_.kill_grace);
    at.kill_timer.async_wait(
        [this, worker, generation = at.generation](const boost::system::error_code& cancelled) {
            if (cancelled || seats_[worker]->generation != generation) return;
            seats_[worker]->process.signal_group(SIGKILL);
        });
}

void pool_core::part_with_idle_workers() {
    part_with_spares();
    for (worker_index i = 0; i != seats_.size(); ++i) {
        seats_[i]->restart_timer.cancel();
        if (seats_[i]->box) part_with(i);
    }
}

bool pool_core::needs_a_look(worker_index worker) const {
    if (options_.idle_timeout.count() != 0 || seats_[worker]->box->worn()) return true;
    return scheduler_.ledger(worker).empty() &&
           (scheduler_.step(worker) == fsm::worker_step::retiring || scheduler_.is_spent(worker));
}

void pool_core::look_after(worker_index worker) {
    seat& at = *seats_[worker];
    if (!at.box) return;
    if (at.box->worn() && scheduler_.step(worker) == fsm::worker_step::ready) retire(worker);
    if (!scheduler_.ledger(worker).empty()) return;
    if (scheduler_.step(worker) == fsm::worker_step::retiring) part_with(worker);
    if (scheduler_.is_spent(worker)) retire(worker);
    if (options_.idle_timeout.count() != 0) {
        at.idle_since = std::chrono::steady_clock::now();
        arm_idle();
    }
}

void pool_core::arm_idle() {
    if (idle_armed_ || options_.idle_timeout.count() == 0) return;
    idle_armed_ = true;
    idle_timer_.expires_after(options_.idle_timeout);
    idle_timer_.async_wait([this](const boost::system::error_code& cancelled) {
        if (!cancelled) rest_idle_workers();
    });
}

void pool_core::rest_idle_workers() {
    const lock held(mutex_);
    idle_armed_ = false;
    if (ending_ || broken_) return;
    const auto now = std::chrono::steady_clock::now();
    bool any_left = false;
    for (worker_index i = 0; i != seats_.size(); ++i) {
        seat& at = *seats_[i];
        if (!at.box || scheduler_.step(i) != fsm::worker_step::ready) continue;
        if (scheduler_.ledger(i).empty() && scheduler_.waiting() == 0 &&
            now - at.idle_since >= options_.idle_timeout) {
            at.resting = true;
            ++resting_;
            retire(i);
        } else {
            any_left = true;
        }
    }
    if (any_left) {
        arm_idle();
    } else if (scheduler_.waiting() == 0) {
        part_with_spares();
    }
}

}  // namespace bulkhead::detail
