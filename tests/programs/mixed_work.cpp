// mixed_work LOG: tasks of every kind on a pool of two, a crash and a cancelled one among them. Exit code
// 0 when all ended as they must.
#include "support/mixed_work.hpp"

namespace {

[[noreturn]] void crash() {
    ::raise(SIGSEGV);
    std::abort();
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    if (argc != 2) return 2;
    bulkhead::process_pool pool({.workers = 2, .kill_grace = std::chrono::milliseconds(20)});
    const auto counts = test::do_mixed_work(pool, argv[1]);
    if (counts.wrong != 0 || counts.miscounted != 0 || counts.crashed != 0) return 1;
    for (int i = 0; i != 8; ++i) {
        auto crashing = pool.submit(crash);
        const std::string started = std::string(argv[1]) + ".started" + std::to_string(i);
        auto hanging = pool.submit(test::hang, test::fs::path(started));
        test::await(started);
        (void)hanging.cancel();
        crashing.wait();
    }
    return 0;
}
