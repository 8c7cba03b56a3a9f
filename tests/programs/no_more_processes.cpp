// no_more_processes SPARES: a pool comes up; from then on the system refuses every new process with EAGAIN,
// as at a limit of processes, and its workers crash. Prints what the queued tasks failed with, each once.
#include "support/scene.hpp"

#include <cstddef>
#include <iostream>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <set>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

/// In all threads of this process, for good. Threads may still be made. False where it is not permitted.
bool refuse_new_processes() {
    constexpr auto refused = SECCOMP_RET_ERRNO | EAGAIN;
    constexpr auto absent = SECCOMP_RET_ERRNO | ENOSYS;
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
#ifdef SYS_fork
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fork, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, refused),
#endif
#ifdef SYS_vfork
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vfork, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, refused),
#endif
        // Its flags lie in memory, which a filter cannot read: the C library falls back to clone.
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, absent),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, refused),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{std::size(rules), rules};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) ==
               0;
}

int run(std::size_t spares) {
    bulkhead::process_pool pool({.workers = 1, .spare_workers = spares});
    if (pool.submit(test::square, 3).get() != 9) return 1;
    while (pool.stats().spares != spares) ::usleep(1000);
    if (!refuse_new_processes()) return 77;

    int crashed = 0;
    std::set<std::string> causes;
    std::vector<bulkhead::future<void>> queued;
    try {
        for (int i = 0; i != 20; ++i) {
            queued.push_back(pool.submit([] { std::_Exit(5); }));
        }
    } catch (const bulkhead::pool_broken& broken) {
        causes.insert(broken.what());
    }
    for (auto& one : queued) {
        try {
            one.get();
            return 1;
        } catch (const bulkhead::worker_crashed&) {
            ++crashed;
        } catch (const bulkhead::pool_broken& broken) {
            causes.insert(broken.what());
        }
    }
    std::cout << crashed << " crashed\n";
    for (const auto& cause : causes) std::cout << cause << '\n';
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    if (argc != 2) return 2;
    const int code = run(static_cast<std::size_t>(std::stoul(argv[1])));
    std::cout.flush();
    ::_exit(code);  // LeakSanitizer would start a process to look for leaks
}
