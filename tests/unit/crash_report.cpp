// What is made of a dead worker's report, and of reports that no honest handler wrote.
#include "os/crash_report.hpp"
#include "os/symbols.hpp"
#include "pool/crash_cause.hpp"

#include "support/forked.hpp"

#include <cstring>
#include <fstream>
#include <memory>
#include <sys/stat.h>

namespace {

using bulkhead::crash_cause;
using bulkhead::process_status;
using bulkhead::detail::crash_evidence;
using bulkhead::os::crash_account;
using report_type = bulkhead::os::crash_report;

crash_cause cause(const crash_evidence& evidence) {
    return bulkhead::detail::explain(evidence).cause;
}

process_status by(int signal) { return process_status::from_signal(signal, false); }

crash_account account_of(int signal) {
    crash_account account;
    account.signal = signal;
    account.complete = true;
    account.by_itself = true;
    return account;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(crash_report)

BOOST_AUTO_TEST_CASE(the_first_cause_wins) {
    BOOST_TEST((cause({.status = process_status::from_exit(0)}) == crash_cause::exited));
    BOOST_TEST((cause({.status = process_status::unknown()}) == crash_cause::unknown));
    BOOST_TEST((cause({.status = by(SIGKILL)}) == crash_cause::killed));
    BOOST_TEST(
        (cause({.status = by(SIGKILL), .oom_kill_counted = true}) == crash_cause::out_of_memory));
    BOOST_TEST((cause({.status = by(SIGKILL), .killed_as_liar = true, .oom_kill_counted = true}) ==
                crash_cause::misbehaved));
    BOOST_TEST((cause({.status = by(SIGTERM)}) == crash_cause::killed));
    BOOST_TEST((cause({.status = by(SIGXCPU)}) == crash_cause::resource_limit));
    BOOST_TEST((cause({.status = by(SIGXFSZ)}) == crash_cause::resource_limit));
    BOOST_TEST((cause({.status = by(SIGSEGV)}) == crash_cause::fault));
    BOOST_TEST((cause({.status = by(SIGABRT)}) == crash_cause::aborted));
    BOOST_TEST(
        (cause({.status = by(SIGABRT), .account = account_of(SIGABRT)}) == crash_cause::aborted));
}

BOOST_AUTO_TEST_CASE(a_fault_at_the_memory_limit_is_the_limits) {
    crash_evidence evidence{
        .status = by(SIGSEGV), .account = account_of(SIGSEGV), .memory_max_bytes = 100'000'000};
    evidence.account->data_bytes = 50'000'000;
    BOOST_TEST((cause(evidence) == crash_cause::fault));
    evidence.account->data_bytes = 99'000'000;
    BOOST_TEST((cause(evidence) == crash_cause::memory_limit));
    evidence.status = by(SIGABRT);  // not what the account tells of
    BOOST_TEST((cause(evidence) == crash_cause::aborted));
    evidence.status = by(SIGSEGV);
    evidence.account->stack_overflow = true;
    BOOST_TEST((cause(evidence) == crash_cause::stack_overflow));
    evidence.account->by_itself = false;
    BOOST_TEST((cause(evidence) == crash_cause::killed));
}

BOOST_AUTO_TEST_CASE(a_report_that_is_not_complete_tells_the_signal) {
    const auto report = std::make_unique<report_type>();
    BOOST_TEST(!bulkhead::os::read_crash(*report, 1).has_value());
    report->state = report_type::writing;
    report->signal = SIGSEGV;
    report->frames_count = 3;
    const auto begun = bulkhead::os::read_crash(*report, 1);
    BOOST_TEST_REQUIRE(begun.has_value());
    BOOST_TEST(!begun->complete);
    BOOST_TEST(begun->signal == SIGSEGV);
    BOOST_TEST(begun->backtrace.empty());
    BOOST_TEST((cause({.status = by(SIGALRM), .account = begun}) == crash_cause::fault));
    BOOST_TEST((cause({.status = by(SIGALRM)}) == crash_cause::killed));
    report->state = report_type::written;
    BOOST_TEST(bulkhead::os::read_crash(*report, 1).has_value());
}

BOOST_AUTO_TEST_CASE(garbage_in_a_report_is_read_as_some_report) {
    test::random_numbers random;
    const auto report = std::make_unique<report_type>();
    for (int round = 0; round != 2000; ++round) {
        auto* bytes = reinterpret_cast<unsigned char*>(report.get());
        for (std::size_t i = 0; i != sizeof *report; ++i) {
            bytes[i] = static_cast<unsigned char>(random(256));
        }
        report->state = report_type::written;
        if (round % 2 != 0) report->frames_count = random(60);
        if (round % 4 == 3) {
            // As a liar would: a file that is here, and any offset in it.
            for (auto& path : report->modules) std::strcpy(path.data(), "/proc/self/exe");
            for (auto& frame : report->frames) frame.module = random(14);
        }
        const auto account = bulkhead::os::read_crash(*report, 1);
        BOOST_TEST_REQUIRE(account.has_value());
        BOOST_TEST(account->backtrace.size() <= bulkhead::os::crash_frames_max);
        for (const auto& frame : account->backtrace) BOOST_TEST(frame.size() < 600U);
    }
}

BOOST_AUTO_TEST_CASE(a_file_that_this_program_does_not_run_is_named_and_not_opened) {
    const std::string pipe = "/tmp/bulkhead-unit-pipe-" + std::to_string(::getpid());
    BOOST_TEST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    // Opening it would wait for a writer.
    const auto names = bulkhead::os::names_of({{pipe, 0x10}, {"/no/such/file", 0x20}, {"", 1}});
    ::unlink(pipe.c_str());
    BOOST_TEST(names.at(0).text == "bulkhead-unit-pipe-" + std::to_string(::getpid()) + "+0x10");
    BOOST_TEST(names.at(1).text == "file+0x20");
    BOOST_TEST(names.at(2).text == "+0x1");
    for (const auto& name : names) BOOST_TEST(name.function.empty());
}

BOOST_AUTO_TEST_SUITE_END()
