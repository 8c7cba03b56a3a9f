// Runs a script, a new python3 for each measurement, which prints one number.
#include "bench_python.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

/// Arguments: FIGURE RUN_SECONDS. Workers are forked, which is Python's quickest way.
constexpr const char* script = R"python(
import multiprocessing as mp
import platform, signal, statistics, sys, time
from concurrent.futures import ProcessPoolExecutor

def square(x): return x * x
def echo(x): return x

def operations_per_second(run_s, count_max, run):
    count = 4
    while True:
        seconds = max(run(count), 1e-9)
        if seconds >= run_s or count == count_max:
            return count / seconds
        count = min(count_max, int(count * min(max(1.1 * run_s / seconds, 2), 50)))

def submit_then_get(run_s, submit, get):
    def run(count):
        start = time.perf_counter()
        results = [submit(square, i % 1000) for i in range(count)]
        total = 0
        for result in results: total += get(result)
        seconds = time.perf_counter() - start
        assert total > 0
        return seconds
    return operations_per_second(run_s, 1_000_000, run)

def round_trip_us(run_s, submit, get):
    trips = []
    def run(count):
        trips.clear()
        start = time.perf_counter()
        for _ in range(count):
            trip = time.perf_counter()
            assert get(submit(square, 7)) == 49
            trips.append(time.perf_counter() - trip)
        return time.perf_counter() - start
    operations_per_second(run_s, 1 << 40, run)
    return statistics.median(trips) * 1e6

def map_items(run_s, pool):
    def run(count):
        start = time.perf_counter()
        results = pool.map(square, range(count))
        seconds = time.perf_counter() - start
        assert len(results) == count
        return seconds
    return operations_per_second(run_s, 4_000_000, run)

def echo_mib(run_s, pool):
    data = b'x' * (16 << 20)
    def run(count):
        start = time.perf_counter()
        for _ in range(count):
            assert len(pool.submit(echo, data).result()) == len(data)
        return time.perf_counter() - start
    return 16 * operations_per_second(run_s, 1 << 40, run)

def write_numbers(numbers, reader_is_there, count):
    reader_is_there.wait()
    for i in range(count): numbers.put(i)
    numbers.put(None)

def read_numbers(numbers, reader_is_there, took_s):
    reader_is_there.set()
    numbers.get()
    start = time.perf_counter()
    while numbers.get() is not None: pass
    took_s.send(time.perf_counter() - start)

def queue_messages(run_s):
    def run(count):
        numbers = mp.Queue()
        reader_is_there = mp.Event()
        took_s, sender = mp.Pipe(False)
        writer = mp.Process(target=write_numbers, args=(numbers, reader_is_there, count))
        reader = mp.Process(target=read_numbers, args=(numbers, reader_is_there, sender))
        writer.start(); reader.start(); writer.join(); reader.join()
        return took_s.recv()
    return operations_per_second(run_s, 1 << 30, run)

def measure(figure, run_s):
    kind, _, workers = figure.partition(' ')
    workers = int(workers or 1)
    if kind == 'apply_async':
        with mp.Pool(workers) as pool:
            return submit_then_get(run_s, lambda f, x: pool.apply_async(f, (x,)), lambda r: r.get())
    if kind == 'submit':
        with ProcessPoolExecutor(workers) as pool:
            return submit_then_get(run_s, pool.submit, lambda r: r.result())
    if kind == 'trip-apply_async':
        with mp.Pool(workers) as pool:
            return round_trip_us(run_s, lambda f, x: pool.apply_async(f, (x,)), lambda r: r.get())
    if kind == 'trip-submit':
        with ProcessPoolExecutor(workers) as pool:
            return round_trip_us(run_s, pool.submit, lambda r: r.result())
    if kind == 'map':
        with mp.Pool(workers) as pool: return map_items(run_s, pool)
    if kind == 'echo':
        with ProcessPoolExecutor(workers) as pool: return echo_mib(run_s, pool)
    if kind == 'queue': return queue_messages(run_s)

signal.alarm(120)  # in case it hangs
mp.set_start_method('fork')
print(platform.python_version() if sys.argv[1] == 'version'
      else measure(sys.argv[1], float(sys.argv[2])))
)python";

[[noreturn]] void fail(int error, const char* call) {
    throw std::system_error(error, std::generic_category(), call);
}

std::string read_all(int fd) {
    std::string text;
    std::array<char, 4096> buffer;
    for (;;) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
        if (got == 0 || (got < 0 && errno != EINTR)) return text;
    }
}

/// What the script prints, without the newline; nullopt when there is no python3.
std::optional<std::string> run_script(const std::string& which, const std::string& run_s) {
    std::array<int, 2> ends;
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail(errno, "pipe2");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::array<std::string, 5> words{"python3", "-c", script, which, run_s};
    std::array<char*, 6> arguments{};
    for (std::size_t i = 0; i != words.size(); ++i) arguments[i] = words[i].data();
    pid_t child = 0;
    const int error =
        ::posix_spawnp(&child, "python3", &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (error != 0) {
        ::close(ends[0]);
        if (error == ENOENT) return std::nullopt;
        fail(error, "cannot start python3");
    }
    std::string printed = read_all(ends[0]);
    ::close(ends[0]);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) throw std::runtime_error("the Python peer '" + which + "' failed");
    while (printed.ends_with('\n')) printed.pop_back();
    return printed;
}

contender python_peer(std::string name, std::string which) {
    const auto measure = [which = std::move(which)](double run_s) {
        const std::string printed = run_script(which, std::to_string(run_s)).value_or("");
        double value = 0;
        const char* end = printed.data() + printed.size();
        const auto [stop, error] = std::from_chars(printed.data(), end, value);
        if (error != std::errc() || stop != end) {
            throw std::runtime_error("the Python peer '" + which + "' printed no number but '" +
                                     printed + "'");
        }
        return value;
    };
    return {std::move(name), measure};
}

}  // namespace

std::optional<std::string> python_version() { return run_script("version", "0"); }

void add_python_peers(std::vector<figure>& figures) {
    struct peer {
        const char* figure;
        const char* name;
        const char* which;
    };
    constexpr std::array<peer, 9> peers{{
        {"submit-1", "Pool(1).apply_async", "apply_async 1"},
        {"submit-1", "ProcessPoolExecutor(1).submit", "submit 1"},
        {"submit-2", "Pool(2).apply_async", "apply_async 2"},
        {"submit-2", "ProcessPoolExecutor(2).submit", "submit 2"},
        {"round-trip", "Pool(1).apply_async", "trip-apply_async 1"},
        {"round-trip", "ProcessPoolExecutor(1).submit", "trip-submit 1"},
        {"map", "Pool(2).map", "map 2"},
        {"echo", "ProcessPoolExecutor(1), bytes", "echo 1"},
        {"queue", "multiprocessing.Queue", "queue"},
    }};
    for (figure& measured : figures) {
        for (const peer& p : peers) {
            if (measured.name != p.figure) continue;
            measured.contenders.push_back(python_peer(p.name, p.which));
        }
    }
}

}  // namespace bulkhead::tools
