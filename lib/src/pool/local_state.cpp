// A task of a thread_pool: its ends, and who hears how far it is.
#include <bulkhead/detail/local_state.hpp>

#include "pool/thread_core.hpp"

#include <bulkhead/error.hpp>

namespace bulkhead::detail {

local_state::local_state(thread_core& core, const task_options& options, bool takes_token)
    : core_(core.weak_from_this()), takes_token_(takes_token), retries_left_(options.retries) {
    // A cancel is to be known to the task, or to whoever decides on another run.
    if (takes_token || options.retry_on) stop_ = std::stop_source();
    if (!options.name.empty()) with_extras().name = options.name;
    if (options.retry_on) with_extras().retry_on = options.retry_on;
    if (options.on_progress) with_extras().watchers.push_back(options.on_progress);
}

local_state::~local_state() { delete extras_.load(std::memory_order_acquire); }

local_state::extras& local_state::with_extras() const {
    if (auto* there = having()) return *there;
    auto made = std::make_unique<extras>();
    extras* none = nullptr;
    if (!extras_.compare_exchange_strong(none, made.get(), std::memory_order_acq_rel)) {
        return *none;  // another thread was quicker
    }
    return *made.release();
}

std::string local_state::name() const {
    const auto* there = having();
    return there != nullptr ? there->name : std::string();
}

bool local_state::may_be_retried() const noexcept {
    const auto* there = having();
    return retries_left_ > 0 && there != nullptr && there->retry_on;
}

void local_state::check_process() const {
    if (done()) return;
    if (const auto core = core_.lock()) core->check_process();
}

bool local_state::running() const { return step_.load() == step::running; }

bool local_state::failed() const { return done() && !was_cancelled_.load() && failed_; }

bool local_state::cancelled() const { return done() && was_cancelled_.load(); }

bool local_state::cancel() {
    if (done()) return cancelled();
    if (const auto core = core_.lock()) return core->cancel(*this);
    return cancelled();
}

void local_state::abandon() {
    if (const auto core = core_.lock(); core && !core->in_a_fork()) core->abandon(*this);
}

void local_state::take(result_reader, void* out) {
    if (was_cancelled_.load()) {
        const std::string known_as = name();
        throw task_cancelled(known_as.empty() ? "bulkhead: the task was cancelled"
                                              : "bulkhead: task '" + known_as + "' was cancelled");
    }
    // Moved: the exception's last owner shall be the thread that handles it.
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    take_value(out);
}

task_progress local_state::progress() const {
    auto* there = having();
    if (there == nullptr) return {};
    const std::lock_guard held(there->mutex);
    return there->said;
}

void local_state::on_progress(progress_callback&& callback_function) {
    check_process();
    auto& there = with_extras();
    const std::lock_guard held(there.mutex);
    if (step_.load() != step::done) there.watchers.push_back(std::move(callback_function));
}

void local_state::report(task_progress now) noexcept {
    extras* there = nullptr;
    try {
        there = &with_extras();
    } catch (...) {
        return;  // no memory: nobody will know
    }
    std::unique_lock held(there->mutex);
    there->said = now;
    if (there->watchers.empty()) return;
    const auto time = std::chrono::steady_clock::now();
    if (time < there->next_telling) return;
    there->next_telling = time + progress_interval;
    tell_progress(*there, held);
}

void local_state::forget_progress() noexcept {
    auto* there = having();
    if (there == nullptr) return;
    const std::lock_guard held(there->mutex);
    there->said = there->told = {};
    there->next_telling = {};
}

void local_state::tell_last_progress() noexcept {
    auto* there = having();
    if (there == nullptr) return;
    std::unique_lock held(there->mutex);
    if (!there->watchers.empty()) tell_progress(*there, held);
}

void local_state::tell_progress(extras& of, std::unique_lock<std::mutex>& held) noexcept {
    if (of.said == of.told) return;
    of.told = of.said;
    const auto said = of.said;
    // A watcher may add another one: only those that are there by now, and without the lock.
    auto watcher = of.watchers.begin();
    for (std::size_t left = of.watchers.size(); left != 0; --left, ++watcher) {
        held.unlock();
        try {
            (*watcher)(said);
        } catch (...) {
            callback_failed(std::current_exception());
        }
        held.lock();
    }
}

void local_state::callback_failed(std::exception_ptr error) noexcept {
    if (const auto core = core_.lock()) core->report_callback_failure(error, name());
}

}  // namespace bulkhead::detail
