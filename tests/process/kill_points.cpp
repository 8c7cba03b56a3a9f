// Workers and parents die at each step of the protocol between them.
#include "os/kill_point.hpp"

#include "support/mixed_work.hpp"
#include "support/program.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <ranges>
#include <stdexcept>
#include <string>

namespace {

using namespace test;
namespace data = boost::unit_test::data;
using bulkhead::process_pool;

/// How often a process passes the point before it dies there.
constexpr unsigned passes[] = {1, 2, 7};

/// Where no task has begun, or the result of the one that had is there to be taken: a death costs nothing.
bool costs_no_task(std::string_view point) {
    return point == "worker.attached" || point == "worker.item_done" ||
           point == "worker.published" || point == "worker.rung" ||
           point == "worker.caller_woken" || point == "worker.passed" || point == "worker.asleep";
}

/// Large results only where they are what is killed: the other points are passed long before.
mixed_work work_for(std::string_view point, int retries = 0) {
    mixed_work work{.retries = retries};
    if (point != "worker.memory_sent") work.large_results = 0;
    return work;
}

/// The death is ordered by the environment; one process takes the order.
class ordered_death {
public:
    ordered_death(const scene& at, std::string_view point, unsigned nth)
        : order_(at.file("order-" + std::to_string(nth))) {
        announce(order_);
        const std::string where = std::string(point) + ":" + std::to_string(nth);
        ::setenv("BULKHEAD_KILL_AT", where.c_str(), 1);
        ::setenv("BULKHEAD_KILL_ONCE", order_.c_str(), 1);
    }
    ~ordered_death() {
        ::unsetenv("BULKHEAD_KILL_AT");
        ::unsetenv("BULKHEAD_KILL_ONCE");
    }
    ordered_death(const ordered_death&) = delete;
    ordered_death& operator=(const ordered_death&) = delete;

