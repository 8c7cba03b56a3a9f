// Whatever a task has started ends with its worker, however the worker ends, and with the parent.
#include "support/family.hpp"
#include "support/program.hpp"
#include "support/scene.hpp"

#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>

namespace {

using namespace test;
using bulkhead::process_pool;
using bulkhead::task_options;

void await_all_dead(const fs::path& born) {
    const auto pids = family(born);
    BOOST_TEST(pids.size() == 5U);
    for (const pid_t pid : pids) await_dead(pid);
}

void beget_and_crash(const fs::path& born) {
    beget(born);
    std::raise(SIGSEGV);
}

void beget_plainly_and_crash(const fs::path& born) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        while (true) ::pause();
    }
    announce(born, std::to_string(pid));
    std::raise(SIGSEGV);
}

/// A child that is that program of the tests', once it has written to `log`.
void let_run(const std::string& name, const fs::path& log, bool with_session) {
    const std::string program = BULKHEAD_TEST_PROGRAMS "/" + name;
    if (::fork() == 0) {
        if (with_session) ::setsid();
        ::execl(program.c_str(), program.c_str(), log.c_str(), nullptr);
        ::_exit(127);
    }
    until([&] { return lines_of(log).size() > 3; });
}

void let_run_away(const fs::path& log) { let_run("runaway", log, false); }

/// What it leaves behind has a session of its own, and is another program at each moment.
void leave_something_restless_behind(const fs::path& log) {
    let_run("restless", log, true);
    std::raise(SIGSEGV);
}

/// The process it leaves behind has a session of its own, and goes on without its first thread.
void leave_a_thread_behind(const fs::path& born) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::setsid();
        std::thread([] {
            while (true) ::pause();
        }).detach();
        ::syscall(SYS_exit, 0);  // this thread only
    }
    until([&] { return process_state(std::to_string(pid)) == 'Z'; });
    announce(born, std::to_string(pid));
}

bool some_thread_lives(pid_t pid) {
    const std::string process = std::to_string(pid);
    std::error_code ignored;
    for (const auto& thread : fs::directory_iterator("/proc/" + process + "/task", ignored)) {
        const char state = process_state(process + "/task/" + thread.path().filename().string());
        if (state != '\0' && state != 'Z' && state != 'X') return true;
    }
    return false;
}

/// Dies at about the moment at which its child's exec replaces the environment that tells whose it is.
void leave_another_program_behind() {
    if (::fork() == 0) {
        ::setsid();
        ::execlp("sleep", "sleep", "1000", nullptr);
        ::_exit(127);
    }
    ::usleep(static_cast<useconds_t>(::getpid() % 8) * 100);
    ::_exit(1);
}

