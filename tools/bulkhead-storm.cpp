// Kills, stops and continues the workers of a pool at random, and checks every future and every trace.
#include "command_line.hpp"
#include "storm_tasks.hpp"
#include "storm_traces.hpp"
#include "tormentor.hpp"

#include <bulkhead/bulkhead.hpp>

#include <boost/json.hpp>
#include <boost/program_options.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <future>
#include <iostream>
#include <random>
#include <ranges>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace po = boost::program_options;
using namespace bulkhead::tools;
using namespace std::chrono_literals;
using bulkhead::future;
using bulkhead::process_pool;

constexpr std::size_t unread_max = 400;
constexpr auto hang_after = 60s;
constexpr auto gone_within = 60s;
constexpr std::uint64_t mapped_max = 100;  // items of a map
constexpr std::int64_t heap_kib_max = 1024;

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
    std::uint64_t meant_to_crash = 0;
    std::uint64_t wrong = 0;    // another outcome than it could have
    std::uint64_t lost = 0;     // ended well without having run, or never told
    std::uint64_t doubled = 0;  // ran, or was told, more than once
    std::uint64_t hangs = 0;
    std::uint64_t kills = 0;
    std::uint64_t stops = 0;
    std::uint64_t leaked = 0;
    std::int64_t heap_kib = 0;  // more than before
    std::vector<std::string> notes;

    void add(const tally& other) {
        right += other.right;
        crashed += other.crashed;
        wrong += other.wrong;
        lost += other.lost;
        notes.insert(notes.end(), other.notes.begin(), other.notes.end());
    }
    [[nodiscard]] bool clean() const { return wrong + lost + doubled + hangs + leaked == 0; }
};

struct running_task {
    std::uint64_t number = 0;
    task_kind what{};
    std::size_t bytes = 0;
    future<std::uint64_t> answer;
    future<std::string> text;
    std::shared_ptr<std::atomic<int>> told = std::make_shared<std::atomic<int>>(0);
};

