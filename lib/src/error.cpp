// The sentences of error.hpp.
#include <bulkhead/error.hpp>

#include <csignal>
#include <cstring>

namespace bulkhead {
namespace {

std::string quoted(const std::string& task_name) {
    return task_name.empty() ? "a task" : "task '" + task_name + "'";
}

std::string crash_sentence(const process_status& status, pid_t pid, task_phase phase,
                           const std::string& task_name) {
    std::string doing;
    switch (phase) {
        case task_phase::decode:
            doing = "decoding the arguments of ";
            break;
        case task_phase::run:
            doing = "running ";
            break;
        case task_phase::encode:
            doing = "encoding the result of ";
            break;
    }
    return "bulkhead: worker " + std::to_string(pid) + " " + status.to_string() + " while " +
           doing + quoted(task_name);
}

/// What the status does not say already.
std::string cause_sentence(const crash_details& details) {
    std::string text;
    switch (details.cause) {
        case crash_cause::stack_overflow:
            text = ": its stack overflowed";
            break;
        case crash_cause::memory_limit:
            text = ": it had used up its memory limit";
            break;
        case crash_cause::out_of_memory:
            text = ": the kernel ran out of memory";
            break;
        case crash_cause::resource_limit:
            text = ": it exceeded a resource limit";
            break;
        case crash_cause::misbehaved:
            text = ": it had written garbage into its channel to the pool";
            break;
        default:
            break;
    }
    if (!details.where.empty()) text += ", in " + details.where;
    return text;
}

std::string seconds(std::chrono::nanoseconds time) {
    const auto ms = std::chrono::duration<double, std::milli>(time).count();
    char text[32];
    std::snprintf(text, sizeof text, ms < 1000 ? "%.4g ms" : "%.4g s", ms < 1000 ? ms : ms / 1000);
    return text;
}

/// Its last line, as far as it fits into a sentence.
std::string last_words(std::string_view text) {
    constexpr std::size_t characters_max = 200;
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
    if (text.empty()) return {};
    const auto line = text.rfind('\n');
    if (line != std::string_view::npos) text.remove_prefix(line + 1);
    return "; its stderr ends with \"" + std::string(text.substr(0, characters_max)) + "\"";
}

}  // namespace

std::string process_status::to_string() const {
    if (running()) return "is running";
    if (kind_ == kind::unknown) {
        return "ended in an unknown way (its status went to another wait of this program)";
    }
    if (exited()) return "exited with code " + std::to_string(value_);
    const char* name = ::sigabbrev_np(value_);
    std::string text = "was killed by ";
    text += name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(value_);
    if (core_dumped_) text += " (core dumped)";
    return text;
}

std::string_view to_string(task_phase phase) noexcept {
    switch (phase) {
        case task_phase::decode:
            return "decode";
        case task_phase::run:
            return "run";
        case task_phase::encode:
            return "encode";
    }
    return "unknown";
}

std::string_view to_string(crash_cause cause) noexcept {
    switch (cause) {
        case crash_cause::unknown:
            return "unknown";
        case crash_cause::exited:
            return "exited";
        case crash_cause::fault:
            return "fault";
        case crash_cause::stack_overflow:
            return "stack overflow";
        case crash_cause::aborted:
            return "aborted";
        case crash_cause::memory_limit:
            return "memory limit";
        case crash_cause::out_of_memory:
            return "out of memory";
        case crash_cause::resource_limit:
            return "resource limit";
        case crash_cause::killed:
            return "killed";
        case crash_cause::misbehaved:
            return "misbehaved";
    }
    return "unknown";
}

worker_crashed::worker_crashed(process_status status, pid_t pid, task_phase phase,
                               std::string task_name, std::string stderr_tail,
                               crash_details details)
    : error(crash_sentence(status, pid, phase, task_name) + cause_sentence(details) +
            last_words(stderr_tail)),
      status_(status),
      pid_(pid),
      phase_(phase),
      task_name_(std::move(task_name)),
      stderr_tail_(std::move(stderr_tail)),
      details_(std::move(details)) {}

task_timeout::task_timeout(std::chrono::nanoseconds timeout, pid_t pid,
                           const std::string& task_name)
    : error("bulkhead: " + quoted(task_name) + " ran longer than its timeout of " +
            seconds(timeout) + "; its worker " + std::to_string(pid) + " was killed"),
      timeout_(timeout),
      pid_(pid) {}

remote_error::remote_error(remote_info info)
    : error("bulkhead: " + quoted(info.task_name()) + " threw " + info.type_name() +
            (info.message().empty() ? "" : ": " + info.message())),
      remote_info(std::move(info)) {}

}  // namespace bulkhead
