// Kills, stops and continues the workers of a pool at random, and checks every future and every trace.
#include "command_line.hpp"

#include <bulkhead/bulkhead.hpp>

#include <boost/json.hpp>
#include <boost/program_options.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <malloc.h>
#include <random>
#include <ranges>
#include <set>
#include <sstream>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;
using namespace bulkhead::tools;
using namespace std::chrono_literals;
using bulkhead::future;
using bulkhead::process_pool;

constexpr std::uint64_t tasks_max = 1 << 26;
constexpr std::size_t unread_max = 400;
constexpr auto hang_after = 60s;
constexpr auto gone_within = 60s;
constexpr std::int64_t heap_kib_max = 1024;
constexpr const char* mark_variable = "BULKHEAD_STORM_MARK";

// ---- what the tasks leave behind: how often each ran

/// One byte a task, in a file that every worker maps.
class run_counts {
public:
    explicit run_counts(const std::string& path) {
        const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(tasks_max)) != 0) {
            throw std::runtime_error("cannot make " + path);
        }
        void* memory = ::mmap(nullptr, tasks_max, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ::close(fd);
        if (memory == MAP_FAILED) throw std::runtime_error("cannot map " + path);
        counts_ = static_cast<unsigned char*>(memory);
    }
    void add(std::uint64_t task) const noexcept {
        std::atomic_ref<unsigned char>(counts_[task]).fetch_add(1, std::memory_order_relaxed);
    }
    [[nodiscard]] int of(std::uint64_t task) const noexcept {
        return std::atomic_ref<unsigned char>(counts_[task]).load(std::memory_order_relaxed);
    }

private:
    unsigned char* counts_;
};

void note_run(const std::string& path, std::uint64_t task) {
    static const run_counts counts(path);  // of this worker
    counts.add(task);
}

// ---- the tasks

std::uint64_t fast(const std::string& counts, std::uint64_t task) {
    note_run(counts, task);
    return task * 3;
}
std::uint64_t slow(const std::string& counts, std::uint64_t task) {
    note_run(counts, task);
    ::usleep(static_cast<useconds_t>(task % 5000));
    return task * 3;
}
std::string echo(const std::string& counts, std::uint64_t task, std::string bytes) {
    note_run(counts, task);
    return bytes;
}
std::uint64_t throws(const std::string& counts, std::uint64_t task) {
    note_run(counts, task);
    throw std::out_of_range(std::to_string(task));
}
std::uint64_t crashes(const std::string& counts, std::uint64_t task) {
    note_run(counts, task);
    if (task % 3 == 0) ::raise(SIGSEGV);
    if (task % 3 == 1) std::_Exit(0);
    std::abort();
}
/// Leaves a child behind, which must not live long.
std::uint64_t forks(const std::string& counts, std::uint64_t task) {
    note_run(counts, task);
    if (::fork() == 0) {
        ::usleep(30'000'000);
        ::_exit(0);
    }
    return task * 3;
}
std::uint64_t hangs(const std::string& counts, std::uint64_t task) {
    note_run(counts, task);
    while (true) ::pause();
}

enum class kind : std::uint8_t { fast, slow, large, throws, crashes, forks, hangs, cancelled };

// ---- the storm

struct storm_options {
    double seconds = 20;
    int workers = 4;
    std::uint64_t seed = 0;
    bool json = false;
};

struct tally {
    std::uint64_t tasks = 0;
    std::uint64_t right = 0;
    std::uint64_t crashed = 0;
    std::uint64_t timed_out = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t wrong = 0;    // another outcome than it could have
    std::uint64_t lost = 0;     // ended well without having run, or never told
    std::uint64_t doubled = 0;  // ran, or was told, more than once
    std::uint64_t hangs = 0;
    std::uint64_t kills = 0;
    std::uint64_t stops = 0;
    std::uint64_t leaked = 0;
    std::int64_t heap_kib = 0;  // more than before
    std::vector<std::string> notes;

    [[nodiscard]] bool clean() const { return wrong + lost + doubled + hangs + leaked == 0; }
};

struct running_task {
    std::uint64_t number = 0;
    kind what{};
    std::size_t bytes = 0;
    future<std::uint64_t> answer;
    future<std::string> text;
    std::shared_ptr<std::atomic<int>> told = std::make_shared<std::atomic<int>>(0);
};