/// Returns when the daemon runs its program: until then it has the environment that it was born with.
void leave_for_good(const fs::path& born) {
    int until_exec[2] = {};
    if (::pipe2(until_exec, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::setsid();
        ::unsetenv("BULKHEAD_COMPARTMENT");
        ::execlp("sleep", "sleep", "1000", nullptr);
        ::_exit(127);
    }
    ::close(until_exec[1]);
    char nothing = 0;
    while (::read(until_exec[0], &nothing, 1) != 0) {
    }
    ::close(until_exec[0]);
    announce(born, std::to_string(pid));
}

void stop(pid_t pid) {
    ::kill(pid, SIGSTOP);
    until([&] { return process_state(std::to_string(pid)) == 'T'; });
}

void nest_and_beget(int depth, const fs::path& born) {
    if (depth == 0) {
        beget_and_hang(born);
    } else {
        process_pool pool(1);
        pool.submit(nest_and_beget, depth - 1, born).get();
    }
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(descendants, scene)

BOOST_AUTO_TEST_CASE(they_die_with_a_task_that_crashes) {
    process_pool pool(1);
    (void)error_of<bulkhead::worker_crashed>(pool.submit(beget_and_crash, file("born")));
    await_all_dead(file("born"));
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(they_die_also_while_they_become_another_program) {
    process_pool pool(1);
    for (int i = 0; i != 5; ++i) {
        const auto log = file("log-" + std::to_string(i));
        auto f = pool.submit(leave_something_restless_behind, log);
        (void)error_of<bulkhead::worker_crashed>(std::move(f));
        await_dead(static_cast<pid_t>(std::stol(lines_of(log).at(0))));
    }
}

BOOST_AUTO_TEST_CASE(they_die_with_a_task_that_is_late) {
    process_pool pool({.workers = 1, .kill_grace = 100ms});
    auto late = pool.submit(task_options{.timeout = 2s}, beget_and_hang, file("born"));
    const auto born = family(file("born"));
    (void)error_of<bulkhead::task_timeout>(std::move(late));
    await_all_dead(file("born"));
}

BOOST_AUTO_TEST_CASE(they_die_with_a_task_that_is_cancelled_or_terminated) {
    process_pool pool({.workers = 2, .kill_grace = 100ms});
    auto first = pool.submit(beget_and_hang, file("one"));
    auto second = pool.submit(beget_and_hang, file("two"));
    await(file("one"));
    await(file("two"));
    BOOST_TEST(first.cancel());
    await_all_dead(file("one"));
    pool.terminate();
    await_all_dead(file("two"));
}

BOOST_AUTO_TEST_CASE(they_die_with_a_worker_that_has_nothing_to_do_any_more) {
    {
        process_pool pool(1);
        pool.submit(beget, file("born")).get();
        for (const pid_t pid : family(file("born"))) BOOST_TEST(!is_dead(pid));
    }
    for (const pid_t pid : family(file("born"))) BOOST_TEST(is_dead(pid));
}

BOOST_AUTO_TEST_CASE(they_die_with_a_process) {
    {
        bulkhead::process one(beget, file("one"));
        BOOST_TEST(one.join().success());
        bulkhead::process two(beget_and_hang, file("two"));
        await(file("two"));
        two.kill();
        await_all_dead(file("one"));
    }
    for (const pid_t pid : family(file("two"))) BOOST_TEST(is_dead(pid));
}

BOOST_AUTO_TEST_CASE(they_die_while_they_start_others) {
    process_pool pool(1);
    pool.submit(let_run_away, file("log")).get();
    pool.shutdown();
    until([&] { return processes_marked(mark()).empty(); });
}

BOOST_AUTO_TEST_CASE(they_die_without_their_first_thread) {
    process_pool pool(1);
    pool.submit(leave_a_thread_behind, file("born")).get();
    const pid_t pid = await_pid(file("born"));
    BOOST_TEST(some_thread_lives(pid));
    pool.shutdown();
    until([&] { return !some_thread_lives(pid); });
}

BOOST_AUTO_TEST_CASE(they_die_while_they_become_other_programs) {
    process_pool pool({.workers = 2, .worker_output = bulkhead::discard});
    std::vector<bulkhead::future<void>> all;
    for (int i = 0; i != 60; ++i) all.push_back(pool.submit(leave_another_program_behind));
    for (auto& f : all) (void)error_of<bulkhead::worker_crashed>(std::move(f));
    pool.shutdown();
    until([&] { return processes_marked(mark()).empty(); });
}

BOOST_AUTO_TEST_CASE(those_of_the_other_tasks_live_on) {
    process_pool pool({.workers = 2, .kill_grace = 100ms});
    auto kept = pool.submit(beget_and_hang, file("kept"));
    auto ended = pool.submit(beget_and_hang, file("ended"));
    const auto living = family(file("kept"));
    await(file("ended"));
    BOOST_TEST(ended.cancel());
    await_all_dead(file("ended"));
    for (const pid_t pid : living) BOOST_TEST(!is_dead(pid));
    BOOST_TEST(kept.cancel());
}

BOOST_AUTO_TEST_CASE(one_that_drops_the_variable_and_has_a_session_of_its_own_may_stay) {
    {
        process_pool pool(1);
        pool.submit(leave_for_good, file("born")).get();
    }
    const pid_t pid = await_pid(file("born"));
    BOOST_TEST(!is_dead(pid));
    ::kill(pid, SIGKILL);
}

BOOST_AUTO_TEST_CASE(they_die_with_a_killed_parent) {
    program parent(*this, "doomed_parent", {"begetting", file("born")});
    await(file("born"));
    parent.kill();
    await_all_dead(file("born"));
    until([&] { return processes_marked(mark()).empty(); });
}

BOOST_AUTO_TEST_CASE(they_die_with_a_killed_parent_in_pools_inside_tasks) {
    process_pool pool({.workers = 1, .kill_grace = 50ms});
    auto f = pool.submit(nest_and_beget, 2, file("born"));
    await(file("born"));
    ::kill(pids_of(pool).at(0), SIGKILL);
    (void)error_of<bulkhead::worker_crashed>(std::move(f));
    await_all_dead(file("born"));
}

BOOST_AUTO_TEST_CASE(a_program_that_orphans_come_to_reaps_those_of_its_workers) {
    // As the first process of a container.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    {
        process_pool pool(1);
        auto f = pool.submit(beget_plainly_and_crash, file("born"));
        const pid_t orphan = await_pid(file("born"));
        (void)error_of<bulkhead::worker_crashed>(std::move(f));
        until([&] { return is_gone(orphan); });
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

BOOST_AUTO_TEST_CASE(a_killed_keeper_is_replaced) {
    process_pool pool(1);
    auto f = pool.submit(beget_and_hang, file("born"));
    await(file("born"));
    const auto first = await_keeper(::getpid());
    ::kill(first[0], SIGKILL);
    until([&] {
        const auto now = keepers_of(::getpid());
        return now.size() == 1 && now != first;
    });
    BOOST_TEST(f.cancel());
    await_all_dead(file("born"));
}

BOOST_AUTO_TEST_CASE(a_keeper_that_was_killed_is_missed_when_a_process_or_an_idle_pool_ends) {
    const auto kill_keeper = [] {
        const auto keeper = await_keeper(::getpid());
        ::kill(keeper[0], SIGKILL);
        await_dead(keeper[0]);
    };
    {
        bulkhead::process child(beget_and_hang, file("one"));
        await(file("one"));
        kill_keeper();
        child.kill();
        child.join();
    }
    await_all_dead(file("one"));
    {
        process_pool pool(1);
        pool.submit(beget, file("two")).get();
        kill_keeper();
        pool.shutdown();
    }
    await_all_dead(file("two"));
}

BOOST_AUTO_TEST_CASE(the_keeper_of_a_killed_keepers_parent_knows_them_too) {
    program parent(*this, "doomed_parent", {"begetting", file("born")});
    await(file("born"));
    const auto first = await_keeper(parent.pid());
    ::kill(first[0], SIGKILL);
    until([&] {
        const auto now = keepers_of(parent.pid());
        return now.size() == 1 && now != first;
    });
    parent.kill();
    await_all_dead(file("born"));
    until([&] { return processes_marked(mark()).empty(); });
}

BOOST_AUTO_TEST_CASE(a_stopped_keeper_holds_nobody_up) {
    process_pool pool(2);
    (void)pids_of(pool);
    const auto keeper = await_keeper(::getpid());
    ::kill(keeper[0], SIGSTOP);
    for (int i = 0; i != 20; ++i) {
        (void)error_of<bulkhead::worker_crashed>(pool.submit([] { std::raise(SIGSEGV); }));
        BOOST_TEST(pool.submit(square, i).get() == i * i);
    }
}

BOOST_AUTO_TEST_CASE(a_stopped_keeper_goes_on_when_a_worker_or_its_parent_is_killed) {
    {
        process_pool pool(1);
        auto f = pool.submit(beget_and_hang, file("of a worker"));
        await(file("of a worker"));
        stop(await_keeper(::getpid())[0]);
        ::kill(pids_of(pool).at(0), SIGKILL);
        (void)error_of<bulkhead::worker_crashed>(std::move(f));
        await_all_dead(file("of a worker"));
    }
    program parent(*this, "doomed_parent", {"begetting", file("of the parent")});
    await(file("of the parent"));
    stop(await_keeper(parent.pid())[0]);
    parent.kill();
    await_all_dead(file("of the parent"));
    until([&] { return processes_marked(mark()).empty(); });
}

BOOST_AUTO_TEST_CASE(
    a_keeper_stopped_before_its_first_statement_goes_on_when_its_parent_is_killed) {
    program parent(*this, "doomed_parent", {"begetting", file("born")});
    pid_t keeper = 0;
    until([&] {
        const auto children = children_of(parent.pid());
        const auto found = std::ranges::find_if(children, is_keeper);
        if (found != children.end()) keeper = *found;
        return keeper != 0;
    });
    stop(keeper);
    await(file("born"));
    parent.kill();
    await_all_dead(file("born"));
    until([&] { return is_dead(keeper); });
}

BOOST_AUTO_TEST_CASE(signals_meant_for_a_program_do_not_end_its_keeper_however_young_it_is) {
    for (int i = 0; i != 10; ++i) {
        std::atomic<pid_t> young = 0;
        const std::jthread finder([&](const std::stop_token& over) {
            while (young == 0 && !over.stop_requested()) {
                for (const pid_t child : children_of(::getpid())) {
                    if (!is_keeper(child)) continue;
                    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::kill(child, signal);
                    young = child;
                }
            }
        });
        process_pool pool(1);
        until([&] { return young != 0; });
        BOOST_TEST(pool.submit(square, i).get() == i * i);
        BOOST_TEST(await_keeper(::getpid())[0] == young);
    }
}

BOOST_AUTO_TEST_CASE(there_is_one_keeper_while_there_are_workers_and_none_after) {
    {
        process_pool one(2);
        process_pool two({.workers = 1, .idle_timeout = 1ms});
        bulkhead::process three(square, 1);
        const auto keeper = await_keeper(::getpid());
        // Signals to the program's own children by name or session are not meant for it.
        for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
            ::kill(keeper.at(0), signal);
        }
        for (int i = 0; i != 10; ++i) BOOST_TEST(two.submit(square, i).get() == i * i);
        BOOST_TEST((keepers_of(::getpid()) == keeper));
    }
    BOOST_TEST(keepers_of(::getpid()).empty());
    process_pool resting({.workers = 2, .idle_timeout = 1ms});
    BOOST_TEST(resting.submit(square, 3).get() == 9);
    until([&] { return keepers_of(::getpid()).empty(); });
    BOOST_TEST(resting.submit(square, 4).get() == 16);
}

BOOST_AUTO_TEST_SUITE_END()
