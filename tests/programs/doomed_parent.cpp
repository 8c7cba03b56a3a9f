// doomed_parent MODE READY [N]: gets into the state MODE, makes the file READY, and waits to be killed.
#include "support/family.hpp"

#include <bulkhead/bulkhead.hpp>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/prctl.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

namespace fs = std::filesystem;
using bulkhead::process_pool;

void announce(const fs::path& file) {
    const fs::path unfinished = file.string() + ".tmp";
    std::ofstream(unfinished) << ::getpid();
    fs::rename(unfinished, file);
}

int square(int x) { return x * x; }

void hang() {
    while (true) ::pause();
}

void announce_and_hang(const fs::path& file) {
    announce(file);
    hang();
}

void nest(int depth, const fs::path& ready) {
    if (depth == 0) announce_and_hang(ready);
    process_pool pool(1);
    pool.submit(nest, depth - 1, ready).get();
}

volatile std::sig_atomic_t interrupts = 0;

int run_until_interrupted(const fs::path& ready) {
    struct sigaction note {};
    note.sa_handler = [](int) { interrupts = 1; };
    ::sigaction(SIGINT, &note, nullptr);
    process_pool pool(2);
    auto before = pool.submit(square, 7);
    (void)before.get();
    announce(ready);
    while (interrupts == 0) ::usleep(500);
    std::printf("interrupted, and still %d\n", pool.submit(square, 7).get());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc < 3) return 2;
    const std::string mode = argv[1];
    const fs::path ready = argv[2];
    if (mode == "interrupt") return run_until_interrupted(ready);
    if (mode == "idle") {
        process_pool pool(3);
        if (pool.submit(square, 3).get() == 9) announce(ready);
        hang();
    } else if (mode == "busy") {
        process_pool pool(2);
        const std::string large(5'000'000, 'x');
        for (int i = 0; i != 10; ++i) {
            (void)pool.submit(
                [](const fs::path& file, const std::string&) { announce_and_hang(file); }, ready,
                large);
        }
        hang();
    } else if (mode == "grouped") {
        process_pool pool({.workers = 2,
                           .worker_memory_max_bytes = std::uint64_t{1} << 30,
                           .worker_cgroup = argc > 3 ? argv[3] : ""});
        pool.submit(test::beget_and_hang, ready).get();
    } else if (mode == "begetting") {
        process_pool pool(1);
        pool.submit(test::beget_and_hang, ready).get();
    } else if (mode == "process") {
        const bulkhead::process one(announce_and_hang, ready);
        hang();
    } else if (mode == "nested") {
        nest(3, ready);
    } else if (mode == "threads") {
        // A pool made and used by a thread that is not the main one.
        std::jthread([&] {
            process_pool pool(2);
            (void)pool.submit(announce_and_hang, ready);
            hang();
        }).join();
    } else if (mode == "starting") {
        const int enough = argc > 3 ? std::atoi(argv[3]) : 0;
        std::atomic<int> started{0};
        if (enough == 0) announce(ready);
        process_pool pool({.workers = 12, .on_event = [&](const bulkhead::pool_event& e) {
                               if (e.what == bulkhead::pool_event::kind::worker_started &&
                                   ++started == enough) {
                                   announce(ready);
                               }
                           }});
        hang();
    }
    return 2;
}