/// Sends signals to workers as long as it lives.
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
    void run(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            ::usleep(static_cast<useconds_t>(random_() % 8000));
            const auto workers = pool_.workers();
            const pid_t victim = workers[random_() % workers.size()].pid;
            if (victim == 0) continue;
            switch (random_() % 8) {
                case 0:
                case 1:
                    if (!signal(victim, SIGSTOP)) break;
                    ++stops;
                    ::usleep(static_cast<useconds_t>(random_() % 20'000));
                    (void)signal(victim, SIGCONT);
                    break;
                case 2:
                    if (signal(victim, SIGTERM)) ++kills;
                    break;
                default:
                    if (signal(victim, SIGKILL)) ++kills;
                    break;
            }
        }
    }

    /// To a child of this process that has not been waited for, and to nobody else.
    static bool signal(pid_t pid, int number) {
        const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
        if (fd < 0) return false;
        siginfo_t info{};
        const bool ours = ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(fd), &info,
                                   WEXITED | WNOWAIT | WNOHANG) == 0 &&
                          info.si_pid == 0;
        const bool sent = ours && ::syscall(SYS_pidfd_send_signal, fd, number, nullptr, 0) == 0;
        ::close(fd);
        return sent;
    }

    process_pool& pool_;
    std::mt19937_64 random_;
    std::jthread thread_;
};

std::size_t open_descriptors() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++count;
    return count;
}

std::set<std::string> shm_names() {
    std::set<std::string> names;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/dev/shm", ignored)) {
        const std::string name = entry.path().filename();
        if (name.find("bulkhead") != std::string::npos) names.insert(name);
    }
    return names;
}

/// The names that were not there `before`, and are there for good. Other programs may make and remove some
/// of their own.
std::size_t names_that_stay(const std::set<std::string>& before,
                            std::chrono::steady_clock::time_point until) {
    auto names = shm_names();
    while (true) {
        const auto now = shm_names();
        std::erase_if(names, [&](const std::string& name) {
            return before.contains(name) || !now.contains(name);
        });
        if (names.empty() || std::chrono::steady_clock::now() >= until) return names.size();
        ::usleep(10'000);
    }
}

/// Living processes that inherited our mark.
std::size_t descendants() {
    const std::string mark =
        std::string(mark_variable) + "=" + std::to_string(::getpid()) + std::string(1, '\0');
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        if (name == std::to_string(::getpid())) continue;
        std::ifstream file(entry.path() / "environ", std::ios::binary);
        // No istreambuf_iterator: it throws when the process ends meanwhile.
        std::ostringstream read;
        read << file.rdbuf();
        const std::string variables = read.str();
        if (variables.find(mark) != std::string::npos) ++count;
    }
    return count;
}

/// Bytes that are allocated and not freed, in all arenas.
std::int64_t heap_bytes() {
    const auto heap = ::mallinfo2();
    return static_cast<std::int64_t>(heap.uordblks + heap.hblkhd);
}

class storm {
public:
    explicit storm(const storm_options& wanted)
        : wanted_(wanted), random_(wanted.seed), path_(make_path()), counts_(path_) {}
    storm(const storm&) = delete;
    storm& operator=(const storm&) = delete;
    ~storm() { ::unlink(path_.c_str()); }

