// How well tasks of mixed lengths are spread: the scheduler and the loop's rule for rebalancing, in a time of
// their own, so that the result is the same each time.
#include "fsm/scheduler.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace bulkhead::fsm;

constexpr std::uint64_t us = 1'000;
constexpr std::uint64_t ms = 1'000 * us;
constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();
/// As pool_loop.cpp's balance_after.
constexpr std::uint64_t balance_after = 1 * ms;

struct timed_task : task_node {
    std::uint64_t length_ns = 0;
};

/// Workers that do what they are handed one by one, and a loop that looks once more 1 ms after there was a
/// worker with nothing beside one with too much (pool_core::arm_balance, rebalance).
class simulation {
public:
    explicit simulation(std::size_t workers)
        : scheduler_(workers, {}), begun_(workers, 0), ends_(workers, never) {
        for (worker_index i = 0; i != workers; ++i) {
            scheduler_.starting(i);
            scheduler_.ready(i);
        }
    }

    /// As if the pool had had only tasks of this length so far.
    void measure(std::uint64_t length_ns) {
        for (int i = 0; i != 100; ++i) submit(length_ns);
        run();
    }
    void submit(std::uint64_t length_ns) {
        auto& task = *tasks_.emplace_back(std::make_unique<timed_task>());
        task.id = tasks_.size();
        task.length_ns = length_ns;
        scheduler_.submitted(task);
    }
    /// Until all is done; how long that took.
    std::uint64_t run() {
        const std::uint64_t start = now_;
        while (true) {
            hand_out();
            const auto next = std::min_element(ends_.begin(), ends_.end());
            if (*next == never && balance_at_ == never) return now_ - start;
            if (balance_at_ < *next) {
                now_ = balance_at_;
                rebalance();
            } else {
                now_ = *next;
                finish(static_cast<worker_index>(next - ends_.begin()));
            }
        }
    }

private:
    [[nodiscard]] timed_task* at(worker_index worker) const {
        return static_cast<timed_task*>(scheduler_.ledger(worker).front());
    }
    void begin(worker_index worker) {
        begun_[worker] = now_;
        ends_[worker] = at(worker) == nullptr ? never : now_ + at(worker)->length_ns;
    }
    void hand_out() {
        while (const auto out = scheduler_.next()) {
            if (at(out->worker) == out->task) begin(out->worker);
        }
        if (balance_at_ == never && scheduler_.overloaded() != no_worker) {
            balance_at_ = now_ + balance_after;
        }
    }
    void finish(worker_index worker) {
        auto& task = *at(worker);
        scheduler_.finished(task, task.length_ns);
        begin(worker);
    }
    void rebalance() {
        balance_at_ = never;
        const auto from = scheduler_.overloaded();
        if (from == no_worker) return;
        // The first has begun.
        const std::size_t waiting = scheduler_.ledger(from).size() - 1;
        const bool is_long = now_ - begun_[from] > balance_after;
        if (is_long) scheduler_.at_long_task(from);
        for (std::size_t i = 0; i != (is_long ? waiting : (waiting + 1) / 2); ++i) {
            scheduler_.returned(*scheduler_.ledger(from).back());
        }
    }

    bulkhead::fsm::scheduler scheduler_;
    std::vector<std::uint64_t> begun_;  // the task that each worker is at
    std::vector<std::uint64_t> ends_;
    std::vector<std::unique_ptr<timed_task>> tasks_;
    std::uint64_t now_ = 0;
    std::uint64_t balance_at_ = never;
};

/// `lengths` in this order, against no worker ever waiting while there is work.
double against_ideal(std::size_t workers, std::uint64_t measured_ns,
                     const std::vector<std::uint64_t>& lengths) {
    simulation pool(workers);
    pool.measure(measured_ns);
    for (const auto length : lengths) pool.submit(length);
    const std::uint64_t work = std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0});
    const std::uint64_t longest = *std::max_element(lengths.begin(), lengths.end());
    return static_cast<double>(pool.run()) / static_cast<double>(std::max(work / workers, longest));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(makespan)

BOOST_AUTO_TEST_CASE(short_tasks_behind_a_very_long_one_are_not_stuck) {
    // One of 100 s, then 1,000 of 1 ms, in a pool that has only seen tasks of 1 us.
    std::vector<std::uint64_t> lengths(1001, 1 * ms);
    lengths.front() = 100'000 * ms;
    BOOST_TEST(against_ideal(2, 1 * us, lengths) == 1.0);
    // The others' own end: with the long one taken for what it is, and without it.
    lengths.front() = 1'000 * ms;
    BOOST_TEST(against_ideal(2, 1 * us, lengths) <= 1.1);
}

BOOST_AUTO_TEST_CASE(mixed_tasks_come_within_a_tenth_of_the_ideal_makespan) {
    for (unsigned seed = 0; seed != 200; ++seed) {
        std::mt19937 random(seed);
        std::vector<std::uint64_t> lengths;
        for (int i = 0; i != 600; ++i) {
            // From 100 us to 20 ms, each magnitude as often as the others.
            const double exponent = std::uniform_real_distribution(0.0, 2.3)(random);
            lengths.push_back(static_cast<std::uint64_t>(100.0 * us * std::pow(10, exponent)));
        }
        for (const std::size_t workers : {2U, 4U, 8U}) {
            for (const std::uint64_t measured : {1 * us, 100 * us, 50 * ms}) {
                BOOST_TEST_CONTEXT("seed " << seed << ", " << workers << " workers, " << measured
                                           << " ns measured") {
                    BOOST_TEST(against_ideal(workers, measured, lengths) <= 1.1);
                }
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
