// How far tasks are: read from their workers' memory when somebody asks, and now and then for those who
// want to be told.
#include "pool/pool_core.hpp"

#include <boost/asio/post.hpp>

namespace bulkhead::detail {

task_progress pool_core::progress_of(const remote_task& task) const {
    const lock held(mutex_);
    return task.is_decided() ? task.noted_progress() : progress_now(task);
}

task_progress pool_core::progress_now(const remote_task& task) const {
    if (task.step != fsm::task_step::handed || task.ticket == 0) return {};
    return seats_[task.worker]->box->progress_of(task.ticket).value_or(task_progress());
}

void pool_core::watch_progress(remote_task& task, progress_callback callback_function) {
    const lock held(mutex_);
    if (task.is_decided()) return;
    if (task.add_watcher(std::move(callback_function))) count_watched(task);
}

void pool_core::count_watched(const remote_task& task) {
    if (!task.is_watched()) return;
    if (progress_watched_ == 0) boost::asio::post(io_, [this] { arm_progress(); });
    ++progress_watched_;
}

void pool_core::note_progress(remote_task& task) {
    if (task.what.chunk) return;
    const auto said = seats_[task.worker]->box->progress_of(task.ticket);
    if (said) task.note_progress(*said);
}

void pool_core::arm_progress() {
    if (progress_armed_) return;
    progress_armed_ = true;
    progress_timer_.expires_after(progress_interval);
    progress_timer_.async_wait([this](const boost::system::error_code& cancelled) {
        progress_armed_ = false;
        if (!cancelled) tell_progress();
    });
}

void pool_core::tell_progress() {
    struct news {
        state_ptr task;
        task_progress said;
        std::vector<remote_task::watcher> watchers;
    };
    std::vector<news> all;
    {
        const lock held(mutex_);
        if (progress_watched_ == 0) return;
        for (worker_index i = 0; i != seats_.size(); ++i) {
            if (!seats_[i]->box) continue;
            for (auto* node = scheduler_.ledger(i).front(); node != nullptr; node = node->next) {
                auto& task = static_cast<remote_task&>(*node);
                if (!task.is_watched() || !has_begun(task)) continue;
                task.add_ref();
                all.push_back({state_ptr(&task), progress_now(task), task.watchers()});
            }
        }
    }
    for (const auto& one : all) {
        static_cast<remote_task&>(*one.task).tell_progress(one.said, one.watchers);
    }
    arm_progress();
}

}  // namespace bulkhead::detail