    tally run() {
        // What the library makes once and keeps.
        process_pool(1).submit([] {}).get();
        const auto descriptors_before = open_descriptors();
        const auto names_before = shm_names();
        const auto heap_before = heap_bytes();
        {
            process_pool pool({.workers = wanted_.workers,
                               .kill_grace = 20ms,
                               .worker_output = bulkhead::discard});
            blow(pool);
            if (result_.hangs == 0)
                pool.shutdown();
            else
                std::_Exit(print() ? 0 : 1);  // its destructor would wait for ever
        }
        count_leaks("open descriptors", open_descriptors(), descriptors_before);
        const bool no_children = ::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD;
        count_leaks("children", no_children ? 0 : 1, 0);
        const auto until = std::chrono::steady_clock::now() + gone_within;
        count_leaks("names in /dev/shm", names_that_stay(names_before, until), 0);
        while (descendants() != 0 && std::chrono::steady_clock::now() < until) ::usleep(10'000);
        count_leaks("descendants", descendants(), 0);
        check_runs();
        result_.heap_kib = (heap_bytes() - heap_before) / 1024;
        if (result_.heap_kib > heap_kib_max) {
            ++result_.leaked;
            note(std::to_string(result_.heap_kib) + " KiB of memory left");
        }
        return result_;
    }

    bool print() const {
        const auto& r = result_;
        if (wanted_.json) {
            boost::json::object all{{"seed", wanted_.seed},       {"seconds", wanted_.seconds},
                                    {"workers", wanted_.workers}, {"tasks", r.tasks},
                                    {"kills", r.kills},           {"stops", r.stops},
                                    {"right", r.right},           {"crashed", r.crashed},
                                    {"timed_out", r.timed_out},   {"cancelled", r.cancelled},
                                    {"wrong", r.wrong},           {"lost", r.lost},
                                    {"doubled", r.doubled},       {"hangs", r.hangs},
                                    {"leaked", r.leaked},         {"heap_kib", r.heap_kib}};
            std::cout << all << '\n';
        } else {
            std::cout << r.tasks << " tasks, " << r.kills << " kills, " << r.stops
                      << " stops (seed " << wanted_.seed << "): " << r.right << " ended well, "
                      << r.crashed << " crashed, " << r.timed_out << " timed out, " << r.cancelled
                      << " cancelled; " << r.wrong << " wrong, " << r.lost << " lost, " << r.doubled
                      << " doubled, " << r.hangs << " hangs, " << r.leaked
                      << " leaked; heap grown by " << r.heap_kib << " KiB\n";
        }
        for (const auto& note : r.notes) std::cerr << "bulkhead-storm: " << note << '\n';
        return r.clean();
    }

private:
    static std::string make_path() {
        std::string pattern = fs::temp_directory_path() / "bulkhead-storm-XXXXXX";
        const int fd = ::mkstemp(pattern.data());
        if (fd < 0) throw std::runtime_error("cannot make a file in " + pattern);
        ::close(fd);
        return pattern;
    }

    void note(const std::string& what) {
        if (result_.notes.size() < 20) result_.notes.push_back(what);
    }

    void count_leaks(const char* what, std::size_t now, std::size_t before) {
        if (now <= before) return;
        result_.leaked += now - before;
        note(std::to_string(now - before) + " " + what + " left");
    }

    void blow(process_pool& pool) {
        tormentor torment(pool, random_());
        const auto begin = std::chrono::steady_clock::now();
        const auto end = begin + std::chrono::duration<double>(wanted_.seconds);
        auto shown = begin;
        std::deque<running_task> under_way;
        while (std::chrono::steady_clock::now() < end && result_.hangs == 0 &&
               result_.tasks + 1 < tasks_max) {
            under_way.push_back(start(pool));
            // Sometimes the newest first: results are read in any order.
            while (under_way.size() > unread_max && result_.hangs == 0) {
                if (random_() % 16 == 0) {
                    finish(under_way.back());
                    under_way.pop_back();
                } else {
                    finish(under_way.front());
                    under_way.pop_front();
                }
            }
            if (std::chrono::steady_clock::now() - shown > 1s) {
                shown = std::chrono::steady_clock::now();
                show(std::chrono::duration<double>(shown - begin).count(), torment);
            }
        }
        while (!under_way.empty() && result_.hangs == 0) {
            finish(under_way.front());
            under_way.pop_front();
        }
        torment.end();
        result_.kills = torment.kills;
        result_.stops = torment.stops;
        if (::isatty(STDERR_FILENO) != 0) std::cerr << "\r\033[K";
    }

    void show(double seconds, const tormentor& torment) const {
        if (::isatty(STDERR_FILENO) == 0) return;
        std::cerr << "\r\033[K" << static_cast<int>(seconds) << " s: " << result_.tasks
                  << " tasks, " << torment.kills << " kills" << std::flush;
    }

    running_task start(process_pool& pool) {
        running_task task;
        task.number = result_.tasks++;
        const auto dice = random_() % 1000;
        using bulkhead::task_options;
        if (dice < 600) {
            task.what = kind::fast;
            task.answer = pool.submit(fast, path_, task.number);
        } else if (dice < 750) {
            task.what = kind::slow;
            task.answer = pool.submit(slow, path_, task.number);
        } else if (dice < 830) {
            task.what = kind::cancelled;
            task.answer = pool.submit(slow, path_, task.number);
            if (random_() % 2 == 0) ::usleep(static_cast<useconds_t>(random_() % 2000));
            (void)task.answer.cancel();
        } else if (dice < 900) {
            task.what = kind::large;
            task.bytes = random_() % 100 == 0 ? 30'000'000
                         : random_() % 4 == 0 ? 10'000'000
                                              : 5'000;
            task.text =
                pool.submit(echo, path_, task.number,
                            std::string(task.bytes, static_cast<char>('a' + task.number % 26)));
        } else if (dice < 960) {
            task.what = kind::throws;
            task.answer = pool.submit(throws, path_, task.number);
        } else if (dice < 980) {
            task.what = kind::crashes;
            task.answer = pool.submit(crashes, path_, task.number);
        } else if (dice < 990) {
            task.what = kind::forks;
            task.answer = pool.submit(forks, path_, task.number);
        } else {
            task.what = kind::hangs;
            task.answer = pool.submit(task_options{.timeout = 10ms}, hangs, path_, task.number);
        }
        const auto told = [count = task.told] { ++*count; };
        if (task.what == kind::large) {
            task.text.on_done(told);
        } else {
            task.answer.on_done(told);
        }
        return task;
    }

    void finish(running_task& task) {
        const bool large = task.what == kind::large;
        const bool ended = large ? task.text.wait_for(hang_after).ready()
                                 : task.answer.wait_for(hang_after).ready();
        if (!ended) {
            ++result_.hangs;
            note("task " + std::to_string(task.number) + " of kind " +
                 std::to_string(static_cast<int>(task.what)) + " has not ended");
            return;
        }
        bool well = false;
        bool possible = true;
        try {
            if (large) {
                const std::string text = task.text.get();
                well = true;
                possible =
                    text == std::string(task.bytes, static_cast<char>('a' + task.number % 26));
            } else {
                well = true;
                possible = task.answer.get() == task.number * 3 && task.what != kind::throws &&
                           task.what != kind::crashes && task.what != kind::hangs;
            }
            if (possible) ++result_.right;
        } catch (const bulkhead::worker_crashed&) {
            well = false;
            ++result_.crashed;
        } catch (const bulkhead::task_timeout&) {
            well = false;
            possible = task.what == kind::hangs;
            ++result_.timed_out;
        } catch (const bulkhead::task_cancelled&) {
            well = false;
            possible = task.what == kind::cancelled;
            ++result_.cancelled;
        } catch (const std::out_of_range& thrown) {
            possible = task.what == kind::throws && thrown.what() == std::to_string(task.number);
            if (possible) ++result_.right;
        } catch (const std::exception& other) {
            possible = false;
            note(std::string("an unexpected ") + other.what());
        }
        if (!possible) {
            ++result_.wrong;
            note("task " + std::to_string(task.number) + " of kind " +
                 std::to_string(static_cast<int>(task.what)) + " ended in a way it could not");
        }
        const int runs = counts_.of(task.number);
        if (well && runs == 0) {
            ++result_.lost;
            note("task " + std::to_string(task.number) + " ended well and never ran");
        }
        told_.push_back(std::move(task.told));
    }

    /// At the end, when nothing can run any more.
    void check_runs() {
        for (std::uint64_t task = 0; task != result_.tasks; ++task) {
            if (counts_.of(task) <= 1) continue;
            ++result_.doubled;
            note("task " + std::to_string(task) + " ran " + std::to_string(counts_.of(task)) +
                 " times");
        }
        for (const auto& count : told_) {
            if (*count == 1) continue;
            ++(*count == 0 ? result_.lost : result_.doubled);
            note("a callback was called " + std::to_string(*count) + " times");
        }
        // With its memory: the storm's own notes are no leak.
        std::vector<std::shared_ptr<std::atomic<int>>>().swap(told_);
    }

    storm_options wanted_;
    std::mt19937_64 random_;
    std::string path_;
    run_counts counts_;
    std::vector<std::shared_ptr<std::atomic<int>>> told_;
    tally result_;
};

/// nullopt: help or version was asked for, and given.
std::optional<storm_options> parse_command_line(int argc, char** argv) {
    storm_options wanted;
    wanted.seed = std::random_device()();
    po::options_description visible("Options");
    auto add = visible.add_options();
    add("seconds", po::value(&wanted.seconds)->value_name("S"), "how long (default 20)");
    add("workers", po::value(&wanted.workers)->value_name("N"), "worker processes (default 4)");
    add("seed", po::value(&wanted.seed)->value_name("K"),
        "of the random numbers (default: another each time; it is printed)");
    add("json", "print JSON");
    add("help,h", "print this and exit");
    add("version", "print the version and exit");
    const auto given = parse_options(argc, argv, visible);
    if (given.count("help") != 0) {
        std::cout << "Usage: bulkhead-storm [options]\n\n"
                     "Runs tasks of many kinds on a process_pool while its workers are killed,\n"
                     "stopped and continued at random, and checks that every future ends once and\n"
                     "as it must, that no task runs twice, and that nothing is left behind.\n\n"
                  << visible << "\nExit code: 0 clean, 1 not, 2 wrong usage.\n";
        return std::nullopt;
    }
    if (given.count("version") != 0) {
        std::cout << "bulkhead-storm " << BULKHEAD_VERSION << '\n';
        return std::nullopt;
    }
    if (!(wanted.seconds > 0 && wanted.seconds <= 1e6)) {
        throw usage_mistake("--seconds can be more than 0, up to a million");
    }
    if (wanted.workers < 1 || wanted.workers > bulkhead::workers_max) {
        throw usage_mistake("--workers can be 1 to " + std::to_string(bulkhead::workers_max));
    }
    wanted.json = given.count("json") != 0;
    return wanted;
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    ::setenv(mark_variable, std::to_string(::getpid()).c_str(), 1);
    try {
        const auto wanted = parse_command_line(argc, argv);
        if (!wanted) return 0;
        storm one(*wanted);
        (void)one.run();
        return one.print() ? 0 : 1;
    } catch (const usage_mistake& mistake) {
        std::cerr << "bulkhead-storm: " << mistake.what() << "; see bulkhead-storm --help\n";
        return 2;
    } catch (const std::exception& failure) {
        std::cerr << "bulkhead-storm: " << failure.what() << '\n';
        return 1;
    }
}