class storm {
public:
    explicit storm(const storm_options& wanted)
        : wanted_(wanted), random_(wanted.seed), path_(make_path()), runs_(path_) {}
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
        for (const auto& name : names_that_stay(names_before, until)) {
            ++result_.leaked;
            note("/dev/shm/" + name + " left, unless another program made it");
        }
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
        std::string pattern = std::filesystem::temp_directory_path() / "bulkhead-storm-XXXXXX";
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
               result_.tasks + 1 < storm_tasks_max) {
            under_way.push_back(start(pool));
            if (result_.tasks % 64 == 0) go_on_mapping(pool);
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
        while (mapping_.valid() && result_.hangs == 0) await_map(1s);
        torment.end();
        result_.kills = torment.kills;
        result_.stops = torment.stops;
        // A kill costs at most the task that its worker was running.
        if (result_.crashed > result_.kills + result_.meant_to_crash) {
            result_.wrong += result_.crashed - result_.kills - result_.meant_to_crash;
            note(std::to_string(result_.crashed) + " tasks crashed of " +
                 std::to_string(result_.kills) + " kills and " +
                 std::to_string(result_.meant_to_crash) + " tasks that crash");
        }
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
            task.what = task_kind::fast;
            task.answer = pool.submit(storm_tasks::fast, path_, task.number);
        } else if (dice < 750) {
            task.what = task_kind::slow;
            task.answer = pool.submit(storm_tasks::slow, path_, task.number);
        } else if (dice < 830) {
            task.what = task_kind::cancelled;
            task.answer = pool.submit(storm_tasks::slow, path_, task.number);
            if (random_() % 2 == 0) ::usleep(static_cast<useconds_t>(random_() % 2000));
            (void)task.answer.cancel();
        } else if (dice < 900) {
            task.what = task_kind::large;
            task.bytes = random_() % 100 == 0 ? 30'000'000
                         : random_() % 4 == 0 ? 10'000'000
                                              : 5'000;
            task.text =
                pool.submit(storm_tasks::echo, path_, task.number,
                            std::string(task.bytes, static_cast<char>('a' + task.number % 26)));
        } else if (dice < 960) {
            task.what = task_kind::throws;
            task.answer = pool.submit(storm_tasks::throws, path_, task.number);
        } else if (dice < 980) {
            task.what = task_kind::crashes;
            ++result_.meant_to_crash;
            task.answer = pool.submit(storm_tasks::crashes, path_, task.number);
        } else if (dice < 990) {
            task.what = task_kind::forks;
            task.answer = pool.submit(storm_tasks::forks, path_, task.number);
        } else {
            task.what = task_kind::hangs;
            task.answer =
                pool.submit(task_options{.timeout = 10ms}, storm_tasks::hangs, path_, task.number);
        }
        const auto told = [count = task.told] { ++*count; };
        if (task.what == task_kind::large) {
            task.text.on_done(told);
        } else {
            task.answer.on_done(told);
        }
        return task;
    }

    /// One map after another, in a thread of its own beside the tasks.
    void go_on_mapping(process_pool& pool) {
        await_map(0s);
        if (mapping_.valid()) return;
        const std::uint64_t count = 1 + random_() % mapped_max;
        if (result_.tasks + count + 1 >= storm_tasks_max) return;
        const std::uint64_t first = std::exchange(result_.tasks, result_.tasks + count);
        const bulkhead::map_options options{.chunk_size = random_() % 40};
        const bool ordered = random_() % 2 == 0;
        mapped_at_ = std::chrono::steady_clock::now();
        mapping_ = std::async(std::launch::async, [this, &pool, first, count, options, ordered] {
            return ordered ? map_in_order(pool, options, first, count)
                           : map_as_it_comes(pool, options, first, count);
        });
    }

    void await_map(std::chrono::seconds patience) {
        if (!mapping_.valid()) return;
        if (mapping_.wait_for(patience) == std::future_status::ready) {
            result_.add(mapping_.get());
        } else if (std::chrono::steady_clock::now() - mapped_at_.load() > hang_after) {
            ++result_.hangs;
            note("a map stands still");
        }
    }

    [[nodiscard]] auto mapped(std::uint64_t first, std::uint64_t count) const {
        return std::pair(std::vector<std::string>(count, path_),
                         std::views::iota(first, first + count));
    }

    tally map_in_order(process_pool& pool, const bulkhead::map_options& options,
                       std::uint64_t first, std::uint64_t count) {
        tally found;
        const auto [paths, numbers] = mapped(first, count);
        auto all = pool.map(options, storm_tasks::item, paths, numbers);
        std::uint64_t number = first;
        for (auto it = all.begin(); it != all.end(); ++it, ++number) {
            check_item(found, number, [&] { return *it; });
        }
        if (number != first + count) ++found.lost;
        return found;
    }

    tally map_as_it_comes(process_pool& pool, const bulkhead::map_options& options,
                          std::uint64_t first, std::uint64_t count) {
        tally found;
        const auto [paths, numbers] = mapped(first, count);
        std::vector<int> told(count);
        auto all = pool.map_unordered(options, storm_tasks::item, paths, numbers);
        for (auto it = all.begin(); it != all.end(); ++it) {
            ++told[it.index()];
            check_item(found, first + it.index(), [&] { return (*it).value; });
        }
        for (const int times : told) {
            if (times != 1) ++(times == 0 ? found.lost : found.wrong);
        }
        return found;
    }

    template <class Text>
    void check_item(tally& found, std::uint64_t number, Text text) {
        bool well = true;
        bool possible = true;
        mapped_at_ = std::chrono::steady_clock::now();
        try {
            possible = text() == storm_tasks::item_text(number) && number % 7 != 0;
        } catch (const bulkhead::worker_crashed&) {
            ++found.crashed;
            return;
        } catch (const std::out_of_range& thrown) {
            possible = number % 7 == 0 && thrown.what() == std::to_string(number);
        } catch (const std::exception& other) {
            well = possible = false;
            found.notes.push_back(std::string("an unexpected ") + other.what());
        }
        ++(possible ? found.right : found.wrong);
        if (!possible)
            found.notes.push_back("item " + std::to_string(number) + " of a map is wrong");
        if (well && runs_.of(number) == 0) {
            ++found.lost;
            found.notes.push_back("item " + std::to_string(number) + " of a map never ran");
        }
    }

    void finish(running_task& task) {
        const bool large = task.what == task_kind::large;
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
                possible = task.answer.get() == task.number * 3 && task.what != task_kind::throws &&
                           task.what != task_kind::crashes && task.what != task_kind::hangs;
            }
            if (possible) ++result_.right;
        } catch (const bulkhead::worker_crashed&) {
            well = false;
            ++result_.crashed;
        } catch (const bulkhead::task_timeout&) {
            well = false;
            possible = task.what == task_kind::hangs;
            ++result_.timed_out;
        } catch (const bulkhead::task_cancelled&) {
            well = false;
            possible = task.what == task_kind::cancelled;
            ++result_.cancelled;
        } catch (const std::out_of_range& thrown) {
            possible =
                task.what == task_kind::throws && thrown.what() == std::to_string(task.number);
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
        const int runs = runs_.of(task.number);
        if (well && runs == 0) {
            ++result_.lost;
            note("task " + std::to_string(task.number) + " ended well and never ran");
        }
        told_.push_back(std::move(task.told));
    }

    /// At the end, when nothing can run any more.
    void check_runs() {
        for (std::uint64_t task = 0; task != result_.tasks; ++task) {
            if (runs_.of(task) <= 1) continue;
            ++result_.doubled;
            note("task " + std::to_string(task) + " ran " + std::to_string(runs_.of(task)) +
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
    run_counts runs_;
    std::vector<std::shared_ptr<std::atomic<int>>> told_;
    std::future<tally> mapping_;
    std::atomic<std::chrono::steady_clock::time_point> mapped_at_{};  // its last item
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
    mark_descendants();
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
