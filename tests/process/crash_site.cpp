// What worker_crashed tells of why and where a worker died.
#include "support/compartment.hpp"
#include "support/program.hpp"
#include "support/scene.hpp"

#include <sys/resource.h>

namespace {

using namespace test;
using bulkhead::crash_cause;
using bulkhead::process_pool;
using bulkhead::worker_crashed;

}  // namespace

// Not in the unnamed namespace, and not inlined: their names are looked for.
namespace crash_site_test {

[[gnu::noinline]] int read_at(const volatile int* address) { return *address + 1; }

[[gnu::noinline]] int dig(volatile char* above) {
    volatile char here[4096];
    here[0] = above == nullptr ? '\1' : above[0];
    return here[0] == '\0' ? 0 : dig(here) + here[0];
}

[[gnu::noinline]] void give_up() { std::abort(); }

}  // namespace crash_site_test

namespace {

int read_null() { return 2 * crash_site_test::read_at(nullptr); }  // no tail call
int read_odd_place() {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): no such place, which is the point
    return crash_site_test::read_at(reinterpret_cast<const int*>(0xdead0000));
}
int overflow() { return crash_site_test::dig(nullptr); }

using nothing = void (*)();
void call_null() {
    volatile nothing none = nullptr;
    none();
}

/// What a worker has left whose core the kernel is writing: for as long as that takes.
void crash_for_long() {
    auto& told = own_control_block().crash;
    told.signal = SIGSEGV;
    told.state.store(bulkhead::os::crash_report::written);
    while (true) ::pause();
}

void burn_cpu() {
    const rlimit limit{1, 10};
    ::setrlimit(RLIMIT_CPU, &limit);
    while (true) {
        volatile int x = 0;
        x = x + 1;
    }
}

/// As C code does that does not look at what malloc() gives.
void fill_memory() {
    while (true) {
        auto* block = static_cast<volatile int*>(std::malloc(1 << 20));
        block[0] = 1;
    }
}

[[noreturn]] void abort_with_core(const fs::path& directory, ::rlim_t bytes_max) {
    const rlimit limit{bytes_max, bytes_max};
    if (::setrlimit(RLIMIT_CORE, &limit) != 0) std::_Exit(77);
    fs::current_path(directory);
    std::abort();
}

void die_by_own_handler() {
    ::signal(SIGSEGV, [](int) { ::_exit(3); });
    (void)read_null();
}

void crash_in_thread() {
    std::thread([] { (void)read_null(); }).join();
}

void crash_in_many_threads() {
    std::vector<std::jthread> all;
    for (int i = 0; i != 8; ++i) all.emplace_back([] { (void)read_null(); });
}

/// The fork has the worker's handler, and the memory that it writes to.
void let_a_fork_crash_then_die_silently() {
    const pid_t child = ::fork();
    if (child == 0) (void)read_null();
    ::waitpid(child, nullptr, 0);
    ::signal(SIGSEGV, SIG_DFL);
    ::raise(SIGSEGV);
}

