// The rules by which a death is explained. The first that fits holds.
#include "pool/crash_cause.hpp"

#include <csignal>

namespace bulkhead::detail {
namespace {

/// Of its limit: who has so much when it dies has most likely been refused more.
constexpr double at_limit_part = 0.9;

crash_cause cause_of(const crash_evidence& evidence) {
    const process_status& status = evidence.status;
    if (evidence.killed_as_liar) return crash_cause::misbehaved;
    if (status.exited()) return crash_cause::exited;
    if (!status.signaled()) return crash_cause::unknown;
    const auto& account = evidence.account;
    const bool has_account = account && account->complete && account->signal == status.signal();
    // The handler of that signal did not come to its end, and its alarm ended the process.
    const bool stuck = account && !account->complete && status.signal() == SIGALRM;
    const int signal = stuck ? account->signal : status.signal();
    const bool at_limit = has_account && evidence.memory_max_bytes != 0 &&
                          static_cast<double>(account->data_bytes) >=
                              at_limit_part * static_cast<double>(evidence.memory_max_bytes);
    switch (signal) {
        case SIGKILL:
            if (evidence.exceeded_group) return crash_cause::memory_limit;
            return evidence.oom_kill_counted ? crash_cause::out_of_memory : crash_cause::killed;
        case SIGXCPU:
        case SIGXFSZ:
            return crash_cause::resource_limit;
        case SIGABRT:
        case SIGSEGV:
        case SIGBUS:
        case SIGFPE:
        case SIGILL:
        case SIGTRAP:
        case SIGSYS:
            if (has_account && !account->by_itself) return crash_cause::killed;
            if (has_account && account->stack_overflow) return crash_cause::stack_overflow;
            if (at_limit) return crash_cause::memory_limit;
            return signal == SIGABRT ? crash_cause::aborted : crash_cause::fault;
        default:
            return crash_cause::killed;
    }
}

}  // namespace

crash_details explain(const crash_evidence& evidence) {
    crash_details details;
    details.cause = cause_of(evidence);
    if (evidence.account && evidence.account->signal == evidence.status.signal()) {
        details.where = evidence.account->where;
        details.backtrace = evidence.account->backtrace;
        details.fault_address = evidence.account->fault_address;
    }
    return details;
}

}  // namespace bulkhead::detail
