// Outcomes of a task, and what its futures ask of the pool.
#include "pool/remote_task.hpp"

#include "pool/exception_travel.hpp"
#include "pool/pool_core.hpp"

namespace bulkhead::detail {

remote_task::remote_task(std::weak_ptr<pool_core> core, const submission& submitted,
                         const task_options& options, std::chrono::nanoseconds time_limit)
    : what(submitted), timeout(time_limit), core_(std::move(core)) {
    priority = options.priority;
    retries_left = static_cast<std::uint32_t>(options.retries);
    if (!options.name.empty()) with_extras().name = options.name;
    if (options.retry_on) with_extras().retry_on = options.retry_on;
    if (options.on_progress) (void)add_watcher(options.on_progress);
}

remote_task::extras& remote_task::with_extras() {
    if (!extras_) extras_ = std::make_unique<extras>();
    return *extras_;
}

task_progress remote_task::progress() const {
    const auto core = core_.lock();
    return core && !core->in_a_fork() ? core->progress_of(*this) : noted_progress();
}

void remote_task::on_progress(progress_callback&& callback_function) {
    check_process();
    if (const auto core = core_.lock()) core->watch_progress(*this, std::move(callback_function));
}

void remote_task::note_progress(const task_progress& said) noexcept {
    try {
        with_extras().noted = said;
    } catch (...) {
        // No memory: nobody will know how far it was.
    }
}

void remote_task::forget_progress() noexcept {
    if (extras_) extras_->noted = extras_->told = {};
}

void remote_task::tell_last_progress() noexcept {
    if (is_watched() && extras_->noted != task_progress()) {
        tell_progress(extras_->noted, extras_->on_progress);
    }
}

bool remote_task::add_watcher(progress_callback callback_function) {
    auto kept = std::make_shared<progress_callback>(std::move(callback_function));
    with_extras().on_progress.push_back(std::move(kept));
    return extras_->on_progress.size() == 1;
}

void remote_task::tell_progress(const task_progress& said,
                                const std::vector<watcher>& watchers) noexcept {
    if (said == extras_->told) return;
    extras_->told = said;
    for (const auto& told : watchers) {
        try {
            (*told)(said);
        } catch (...) {
            callback_failed(std::current_exception());
        }
    }
}

bool remote_task::running() const {
    if (done()) return false;
    const auto core = core_.lock();
    return core && !core->in_a_fork() && core->is_running(*this);
}

void remote_task::check_process() const {
    if (done()) return;
    if (const auto core = core_.lock()) core->check_process();
}

void remote_task::check_endless_wait() const {
    if (const auto core = core_.lock()) core->check_endless_wait();
}

void remote_task::help(clock::time_point until) {
    if (what.chunk) return;
    if (const auto core = core_.lock()) core->help(*this, until);
}

bool remote_task::cancel() {
    if (done()) return cancelled();
    if (const auto core = core_.lock()) return core->cancel(*this);
    return cancelled();
}

void remote_task::request_cancel() {
    if (done()) return;
    if (const auto core = core_.lock()) (void)core->request_cancel(*this);
}

void remote_task::abandon() {
    if (done()) return;
    if (const auto core = core_.lock(); core && !core->in_a_fork()) core->abandon(*this);
}

void remote_task::take(result_reader read, void* out) {
    const auto held = std::move(bytes);
    switch (outcome_) {
        case outcome::value:
        case outcome::items: {
            if (auto* value = held.arriving()) {
                value->take(out);
                return;
            }
            decoder in(held.bytes());
            (read != nullptr ? read : what.gives->read)(in, out);
            return;
        }
        case outcome::exception:
            throw_remote(held.bytes(), pid_, name());
        case outcome::failed:
            std::rethrow_exception(std::move(error_));
        case outcome::cancelled: {
            const std::string known_as = name();
            throw task_cancelled(known_as.empty()
                                     ? "bulkhead: the task was cancelled"
                                     : "bulkhead: task '" + known_as + "' was cancelled");
        }
        case outcome::none:
            break;
    }
    throw usage_error("bulkhead: the task's result was taken before it was there");
}

void remote_task::set_arguments(task_encoder& encoded) {
    bytes.take(encoded);
    if (!encoded.kept().empty()) {
        kept_ = std::make_unique<std::vector<kept_object>>(std::move(encoded.kept()));
    }
}

void remote_task::drop_arguments() noexcept { kept_.reset(); }

void remote_task::set_result(channel::result_kind kind, channel::payload result, pid_t by,
                             std::uint64_t run_ns) {
    drop_arguments();
    bytes = std::move(result);
    pid_ = by;
    run_ns_ = run_ns;
    switch (kind) {
        case channel::result_kind::value:
            outcome_ = outcome::value;
            break;
        case channel::result_kind::exception:
            outcome_ = outcome::exception;
            break;
        case channel::result_kind::items:
            outcome_ = outcome::items;
            break;
    }
}

void remote_task::set_error(std::exception_ptr error) {
    drop_arguments();
    bytes.clear();
    error_ = std::move(error);
    outcome_ = outcome::failed;
}

void remote_task::set_failure(std::exception_ptr error, pid_t by, std::uint64_t run_ns) {
    set_error(std::move(error));
    pid_ = by;
    run_ns_ = run_ns;
}

void remote_task::set_partial(channel::payload items, std::exception_ptr error, pid_t by) {
    pid_ = by;
    drop_arguments();
    bytes = std::move(items);
    error_ = std::move(error);
    outcome_ = outcome::items;
}

void remote_task::set_cancelled() {
    drop_arguments();
    bytes.clear();
    outcome_ = outcome::cancelled;
}

void remote_task::tell_and_release(bool has_waiters) noexcept {
    tell(has_waiters);
    release();
}

void remote_task::wake_and_release(bool has_waiters) noexcept {
    wake(has_waiters);
    release();
}

void remote_task::callback_failed(std::exception_ptr error) noexcept {
    if (const auto core = core_.lock()) core->report_callback_failure(error, name());
}

}  // namespace bulkhead::detail
