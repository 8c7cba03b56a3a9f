// Starting and ending one process.
#include <bulkhead/init.hpp>
#include <bulkhead/process.hpp>

#include "channel/payload.hpp"
#include "os/fork_count.hpp"
#include "os/keeper.hpp"
#include "os/memfd.hpp"
#include "os/spawn.hpp"
#include "process/run_function.hpp"
#include "process/start.hpp"

#include <csignal>
#include <cstring>
#include <mutex>

namespace bulkhead {

struct process::impl {
    os::child child;
    process_status status;
    std::vector<detail::kept_object> kept;  // what the arguments' handles name
    os::fork_mark made;

    bool ended(std::optional<std::chrono::steady_clock::time_point> deadline) {
        if (child.reaped() || made.in_a_fork()) return true;  // a fork has no say in it
        if (!child.wait_ended(deadline)) return false;
        status = child.reap();
        os::keeper::revive();
        kept.clear();
        return true;
    }
};

namespace {

[[noreturn]] void throw_moved() {
    throw usage_error("bulkhead: this process object was moved from and holds no process");
}

}  // namespace

void process::start(const detail::code_ref& entry, detail::task_encoder& arguments) {
    detail::require_init("process");
    if (os::outer_levels() >= process_nesting_max) {
        throw usage_error("bulkhead: a process within " + std::to_string(os::outer_levels()) +
                          " pools and processes, one started by the other, is not started: a "
                          "function that starts itself again would go on for ever");
    }
    const auto bytes = arguments.bytes();
    const detail::function_header header{entry, bytes.size()};
    const std::size_t total = sizeof header + bytes.size();
    const auto fd = os::make_memfd("bulkhead-process", total);
    const auto memory = os::map_shared(fd.get(), total, "a process's arguments");
    std::memcpy(memory.data(), &header, sizeof header);
    if (!bytes.empty()) std::memcpy(memory.data() + sizeof header, bytes.data(), bytes.size());

    impl_ = std::make_shared<impl>();
    impl_->kept = std::move(arguments.kept());
    impl_->child = os::spawn(
        {.arguments = {detail::process_flag, std::to_string(fd.get())}, .passed_fds = {fd.get()}});
}

process::process(process&& other) noexcept = default;

process& process::operator=(process&& other) noexcept {
    if (this != &other) {
        if (impl_) (void)impl_->ended(std::nullopt);
        impl_ = std::move(other.impl_);
    }
    return *this;
}

process::~process() {
    if (impl_) (void)impl_->ended(std::nullopt);
}

pid_t process::pid() const noexcept { return impl_ ? impl_->child.pid() : 0; }

bool process::running() const {
    return impl_ && !impl_->ended(std::chrono::steady_clock::time_point::min());
}

process_status process::join() {
    if (!impl_) throw_moved();
    (void)impl_->ended(std::nullopt);
    return impl_->status;
}

bool process::join_until(std::chrono::steady_clock::time_point deadline) {
    if (!impl_) throw_moved();
    return impl_->ended(deadline);
}

process_status process::status() const {
    if (!impl_) throw_moved();
    (void)impl_->ended(std::chrono::steady_clock::time_point::min());
    return impl_->status;
}

void process::terminate() {
    if (impl_ && running()) impl_->child.signal_group(SIGTERM);
}

void process::kill() {
    if (impl_ && running()) impl_->child.signal_group(SIGKILL);
}

}  // namespace bulkhead
