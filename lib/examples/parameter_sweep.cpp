// Tries a simulation with many parameters, shows how far it has come, and runs again what crashed: the
// simulation is one of those that fail now and then for no good reason.
#include <bulkhead/bulkhead.hpp>

#include <atomic>
#include <cmath>
#include <csignal>
#include <iostream>
#include <vector>

struct parameters {
    double step = 0;
    double damping = 0;
};
struct outcome {
    parameters at{};
    double error = 0;
};

/// Every seventh call dies. The count is shared by all workers.
outcome simulate(const parameters& p, const bulkhead::shared_value<std::atomic<int>>& calls) {
    if (++*calls % 7 == 0) std::raise(SIGABRT);
    double x = 1;
    double v = 0;
    for (int i = 0; i != 10'000; ++i) {
        v -= p.step * (x + p.damping * v);
        x += p.step * v;
    }
    return {p, std::abs(x) + std::abs(v)};
}

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::process_pool pool({.workers = 2, .task_timeout = std::chrono::minutes(1)});
    const bulkhead::shared_value<std::atomic<int>> calls;
    std::vector<bulkhead::future<outcome>> all;
    for (int step = 1; step <= 10; ++step) {
        for (int damping = 0; damping != 10; ++damping) {
            // By chance one set of parameters may meet several of the crashes.
            all.push_back(pool.submit(bulkhead::task_options{.retries = 20}, simulate,
                                      parameters{step * 1e-3, damping * 0.1}, calls));
        }
    }
    outcome best{{}, 1e9};
    for (auto& one : bulkhead::progress_bar(bulkhead::as_completed(all), {.label = "sweep"})) {
        const outcome found = one.get();
        if (found.error < best.error) best = found;
    }
    std::cout << "best: step " << best.at.step << ", damping " << best.at.damping << '\n';
    std::cout << (pool.stats().retried > 10 ? "some ran again" : "none ran again") << '\n';
    //> best: step 0.01, damping 0.9
    //> some ran again
}
