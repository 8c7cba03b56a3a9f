// Mistakes of the calling program and of the machine: a clear sentence, never a hang, nothing left.
#include "support/descriptor_limit.hpp"
#include "support/program.hpp"
#include "support/scene.hpp"

#include <limits>
#include <optional>

namespace {

using namespace test;
using bulkhead::process_pool;
using bulkhead::task_options;
using bulkhead::thread_pool;
using bulkhead::usage_error;

/// The sentence of the usage_error that `make` throws.
template <class F>
std::string refusal(F make) {
    try {
        make();
    } catch (const usage_error& e) {
        return e.what();
    }
    BOOST_ERROR("was not refused");
    return {};
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(bad_input, scene)

BOOST_AUTO_TEST_CASE(impossible_numbers_of_workers_are_refused_by_number) {
    BOOST_TEST(contains(refusal([] { process_pool pool(4097); }), "4096"));
    BOOST_TEST(contains(refusal([] { process_pool pool(-1); }), "-1"));
    BOOST_TEST(contains(refusal([] { process_pool pool({.workers = 4097}); }), "4096"));
    BOOST_TEST(contains(refusal([] { process_pool pool(UINT64_MAX); }), "4096"));
    BOOST_TEST(contains(refusal([] { process_pool pool(INT64_MIN); }), "workers"));
    BOOST_TEST(contains(refusal([] { thread_pool pool(4097); }), "4096"));
    BOOST_TEST(contains(refusal([] { thread_pool pool(-1); }), "workers"));
    BOOST_TEST(contains(refusal([] { thread_pool pool(UINT64_MAX); }), "4096"));
}

BOOST_AUTO_TEST_CASE(an_impossible_backlog_is_refused_by_name) {
    BOOST_TEST(contains(refusal([] { process_pool pool({.backlog_max = 0}); }), "backlog_max"));
    BOOST_TEST(contains(refusal([] { thread_pool pool({.backlog_max = 0}); }), "backlog_max"));
}

BOOST_AUTO_TEST_CASE(negative_times_and_retries_are_refused_by_name) {
    BOOST_TEST(contains(refusal([] { process_pool pool({.task_timeout = -1s}); }), "task_timeout"));
    BOOST_TEST(contains(refusal([] { process_pool pool({.kill_grace = -1s}); }), "kill_grace"));
    process_pool pool(1);
    BOOST_TEST(contains(
        refusal([&] { (void)pool.submit(task_options{.timeout = -1s}, square, 1); }), "timeout"));
    BOOST_TEST(contains(refusal([&] { (void)pool.submit(task_options{.retries = -1}, square, 1); }),
                        "retries"));
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(the_longest_durations_are_waited_for_and_do_not_wrap_around) {
    process_pool pool({.workers = 1, .task_timeout = std::chrono::nanoseconds::max()});
    BOOST_TEST(pool.submit(square, 3).get() == 9);
    BOOST_TEST(
        pool.submit(task_options{.timeout = std::chrono::hours(2'000'000)}, square, 4).get() == 16);
    auto f = pool.submit(hold, file("on"), file("go"));
    await(file("on"));
    std::thread release([&] { announce(file("go")); });
    BOOST_TEST(f.wait_for(std::chrono::nanoseconds::max()).ready());
    release.join();
    BOOST_TEST(f.get() > 0);
    auto g = pool.submit(square, 5);
    BOOST_TEST(g.wait_until(std::chrono::steady_clock::time_point::max()).ready());
    BOOST_TEST(g.wait_until(std::chrono::steady_clock::time_point::min()).ready());
    BOOST_TEST(g.wait_for(-1h).ready());
}

BOOST_AUTO_TEST_CASE(a_threads_timeout_is_refused_since_no_thread_can_be_killed) {
    thread_pool pool(1);
    BOOST_TEST(contains(refusal([&] { (void)pool.submit(task_options{.timeout = 1s}, square, 1); }),
                        "process_pool"));
}

BOOST_AUTO_TEST_CASE(a_null_function_is_refused) {
    process_pool pool(1);
    int (*none)(int) = nullptr;
    BOOST_TEST(contains(refusal([&] { (void)pool.submit(none, 1).get(); }), "function"));
    BOOST_TEST(contains(refusal([&] { const bulkhead::process one(none, 1); }), "function"));
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_pool_that_runs_out_of_descriptors_says_so_and_leaves_nothing) {
    // Every number of free descriptors, from none to enough for some workers.
    int came_up = 0;
    int refused = 0;
    for (::rlim_t room = 0; room != 60; ++room) {
        std::string sentence;
        try {
            const descriptor_limit tight(open_files().size() - 1 + room);
            process_pool pool(2);
            if (pool.submit(square, 3).get() == 9) ++came_up;
        } catch (const bulkhead::pool_broken& e) {
            sentence = e.what();
        } catch (const std::exception& e) {
            sentence = std::string("other: ") + e.what();
        }
        if (sentence.empty()) continue;
        ++refused;
        BOOST_TEST(contains(sentence, "EMFILE"), room << ": " << sentence);
    }
    BOOST_TEST(came_up > 0);
    BOOST_TEST(refused > 0);
}

BOOST_AUTO_TEST_CASE(a_replacement_that_cannot_be_started_fails_what_is_queued_with_the_cause) {
    for (const std::size_t spares : {0U, 1U}) {
        BOOST_TEST_CONTEXT(spares << " spares") {
            process_pool pool({.workers = 1, .spare_workers = spares});
            const auto name = std::to_string(spares);
            auto running = pool.submit(hang, file("on" + name));
            const pid_t pid = await_pid(file("on" + name));
            until([&] { return pool.stats().spares == spares; });
            // What is open stays open, and nothing else can be opened.
            std::optional<descriptor_limit> tight(std::in_place, 3);
            std::vector<bulkhead::future<void>> queued;
            for (int i = 0; i != 20; ++i) {
                queued.push_back(pool.submit([] { ::kill(::getppid(), 0); }));
            }
            ::kill(pid, SIGKILL);
            std::string sentence;
            try {
                running.get();
            } catch (const bulkhead::worker_crashed&) {
                sentence = "crashed";
            }
            std::size_t failed = 0;
            std::string cause;
            for (auto& f : queued) {
                try {
                    f.get();
                } catch (const bulkhead::pool_broken& e) {
                    ++failed;
                    cause = e.what();
                }
            }
            tight.reset();
            BOOST_TEST(sentence == "crashed");
            BOOST_TEST(failed == 20U);
            BOOST_TEST(contains(cause, "EMFILE"), cause);
            BOOST_CHECK_THROW((void)pool.submit(square, 1), bulkhead::pool_broken);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_system_that_refuses_new_processes_fails_what_is_queued_with_the_cause) {
    for (const std::string spares : {"0", "1"}) {
        program one(*this, "no_more_processes", {spares});
        const auto status = one.wait();
        if (status.exit_code() == 77) {
            BOOST_TEST_MESSAGE("no system call may be filtered here");
            return;
        }
        BOOST_TEST(status.success(), status.to_string() << one.err());
        // The worker's own task and, where there is one, that of the spare which takes its place.
        BOOST_TEST(one.out().starts_with(spares == "0" ? "1 crashed\n" : "2 crashed\n"), one.out());
        BOOST_TEST(contains(one.out(), "EAGAIN"), one.out());
    }
}

BOOST_AUTO_TEST_CASE(init_forgotten_is_told_by_the_constructor_and_starts_nothing) {
    for (const char* what : {"pool", "process"}) {
        const auto log = file(std::string("log-") + what);
        program one(*this, "without_init", {what, log});
        BOOST_TEST(one.wait().exit_code() == 3);
        BOOST_TEST(contains(one.out(), "bulkhead::init(argc, argv)"));
        BOOST_TEST(contains(one.out(), "first statement of main()"));
        BOOST_TEST(one.err() == "");
        BOOST_TEST(lines_of(log).size() == 1U);  // main() ran once: no worker was started
    }
    program uncaught(*this, "without_init", {"uncaught", file("log")});
    BOOST_TEST(uncaught.wait().signal() == SIGABRT);
    BOOST_TEST(contains(uncaught.err(), "bulkhead::init(argc, argv)"));
    BOOST_TEST(lines_of(file("log")).size() == 1U);
}

BOOST_AUTO_TEST_CASE(init_twice_is_no_mistake) {
    program one(*this, "init_twice", {});
    BOOST_TEST(one.wait().success());
    BOOST_TEST(one.out() == "49\nin a process\n");
    BOOST_TEST(one.err() == "");
}

BOOST_AUTO_TEST_CASE(a_pool_in_a_global_constructor_is_told_and_starts_nothing) {
    ::setenv("GLOBAL_POOL_MODE", "caught", 1);
    ::setenv("GLOBAL_POOL_LOG", file("log").c_str(), 1);
    program caught(*this, "global_pool", {});
    BOOST_TEST(caught.wait().exit_code() == 3);
    BOOST_TEST(contains(caught.out(), "bulkhead::init"));
    BOOST_TEST(contains(caught.out(), "global constructors"));
    BOOST_TEST(lines_of(file("log")).size() == 1U);

    ::setenv("GLOBAL_POOL_MODE", "uncaught", 1);
    ::setenv("GLOBAL_POOL_LOG", file("log2").c_str(), 1);
    program uncaught(*this, "global_pool", {});
    BOOST_TEST(uncaught.wait().signal() == SIGABRT);
    BOOST_TEST(contains(uncaught.err(), "global constructors"));
    BOOST_TEST(lines_of(file("log2")).size() == 1U);
}

BOOST_AUTO_TEST_CASE(workers_that_die_in_a_global_constructor_break_the_pool_after_a_few) {
    ::setenv("GLOBAL_POOL_MODE", "worker", 1);
    ::setenv("GLOBAL_POOL_LOG", file("log").c_str(), 1);
    program one(*this, "global_pool", {});
    BOOST_TEST(one.wait().exit_code() == 4);
    BOOST_TEST(contains(one.out(), "SIGABRT"));
    BOOST_TEST(contains(one.out(), "while it started"));
    // Itself and a bounded number of attempts.
    BOOST_TEST(lines_of(file("log")).size() == 1U + bulkhead::start_failures_max);
}

BOOST_AUTO_TEST_CASE(a_useless_dev_shm_is_told_by_a_named_queue_and_does_not_matter_to_pools) {
    for (const std::string mode : {"full", "missing", "readonly"}) {
        BOOST_TEST_CONTEXT(mode) {
            fs::create_directory(file(mode));
            program one(*this, "bad_shm", {mode, file(mode)});
            const auto status = one.wait();
            if (status.exit_code() == 77) {
                BOOST_TEST_MESSAGE(mode << ": " << one.out());
                continue;
            }
            BOOST_TEST(status.exit_code() == 3, status.to_string());
            BOOST_TEST(one.out().starts_with("49\n"), one.out());
            BOOST_TEST(contains(one.out(), "/dev/shm"), one.out());
            BOOST_TEST(one.err() == "");
        }
    }
}

BOOST_AUTO_TEST_CASE(a_program_without_stdin_stdout_and_stderr_can_use_pools) {
    program one(*this, "unusual_start", {"closed_stdio", file("told")});
    BOOST_TEST(one.wait().success());
    BOOST_TEST(content(file("told")) == "49 crashed 64 1 known");
}

BOOST_AUTO_TEST_CASE(a_program_that_ignores_sigchld_can_use_pools_and_is_told_no_wrong_status) {
    program one(*this, "unusual_start", {"ignored_sigchld", file("told")});
    BOOST_TEST(one.wait().success());
    BOOST_TEST(content(file("told")) == "49 crashed 64 1 unknown");
}

BOOST_AUTO_TEST_CASE(a_program_whose_stderr_nobody_reads_survives_what_its_workers_write) {
    program one(*this, "unusual_start", {"broken_stderr", file("told")});
    const auto status = one.wait();
    BOOST_TEST(status.success(), status.to_string());
    BOOST_TEST(content(file("told")) == "49 crashed 64 1 known");
}

BOOST_AUTO_TEST_SUITE_END()
