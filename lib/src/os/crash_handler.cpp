// The worker's side of a crash report: async-signal-safe calls only, no allocation, no locks.
#include "os/crash_report.hpp"

#include <boost/stacktrace/safe_dump_to.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

namespace bulkhead::os {
namespace {

constexpr std::size_t handler_stack_bytes = std::size_t{64} << 10;
/// The unwinder may find the process in a state that it cannot walk. SIGALRM ends it then.
constexpr time_t handler_seconds_max = 5;
/// What the handler itself puts on top: collecting, the handler, the kernel's trampoline.
constexpr std::size_t own_frames_max = 16;

crash_report* destination = nullptr;
pid_t reporting_process = 0;

struct registers {
    std::uint64_t pc;
    std::uint64_t sp;
    std::uint64_t return_address;  // of a function that was just called; 0 when not known
};

registers registers_of(const void* context) noexcept {
    const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    return {static_cast<std::uint64_t>(machine.gregs[REG_RIP]),
            static_cast<std::uint64_t>(machine.gregs[REG_RSP]), 0};
#elif defined(__aarch64__)
    return {machine.pc, machine.sp, machine.regs[30]};
#else
    return {};
#endif
}

/// Reads a file line by line through a buffer on the stack; longer lines are cut.
template <class Use>
void each_line(const char* path, Use&& use) noexcept {
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    char buffer[4096];
    std::size_t filled = 0;
    while (true) {
        const ssize_t got = ::read(file, buffer + filled, sizeof buffer - filled);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        filled += static_cast<std::size_t>(got);
        std::size_t start = 0;
        while (const void* end = std::memchr(buffer + start, '\n', filled - start)) {
            const auto stop = static_cast<std::size_t>(static_cast<const char*>(end) - buffer);
            use(std::string_view(buffer + start, stop - start));
            start = stop + 1;
        }
        if (start == 0 && filled == sizeof buffer) start = filled;
        std::memmove(buffer, buffer + start, filled - start);
        filled -= start;
    }
    ::close(file);
}

/// The number at the front, which is taken off with the character behind it.
std::uint64_t take_number(std::string_view& text, unsigned base) noexcept {
    std::uint64_t value = 0;
    while (!text.empty()) {
        const char c = text.front();
        text.remove_prefix(1);
        const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                               : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                                                      : base;
        if (digit >= base) break;
        value = value * base + digit;
    }
    return value;
}

std::string_view take_word(std::string_view& text) noexcept {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    return word;
}

std::uint32_t module_index(crash_report& report, std::string_view path) noexcept {
    for (std::uint32_t i = 0; i != crash_modules_max; ++i) {
        auto& known = report.modules[i];
        if (known[0] == '\0') {
            const std::size_t length = std::min(path.size(), known.size() - 1);
            std::memcpy(known.data(), path.data(), length);
            return i;
        }
        if (path.substr(0, known.size() - 1) == known.data()) return i;
    }
    return crash_report::no_module;
}

/// Turns the frames' addresses into places in files: the parent has these files elsewhere.
void place_frames(crash_report& report, const std::uint64_t* addresses) noexcept {
    for (std::uint32_t i = 0; i != report.frames_count; ++i) {
        report.frames[i] = {addresses[i], crash_report::no_module, i == 0 ? 0U : 1U};
    }
    each_line("/proc/self/maps", [&](std::string_view line) {
        const std::uint64_t first = take_number(line, 16);
        const std::uint64_t past = take_number(line, 16);
        (void)take_word(line);  // permissions
        const std::uint64_t offset = take_number(line, 16);
        const auto path_at = line.find('/');
        if (path_at == std::string_view::npos) return;
        for (std::uint32_t i = 0; i != report.frames_count; ++i) {
            if (addresses[i] < first || addresses[i] >= past) continue;
            report.frames[i].module = module_index(report, line.substr(path_at));
            if (report.frames[i].module != crash_report::no_module) {
                report.frames[i].offset = addresses[i] - first + offset;
            }
        }
    });
}

std::uint64_t data_bytes() noexcept {
    std::uint64_t pages = 0;
    each_line("/proc/self/statm", [&](std::string_view line) {
        for (int i = 0; i != 6; ++i) pages = take_number(line, 10);
    });
    return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void fill(crash_report& report, int signal, const siginfo_t& info, const void* context) noexcept {
    const registers at = registers_of(context);
    const bool from_kernel = info.si_code > 0;
    report.signal = static_cast<std::uint32_t>(signal);
    report.sender = from_kernel ? 0 : info.si_pid;
    report.stack_pointer = at.sp;
    if (from_kernel && (signal == SIGSEGV || signal == SIGBUS)) {
        report.fault_address = reinterpret_cast<std::uintptr_t>(info.si_addr);
    }
    report.data_bytes = data_bytes();

    std::uint64_t stack[crash_frames_max + own_frames_max + 1] = {};
    static_assert(sizeof(stack[0]) == sizeof(void*));
    (void)boost::stacktrace::safe_dump_to(stack, sizeof stack);
    const std::uint64_t* const past = std::find(std::begin(stack), std::end(stack), 0U);
    const std::uint64_t* first = std::find(static_cast<const std::uint64_t*>(stack), past, at.pc);
    std::uint64_t called[2] = {at.pc, at.return_address};
    const std::uint64_t* last = past;
    if (first == past) {  // a call to where there is no code: its caller is all that is known
#if defined(__x86_64__)
        // NOLINTNEXTLINE(performance-no-int-to-ptr): a register
        std::memcpy(&called[1], reinterpret_cast<const void*>(at.sp), sizeof called[1]);
#endif
        first = called;
        last = called + 2;
    }
    report.frames_count =
        static_cast<std::uint32_t>(std::min<std::ptrdiff_t>(last - first, crash_frames_max));
    place_frames(report, first);
}

void handle(int signal, siginfo_t* info, void* context) noexcept {
    static std::atomic<pid_t> writer{0};
    const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
    // A fork of the worker has the handler too, and the memory; its crash is not the worker's.
    const bool in_worker = ::getpid() == reporting_process;
    pid_t other = 0;
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    if (in_worker && writer.compare_exchange_strong(other, self)) {
        destination->state.store(crash_report::writing);
        ::sigaction(SIGALRM, &standard, nullptr);
        sigset_t alarm;
        ::sigemptyset(&alarm);
        ::sigaddset(&alarm, SIGALRM);
        ::sigprocmask(SIG_UNBLOCK, &alarm, nullptr);
        itimerval limit{};
        limit.it_value.tv_sec = handler_seconds_max;
        ::setitimer(ITIMER_REAL, &limit, nullptr);

        fill(*destination, signal, *info, context);
        destination->state.store(crash_report::written, std::memory_order_release);
    } else if (in_worker && other != self) {
        // Another thread is at it, and will end the process.
        ::usleep(static_cast<useconds_t>(handler_seconds_max) * 1'000'000);
    }
    // Comes when this handler has returned, and ends the process.
    ::sigaction(signal, &standard, nullptr);
    ::syscall(SYS_tgkill, ::getpid(), self, signal);
}

}  // namespace

void report_crashes_to(crash_report& report) {
    destination = &report;
    reporting_process = ::getpid();
    void* memory = ::mmap(nullptr, handler_stack_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;  // a crash is still a crash, only without a place
    stack_t stack{};
    stack.ss_sp = memory;
    stack.ss_size = handler_stack_bytes;
    ::sigaltstack(&stack, nullptr);
    // Now, since the unwinder may allocate at its first use.
    std::uint64_t unused[8];
    (void)boost::stacktrace::safe_dump_to(unused, sizeof unused);

    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) {
        struct sigaction present {};
        ::sigaction(signal, nullptr, &present);
        if ((present.sa_flags & SA_SIGINFO) != 0 || present.sa_handler != SIG_DFL) continue;
        struct sigaction ours {};
        ours.sa_sigaction = handle;
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK;  // a fault inside it is deadly
        ::sigaction(signal, &ours, nullptr);
    }
}

}  // namespace bulkhead::os
