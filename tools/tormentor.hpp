// Sends signals to a pool's workers.
#pragma once

#include <bulkhead/process_pool.hpp>

#include <atomic>
#include <cstdint>
#include <random>
#include <stop_token>
#include <thread>

namespace bulkhead::tools {

/// At random, as long as it lives: kills, stops and continues. Only children of this process.
class tormentor {
public:
    tormentor(process_pool& pool, std::uint64_t seed)
        : pool_(pool), random_(seed), thread_([this](const std::stop_token& stop) { run(stop); }) {}

    /// When the last stopped worker goes on.
    void end() {
        thread_.request_stop();
        thread_.join();
    }
    std::atomic<std::uint64_t> kills{0};
    std::atomic<std::uint64_t> stops{0};

private:
    void run(const std::stop_token& stop);

    process_pool& pool_;
    std::mt19937_64 random_;
    std::jthread thread_;
};

}  // namespace bulkhead::tools
