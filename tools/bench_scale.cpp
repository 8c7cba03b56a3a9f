// What a great many tasks, and workers with nothing to do, cost.
#include "bench_figure.hpp"

#include <bulkhead/bulkhead.hpp>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <unistd.h>
#include <utility>

namespace bulkhead::tools {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t few = 1'000;
constexpr std::uint64_t many = 1'000'000;

std::int64_t square(std::int64_t x) { return x * x; }
void wait_for(const event& gate) { gate.wait(); }

/// A pool whose only worker is kept busy, so that what is submitted waits.
struct waiting_line {
    explicit waiting_line(std::uint64_t count) {
        results.reserve(count);
        hold();
    }
    void hold() {
        gate.clear();
        blocker = pool.submit(wait_for, gate);
        while (pool.stats().running == 0) std::this_thread::sleep_for(100us);
    }
    void fill(std::uint64_t count) {
        for (std::uint64_t i = 0; i != count; ++i) {
            results.push_back(pool.submit(square, static_cast<std::int64_t>(i % 1000)));
        }
    }
    void drain() {
        gate.set();
        for (auto& result : results) expect(result.get() >= 0);
        results.clear();
        blocker.get();
    }

    process_pool pool{process_pool_options{.workers = 1, .backlog_max = 2 * many}};
    event gate;
    future<void> blocker;
    std::vector<future<std::int64_t>> results;
};

/// In nanoseconds: `depth` tasks are queued before the first of them can run, then all are done. Less
/// what letting the worker go takes without any tasks.
double queued_task_ns(double run_s, std::uint64_t depth) {
    waiting_line line(depth);
    const auto round_s = [&](std::uint64_t tasks) {
        const stopwatch clock;
        line.fill(tasks);
        line.drain();
        const double seconds = clock.seconds();
        line.hold();
        return seconds;
    };
    (void)round_s(depth);
    double seconds = 0;
    std::uint64_t tasks = 0;
    while (seconds < run_s) {
        seconds += round_s(depth) - round_s(0);
        tasks += depth;
    }
    line.drain();
    return seconds * 1e9 / static_cast<double>(tasks);
}

/// In nanoseconds: what the memory of a queued task costs by itself, in one thread. As many blocks as there
/// are tasks are allocated and written, then each is read, changed and freed.
double task_memory_ns(double run_s, std::uint64_t depth) {
    constexpr std::size_t block_bytes =
        272;  // with malloc's word and a future, the 296 of queued-bytes
    constexpr std::size_t line_bytes = 64;
    std::vector<std::pair<std::unique_ptr<unsigned char[]>, void*>> blocks;
    blocks.reserve(depth);
    std::uint64_t sum = 0;
    const auto round = [&] {
        for (std::uint64_t i = 0; i != depth; ++i) {
            auto block = std::make_unique_for_overwrite<unsigned char[]>(block_bytes);
            std::memset(block.get(), static_cast<int>(i % 200 + 1), block_bytes);
            blocks.emplace_back(std::move(block), nullptr);
        }
        for (auto& [block, unused] : blocks) {
            for (std::size_t at = 0; at < block_bytes; at += line_bytes) sum += ++block[at];
            block.reset();
        }
        blocks.clear();
    };
    round();
    std::uint64_t rounds = 0;
    const stopwatch clock;
    while (clock.seconds() < run_s) {
        round();
        ++rounds;
    }
    expect(sum != 0);
    return clock.seconds() * 1e9 / static_cast<double>(rounds * depth);
}

std::uint64_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t pages_in_all = 0;
    std::uint64_t resident_pages = 0;
    statm >> pages_in_all >> resident_pages;
    return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void weigh_queued_tasks(std::uint64_t depth, const queue<double>& bytes) {
    waiting_line line(depth);
    const std::uint64_t before = resident_bytes();
    line.fill(depth);
    const auto grown = static_cast<double>(resident_bytes() - before);
    line.drain();
    bytes.put(grown / static_cast<double>(depth));
}

/// In a process of its own, which has no memory left from figures before.
double queued_task_bytes(double run_s) {
    const queue<double> bytes;
    const process weighing(weigh_queued_tasks, run_s < 0.1 ? many / 10 : many, bytes);
    return bytes.get();
}

/// Of the numbers behind `key` in a file of /proc that consists of lines `key: number`.
std::uint64_t sum_in(const std::filesystem::path& file, std::string_view key) {
    std::ifstream in(file);
    std::uint64_t sum = 0;
    for (std::string line; std::getline(in, line);) {
        const auto colon = line.find(':');
        if (colon != std::string::npos && std::string_view(line).substr(0, colon).ends_with(key)) {
            sum += std::stoull(line.substr(colon + 1));
        }
    }
    return sum;
}

const std::filesystem::path proc = "/proc";

/// How often the threads of a process have stopped running.
std::uint64_t switches_of(pid_t process) {
    std::uint64_t sum = 0;
    for (const auto& thread :
         std::filesystem::directory_iterator(proc / std::to_string(process) / "task")) {
        sum += sum_in(thread.path() / "status", "voluntary_ctxt_switches");
    }
    return sum;
}

/// How long all threads of a process have run.
std::uint64_t cpu_ns_of(pid_t process) {
    ::clockid_t clock{};
    ::timespec ran{};
    if (::clock_getcpuclockid(process, &clock) != 0 || ::clock_gettime(clock, &ran) != 0) {
        throw std::runtime_error("no clock of process " + std::to_string(process));
    }
    return static_cast<std::uint64_t>(ran.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(ran.tv_nsec);
}

/// Of this process, its workers, and whatever else it has started, by process.
std::map<pid_t, std::uint64_t> of_family(const std::function<std::uint64_t(pid_t)>& of_process) {
    std::map<pid_t, std::uint64_t> all{{::getpid(), of_process(::getpid())}};
    for (const auto& thread : std::filesystem::directory_iterator(proc / "self" / "task")) {
        std::ifstream children(thread.path() / "children");
        for (pid_t pid = 0; children >> pid;) all[pid] = of_process(pid);
    }
    return all;
}

/// A process on each CPU that does nothing but count.
class hogs {
public:
    hogs() {
        for (std::size_t i = 0; i != cpus(); ++i) all_.emplace_back(count_up);
    }
    ~hogs() {
        for (auto& hog : all_) hog.kill();
    }
    hogs(const hogs&) = delete;
    hogs& operator=(const hogs&) = delete;

    [[nodiscard]] bool has(pid_t pid) const {
        return std::any_of(all_.begin(), all_.end(),
                           [&](const auto& hog) { return hog.pid() == pid; });
    }

private:
    static std::size_t cpus() { return std::max(1U, std::thread::hardware_concurrency()); }
    static void count_up() {
        for (std::uint64_t i = 0;; ++i) asm volatile("" : : "r"(i));
    }

    std::vector<process> all_;
};

double tasks_beside_hogs(double run_s) {
    const hogs busy;
    return pool_tasks(run_s, 2);
}

constexpr int pool_workers = 2;

double sleep_ms(int ms) {
    const stopwatch clock;
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    return clock.seconds();
}

/// The time that tasks of 1 to 100 ms take, the long ones first, in relation to what they would take if
/// no worker ever waited.
double makespan(double) {
    std::vector<int> durations_ms(300, 1);
    durations_ms.insert(durations_ms.end(), 20, 20);
    std::shuffle(durations_ms.begin(), durations_ms.end(), std::mt19937(7));
    durations_ms.insert(durations_ms.begin(), 4, 100);
    process_pool pool(pool_workers);
    expect(pool.submit(square, 2).get() == 4);
    std::vector<future<double>> results;
    results.reserve(durations_ms.size());
    double work_s = 0;
    const stopwatch clock;
    for (const int ms : durations_ms) results.push_back(pool.submit(sleep_ms, ms));
    for (auto& result : results) work_s += result.get();
    return clock.seconds() / (work_s / pool_workers);
}

constexpr std::size_t huge_bytes = std::size_t{16} << 20;
constexpr int smalls_at_once = 8;

std::vector<char> give_huge() { return std::vector<char>(huge_bytes, 'h'); }

/// In microseconds, of 9 of 10 rounds: eight small tasks, from the first's submit to the last's result; with
/// `beside_huge` another worker's result of 16 MiB is always under way.
double small_tasks_us(double run_s, bool beside_huge) {
    process_pool pool(pool_workers);
    expect(pool.submit(square, 2).get() == 4);
    future<std::vector<char>> huge;
    std::vector<future<std::int64_t>> smalls;
    std::vector<double> rounds_us;
    const stopwatch all;
    while (rounds_us.size() < samples_min || all.seconds() < run_s) {
        if (beside_huge && (!huge.valid() || huge.done())) {
            if (huge.valid()) expect(huge.get().size() == huge_bytes);
            huge = pool.submit(give_huge);
        }
        const stopwatch round;
        for (int i = 0; i != smalls_at_once; ++i) smalls.push_back(pool.submit(square, i));
        for (auto& one : smalls) expect(one.get() >= 0);
        rounds_us.push_back(1e6 * round.seconds());
        smalls.clear();
    }
    const auto late = rounds_us.begin() + static_cast<std::ptrdiff_t>(rounds_us.size() * 9 / 10);
    std::nth_element(rounds_us.begin(), late, rounds_us.end());
    return *late;
}

constexpr double idle_run_factor = 10;  // a second for each tenth of it that the others run

process_pool& used_pool(process_pool& pool) {
    for (std::uint64_t i = 0; i != few; ++i) expect(pool.submit(square, 2).get() == 4);
    std::this_thread::sleep_for(500ms);
    return pool;
}

constexpr auto started_one = "an idle pool started a process";

/// In percent, of the time that busy processes on all CPUs have, what all of an idle pool's processes and this
/// one take. What the busy ones get done scatters by more than that on a virtual machine.
double lost_to_idle_pool(double run_s) {
    const hogs busy;
    process_pool pool(2);
    used_pool(pool);
    const auto before = of_family(cpu_ns_of);
    std::this_thread::sleep_for(std::chrono::duration<double>(run_s));
    const auto after = of_family(cpu_ns_of);
    double pools_ns = 0;
    double hogs_ns = 0;
    for (const auto& [process, ns] : after) {
        if (!before.contains(process)) throw std::runtime_error(started_one);
        (busy.has(process) ? hogs_ns : pools_ns) += static_cast<double>(ns - before.at(process));
    }
    expect(hogs_ns > 0);
    return 100 * pools_ns / hogs_ns;
}

/// Of parent, two workers, spare and keeper together, less that of the thread that measures.
double idle_switches(double run_s) {
    process_pool pool(2);
    used_pool(pool);
    const auto before = of_family(switches_of);
    std::this_thread::sleep_for(std::chrono::duration<double>(run_s * idle_run_factor));
    const auto after = of_family(switches_of);
    const std::size_t this_process_workers_and_keeper = 4;  // and, mostly, a spare
    double sum = -1;                                        // this thread's own
    for (const auto& [process, switches] : after) {
        if (!before.contains(process)) throw std::runtime_error(started_one);
        sum += static_cast<double>(switches - before.at(process));
    }
    if (after.size() != before.size() || after.size() < this_process_workers_and_keeper) {
        throw std::runtime_error("not all of an idle pool's processes could be looked at");
    }
    return sum;
}

double idle_kib(double) {
    process_pool pool(2);
    used_pool(pool);
    std::uint64_t kib = 0;
    for (const auto& worker : pool.workers()) {
        const auto rollup = proc / std::to_string(worker.pid) / "smaps_rollup";
        kib += sum_in(rollup, "Private_Clean") + sum_in(rollup, "Private_Dirty");
    }
    return static_cast<double>(kib) / 2;
}

}  // namespace

std::vector<figure> scale_figures() {
    std::vector<figure> figures;
    const auto add = [&](std::string name, std::string title, std::string unit,
                         std::function<double(double)> measure) {
        figures.push_back(of_library(std::move(name), std::move(title), std::move(unit),
                                     better::less, std::move(measure)));
    };
    const auto add_queued = [&](const char* name, const char* title, auto depth) {
        figures.push_back(
            {.name = name,
             .title = title,
             .unit = "ns",
             .more_is_better = false,
             .contenders = {
                 {"bulkhead", [=](double run_s) { return queued_task_ns(run_s, depth(run_s)); }},
                 {"its memory alone, written, changed, freed",
                  [=](double run_s) { return task_memory_ns(run_s, depth(run_s)); }}}});
    };
    add_queued("queued-1000", "a task, 1,000 of them queued before the first starts, 1 worker",
               [](double) { return few; });
    add_queued(
        "queued-1000000",
        "a task, 1,000,000 (--quick: 100,000) of them queued before the first starts, 1 worker",
        [](double run_s) { return run_s < 0.1 ? many / 10 : many; });
    add("queued-bytes", "memory of a queued task and its future, of 1,000,000 (--quick: 100,000)",
        "bytes", queued_task_bytes);
    add("idle-switches",
        "context switches of an idle pool of 2 workers, in all, in 10 s (--quick: 0.2 s)", "",
        idle_switches);
    add("idle-theft",
        "CPU time of an idle pool of 2 workers beside a busy process on each CPU, of theirs", "%",
        lost_to_idle_pool);
    add("makespan", "tasks of 1, 20 and 100 ms, 2 workers, against no worker ever waiting", "x",
        makespan);
    figures.push_back(
        {.name = "small-beside-huge",
         .title =
             "8 small tasks at once beside a result of 16 MiB, 2 workers, 9 of 10 times within",
         .unit = "us",
         .more_is_better = false,
         .contenders = {{"bulkhead", [](double run_s) { return small_tasks_us(run_s, true); }},
                        {"bulkhead, nothing beside",
                         [](double run_s) { return small_tasks_us(run_s, false); }}}});
    add("idle-memory", "private memory of an idle worker", "KiB", idle_kib);
    figures.push_back(of_library("submit-2-hogs", "as submit-2, beside a busy process on each CPU",
                                 "tasks/s", better::more, tasks_beside_hogs));
    return figures;
}

}  // namespace bulkhead::tools
