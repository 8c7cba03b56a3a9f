// How long one waits. What the Python peers do is in bench_peers.py: keep them alike.
#include "bench_cpus.hpp"
#include "bench_figure.hpp"

#include <bulkhead/bulkhead.hpp>

#include <csignal>
#include <thread>

namespace bulkhead::tools {
namespace {

using namespace std::chrono_literals;

std::int64_t square(std::int64_t x) { return x * x; }

double trip_us(process_pool& pool) {
    const stopwatch trip;
    expect(pool.submit(square, 7).get() == 49);
    return trip.seconds() * 1e6;
}

/// Workers are started by a thread of the library's own, which may be older than the placing.
void place(const own_cpus& cpus, process_pool& pool, placement where) {
    expect(pool.submit(square, 1).get() == 1);
    for (const auto& worker : pool.workers()) cpus.place_other_side(worker.pid, where);
    cpus.place_this_side(where);
}

double round_trip_us(double run_s, int workers, placement where) {
    const own_cpus mine;
    mine.place_other_side(where);  // the pool's thread
    process_pool pool(workers);
    place(mine, pool, where);
    std::vector<double> trips_us;
    operations_per_second(run_s, unbounded, [&](std::uint64_t count) {
        trips_us.clear();
        const stopwatch clock;
        for (std::uint64_t i = 0; i != count; ++i) trips_us.push_back(trip_us(pool));
        return clock.seconds();
    });
    return median_of(std::move(trips_us));
}

constexpr auto idle_time = 10ms;

double idle_trip_us(double run_s, placement where) {
    const own_cpus mine;
    mine.place_other_side(where);  // the pool's thread
    process_pool pool(1);
    place(mine, pool, where);
    return median_sample(run_s, [&] {
        std::this_thread::sleep_for(idle_time);
        return trip_us(pool);
    });
}

double first_result_ms(double run_s) {
    return median_sample(run_s, [] {
        const stopwatch clock;
        process_pool pool(2);
        expect(pool.submit(square, 7).get() == 49);
        return clock.seconds() * 1e3;
    });
}

void die() { std::raise(SIGKILL); }

enum class crash_clock : bool { from_the_crash, from_when_it_is_known };

/// To the next task's result.
double after_crash_us(double run_s, crash_clock from) {
    process_pool pool(1);
    expect(pool.submit(square, 1).get() == 1);
    return median_sample(run_s, [&] {
        while (pool.stats().spares == 0) {
            std::this_thread::sleep_for(1ms);
            (void)trip_us(pool);  // spares come up while a pool is at work
        }
        const stopwatch clock;
        auto crash = pool.submit(die);
        crash.wait();
        const double trip = trip_us(pool);
        return from == crash_clock::from_the_crash ? clock.seconds() * 1e6 : trip;
    });
}

constexpr std::size_t array_doubles = (std::size_t{1} << 30) / sizeof(double);
constexpr int array_tasks = 4;

double element(const shared_array<double>& array, std::size_t i) { return array[i]; }

double handed_to_tasks_us(process_pool& pool, const shared_array<double>& array) {
    std::vector<future<double>> results;
    const stopwatch clock;
    for (int i = 0; i != array_tasks; ++i) {
        results.push_back(pool.submit(element, array, array_doubles / 2));
    }
    for (auto& result : results) expect(result.get() == 0);
    return clock.seconds() * 1e6;
}

/// Workers keep it mapped.
double shared_array_us(double run_s) {
    process_pool pool(2);
    const shared_array<double> array(array_doubles);
    return median_sample(run_s, [&] { return handed_to_tasks_us(pool, array); });
}

double new_shared_array_us(double run_s) {
    process_pool pool(2);
    expect(pool.submit(square, 1).get() == 1);
    return median_sample(run_s, [&] {
        const shared_array<double> array(array_doubles);
        return handed_to_tasks_us(pool, array);
    });
}

}  // namespace

std::vector<figure> latency_figures() {
    std::vector<figure> figures;
    const auto add = [&](std::string name, std::string title, std::string unit,
                         std::function<double(double)> measure) -> figure& {
        return figures.emplace_back(of_library(std::move(name), std::move(title), std::move(unit),
                                               better::less, std::move(measure)));
    };
    for (const int workers : {1, 2}) {
        const std::string count = std::to_string(workers);
        add("round-trip-" + count,
            "submit one and get it, median, " + count + (workers == 1 ? " worker" : " workers"),
            "us", [workers](double run_s) {
                return round_trip_us(run_s, workers, placement::as_the_kernel_likes);
            });
    }
    add("round-trip-1-cpu", "submit one and get it, median, 1 worker, all on one CPU", "us",
        [](double run_s) { return round_trip_us(run_s, 1, placement::on_one_cpu); })
        .contenders.push_back({"two wake-ups by eventfd", [](double run_s) {
                                   return wake_up_us(run_s, 0ms, placement::on_one_cpu);
                               }});
    struct place {
        const char* name;
        const char* title;
        placement where;
    };
    for (const auto& [name, title, where] :
         {place{"idle-trip", "", placement::as_the_kernel_likes},
          place{"idle-trip-1-cpu", ", all on one CPU", placement::on_one_cpu},
          place{"idle-trip-2-cpus", ", caller and pool on a CPU each", placement::on_two_cpus}}) {
        add(name,
            std::string("submit one and get it after 10 ms of idleness, median, 1 worker") + title,
            "us", [where](double run_s) { return idle_trip_us(run_s, where); })
            .contenders.push_back({"two wake-ups by eventfd", [where](double run_s) {
                                       return wake_up_us(run_s, idle_time, where);
                                   }});
    }
    add("first-result", "from no pool to a task's result, 2 workers", "ms", first_result_ms);
    add("after-crash", "a task once a crash is known, with a spare worker, 1 worker", "us",
        [](double run_s) { return after_crash_us(run_s, crash_clock::from_when_it_is_known); });
    add("crash-and-next", "a task that crashes and the one after it, with a spare worker, 1 worker",
        "us", [](double run_s) { return after_crash_us(run_s, crash_clock::from_the_crash); });
    add("shared-array", "a shared_array of 1 GiB handed to 4 tasks, 2 workers that know it", "us",
        shared_array_us);
    add("new-shared-array", "the same, mapped for the first time", "us", new_shared_array_us);
    return figures;
}

}  // namespace bulkhead::tools