template <class F>
worker_crashed crash_of(process_pool& pool, F f) {
    return error_of<worker_crashed>(pool.submit(f));
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(crash_site, scene)

BOOST_AUTO_TEST_CASE(the_cause_is_told) {
    process_pool pool({.workers = 1, .worker_output = bulkhead::discard});
    BOOST_TEST((crash_of(pool, [] { std::exit(0); }).cause() == crash_cause::exited));
    BOOST_TEST((crash_of(pool, [] { ::_exit(7); }).cause() == crash_cause::exited));
    BOOST_TEST((crash_of(pool, burn_cpu).cause() == crash_cause::resource_limit));
    BOOST_TEST((crash_of(pool, [] { ::raise(SIGTERM); }).cause() == crash_cause::killed));
    BOOST_TEST((crash_of(pool, read_null).cause() == crash_cause::fault));
    BOOST_TEST((crash_of(pool, [] { std::abort(); }).cause() == crash_cause::aborted));
    BOOST_TEST((crash_of(pool, [] { std::terminate(); }).cause() == crash_cause::aborted));
    const auto deep = crash_of(pool, overflow);
    BOOST_TEST((deep.cause() == crash_cause::stack_overflow));
    BOOST_TEST(contains(deep.what(), "its stack overflowed, in crash_site_test::dig"), deep.what());
    BOOST_TEST(deep.status().signal() == SIGSEGV);
}

BOOST_AUTO_TEST_CASE(a_signal_from_outside_is_told_from_the_tasks_own) {
    process_pool pool(1);
    for (const int signal : {SIGKILL, SIGTERM, SIGSEGV, SIGABRT}) {
        const auto started = file("on" + std::to_string(signal));
        auto f = pool.submit(hang, started);
        const pid_t worker = await_pid(started);
        // Amid TSan's own work its lock is held, which the handler would wait for, for ever.
        until([&] { return is_asleep(worker); });
        ::kill(worker, signal);
        const auto e = error_of<worker_crashed>(std::move(f));
        BOOST_TEST(e.status().signal() == signal);
        BOOST_TEST((e.cause() == crash_cause::killed), e.what());
    }
}

BOOST_AUTO_TEST_CASE(the_function_is_named_that_crashed) {
    process_pool pool(1);
    const auto null = crash_of(pool, read_null);
    BOOST_TEST(contains(null.where(), "crash_site_test::read_at(int const volatile*)"),
               null.where());
    BOOST_TEST(null.fault_address() == 0U);
    BOOST_TEST(contains(null.what(), "was killed by SIGSEGV"), null.what());
    BOOST_TEST(contains(null.what(), ", in crash_site_test::read_at"), null.what());
    BOOST_TEST_REQUIRE(null.backtrace().size() > 1U);
    BOOST_TEST(contains(null.backtrace()[0], null.where() + "+0x"), null.backtrace()[0]);
    BOOST_TEST(contains(joined(null.backtrace()), "read_null"), joined(null.backtrace()));
    BOOST_TEST(!contains(joined(null.backtrace()), "bulkhead::init"), joined(null.backtrace()));

    // ASan looks at its own note of the address before the address.
    const auto odd = crash_of(pool, read_odd_place);
    if (!sanitized) BOOST_TEST(odd.fault_address() == 0xdead0000U);
    const auto aborted = crash_of(pool, [] { crash_site_test::give_up(); });
    BOOST_TEST(contains(aborted.where(), "crash_site_test::give_up()"), aborted.where());
    const auto called = crash_of(pool, call_null);
    BOOST_TEST(contains(joined(called.backtrace()), "call_null"), joined(called.backtrace()));
    BOOST_TEST(contains(called.where(), "call_null"), called.where());
}

BOOST_AUTO_TEST_CASE(a_timeout_while_the_core_is_written_leaves_it_a_crash) {
    process_pool pool(1);
    const auto crash = error_of<worker_crashed>(
        pool.submit(bulkhead::task_options{.timeout = 100ms}, crash_for_long));
    BOOST_TEST(crash.status().signal() == SIGTERM);  // that of the timeout; a core's keeps its own
    BOOST_TEST(pool.stats().crashed == 1U);
    BOOST_TEST(pool.stats().timed_out == 0U);
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(whether_a_core_was_dumped_is_told) {
    if (!content("/proc/sys/kernel/core_pattern").starts_with("core")) {
        BOOST_TEST_MESSAGE("cores go elsewhere here");
        return;
    }
    process_pool pool(1);
    for (const ::rlim_t bytes_max : {::rlim_t{0}, ::rlim_t{1} << 20}) {
        const auto crash =
            error_of<worker_crashed>(pool.submit(abort_with_core, file(""), bytes_max));
        if (crash.status().exit_code() == 77) {
            BOOST_TEST_MESSAGE("no core may be dumped here");
            return;
        }
        BOOST_TEST(crash.status().signal() == SIGABRT);
        BOOST_TEST(crash.status().core_dumped() == (bytes_max != 0));
        BOOST_TEST(contains(crash.what(), "core dumped") == (bytes_max != 0), crash.what());
    }
}

BOOST_AUTO_TEST_CASE(threads_of_a_task_may_crash_also_all_at_once) {
    process_pool pool(1);
    BOOST_TEST(contains(crash_of(pool, crash_in_thread).where(), "read_at"));
    for (int i = 0; i != 20; ++i) {
        const auto e = crash_of(pool, crash_in_many_threads);
        BOOST_TEST(e.status().signal() == SIGSEGV);
        BOOST_TEST(contains(e.where(), "read_at"), e.what());
    }
}

BOOST_AUTO_TEST_CASE(a_handler_of_the_programs_own_is_left_alone) {
    process_pool pool(1);
    const auto e = crash_of(pool, die_by_own_handler);
    BOOST_TEST(e.status().exit_code() == 3);
    BOOST_TEST((e.cause() == crash_cause::exited));
    BOOST_TEST(e.backtrace().empty());
    BOOST_TEST(e.where().empty());
}

BOOST_AUTO_TEST_CASE(a_crash_of_a_tasks_child_is_not_taken_for_the_workers) {
    process_pool pool(1);
    const auto e = crash_of(pool, let_a_fork_crash_then_die_silently);
    BOOST_TEST(e.status().signal() == SIGSEGV);
    BOOST_TEST(e.backtrace().empty(), joined(e.backtrace()));
    BOOST_TEST(e.where().empty());
}

BOOST_AUTO_TEST_CASE(a_crash_at_the_memory_limit_says_so) {
    if (sanitized) return;  // they reserve terabytes
    process_pool pool({.workers = 1, .worker_memory_max_bytes = 64 << 20});
    const auto e = crash_of(pool, fill_memory);
    BOOST_TEST((e.cause() == crash_cause::memory_limit), e.what());
    BOOST_TEST(contains(e.what(), "it had used up its memory limit"), e.what());
}

BOOST_AUTO_TEST_CASE(a_worker_of_the_kernels_choice_when_memory_runs_out_is_told) {
    if (sanitized) return;  // they need more memory than the group has
    program victim(*this, "oom_victim", {});
    const auto status = victim.wait();
    if (status.exit_code() == 77) {
        BOOST_TEST_MESSAGE("no memory cgroup can be made here: " << victim.err());
        return;
    }
    BOOST_TEST(status.success(), status.to_string() << victim.err());
    BOOST_TEST(contains(victim.out(), "out of memory: bulkhead: worker"), victim.out());
    BOOST_TEST(contains(victim.out(), "was killed by SIGKILL"), victim.out());
    BOOST_TEST(contains(victim.out(), "the kernel ran out of memory"), victim.out());
}

BOOST_AUTO_TEST_SUITE_END()