    [[nodiscard]] bool has_come() const { return !fs::exists(order_); }

private:
    fs::path order_;
};

/// One in twenty does not fit into the memory that a chunk has for its results, each of these larger than the last: it
/// goes to the place of the chunk before, and beyond.
std::string long_text(int i) {
    const int bytes = i % 20 == 19 ? 300'000 + 1'500 * i : 5'000;
    return std::string(static_cast<std::size_t>(bytes), static_cast<char>('a' + i % 26)) +
           std::to_string(i);
}
int throw_long_text(int i) {
    if (i % 4 != 0) throw std::domain_error(long_text(i));
    return i;
}

/// A worker is killed when it passes `point` for the nth time, while it gives chunks that are cut short, each while
/// the one before is being taken. How many of the 200 items were lost with it.
template <class F, class Check>
int items_lost(const scene& at, const char* point, unsigned nth, F function, Check check) {
    const ordered_death death(at, point, nth);
    process_pool pool(1);
    auto items =
        pool.map(bulkhead::map_options{.chunk_size = 40}, function, std::views::iota(0, 200));
    int number = 0;
    int lost = 0;
    for (auto it = items.begin(); it != items.end(); ++it, ++number) {
        try {
            check(number, it);
        } catch (const bulkhead::worker_crashed&) {
            ++lost;
        }
    }
    BOOST_TEST(number == 200);
    BOOST_TEST(death.has_come());
    return lost;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(kill_points, scene)

BOOST_DATA_TEST_CASE(a_worker_killed_at_any_step_costs_at_most_the_task_that_it_was_at,
                     data::make(bulkhead::os::worker_kill_points), point) {
    const int cost_max = costs_no_task(point) ? 0 : 1;
    int deaths = 0;
    for (const unsigned nth : passes) {
        for (const int workers : {1, 2}) {
            BOOST_TEST_CONTEXT("pass " << nth << ", " << workers << " workers") {
                const auto log = file("log");
                std::ofstream(log).close();
                const ordered_death death(*this, point, nth);
                process_pool pool({.workers = workers});
                const auto counts = do_mixed_work(pool, log, work_for(point));
                BOOST_TEST(counts.wrong == 0);
                BOOST_TEST(counts.miscounted == 0);
                BOOST_TEST(counts.crashed <= (death.has_come() ? cost_max : 0));
                for (int i = 0; i != 100; ++i) {
                    BOOST_TEST(pool.submit(square, i).get() == i * i);
                }
                pool.join();
                check_balance(pool.stats());
                BOOST_TEST(pool.stats().crashed == static_cast<unsigned>(counts.crashed));
                if (death.has_come()) ++deaths;
            }
        }
    }
    BOOST_TEST(deaths > 0, "was never passed");
}

BOOST_DATA_TEST_CASE(with_a_retry_a_worker_killed_at_any_step_costs_nothing,
                     data::make(bulkhead::os::worker_kill_points), point) {
    const auto log = file("log");
    const ordered_death death(*this, point, 1);
    process_pool pool(1);
    // Mostly once. How many tasks wait behind another goes by measured times, so a slow machine's worker may find
    // none of them taken back.
    do {
        std::ofstream(log).close();
        const auto counts = do_mixed_work(pool, log, work_for(point, 1));
        BOOST_TEST(counts.wrong == 0);
        BOOST_TEST(counts.miscounted == 0);
        BOOST_TEST(counts.crashed == counts.items_crashed);  // which cannot be retried
        BOOST_TEST(counts.crashed <= (costs_no_task(point) ? 0 : 1));
    } while (!death.has_come());
    pool.join();
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_CASE(a_worker_killed_between_the_items_of_a_chunk_or_at_its_end_costs_none) {
    struct trial {
        const char* point;
        unsigned nth;
        int cost;
    };
    // The first chunk ends after its eighth item, as these refer to something.
    for (const auto [point, nth, cost] :
         {trial{"worker.item_done", 3, 0}, trial{"worker.item_done", 8, 0},
          trial{"worker.item_done", 20, 0}, trial{"worker.handed", 3, 1},
          trial{"worker.result_written", 1, 0}}) {
        BOOST_TEST_CONTEXT(point << ", pass " << nth) {
            const auto log = file("log");
            std::ofstream(log).close();
            const ordered_death death(*this, point, nth);
            process_pool pool(1);
            auto items = pool.map(bulkhead::map_options{.chunk_size = 20}, logged_share,
                                  std::vector<fs::path>(20, log), std::views::iota(0, 20));
            int number = 0;
            int crashed = 0;
            for (auto it = items.begin(); it != items.end(); ++it, ++number) {
                try {
                    BOOST_TEST(**it == number * number);
                } catch (const bulkhead::worker_crashed&) {
                    ++crashed;
                    BOOST_TEST(number == 2);
                }
            }
            BOOST_TEST(death.has_come());
            BOOST_TEST(number == 20);
            BOOST_TEST(crashed == cost);
            BOOST_TEST(lines_of(log).size() == 20U);  // each ran once
            pool.join();
            check_balance(pool.stats());
            BOOST_TEST(pool.stats().crashed == static_cast<unsigned>(cost));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_worker_killed_while_it_gives_a_chunk_that_is_full_costs_the_last_item_only) {
    for (const auto* point : {"worker.finish", "worker.lent", "worker.result_written"}) {
        for (unsigned nth = 1; nth <= 5; ++nth) {
            BOOST_TEST_CONTEXT(point << ", pass " << nth) {
                const auto lost = items_lost(*this, point, nth, long_text, [](int i, auto& it) {
                    BOOST_TEST((*it == long_text(i)), "item " << i);
                });
                BOOST_TEST(lost <= 1);
                const auto of_errors =
                    items_lost(*this, point, nth, throw_long_text, [](int i, auto& it) {
                        try {
                            BOOST_TEST(*it == i);
                            BOOST_TEST(i % 4 == 0);
                        } catch (const std::domain_error& e) {
                            BOOST_TEST((e.what() == long_text(i)), "item " << i);
                        }
                    });
                BOOST_TEST(of_errors <= 1);
            }
        }
    }
}

BOOST_DATA_TEST_CASE(a_parent_killed_at_any_step_takes_its_workers_along_and_leaves_nothing,
                     data::make(bulkhead::os::parent_kill_points), point) {
    int deaths = 0;
    for (const unsigned nth : passes) {
        BOOST_TEST_CONTEXT("pass " << nth) {
            const ordered_death death(*this, point, nth);
            const auto log = file("log-" + std::to_string(nth));
            program parent(*this, "mixed_work", {log});
            const auto status = parent.wait();
            if (death.has_come()) {
                ++deaths;
                BOOST_TEST(status.signal() == SIGKILL, status.to_string());
            } else {
                BOOST_TEST(status.success(), status.to_string() << parent.err());
            }
            owns_names(parent.pid());
            until([&] { return processes_marked(mark()).empty(); });
        }
    }
    BOOST_TEST(deaths > 0, "was never passed");
}

BOOST_AUTO_TEST_SUITE_END()
