// CRC-32 of every file below some folders, computed in worker processes:
//
//     $ checksum_tree lib/include
//     9b1c6e02  lib/include/bulkhead/bulkhead.hpp
//     ...
//
// A file whose checksum crashes, or hangs (--timeout), costs that one line. --crash-every shows it.
#include <bulkhead/bulkhead.hpp>

#include <boost/crc.hpp>
#include <boost/program_options.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <fcntl.h>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;
using namespace std::chrono_literals;

// ---- the task: runs in a worker process -------------------------------------------------------

struct checksum {
    std::uint32_t crc32 = 0;
    std::uint64_t bytes = 0;
};

[[noreturn]] void fail(const char* call) {
    throw std::system_error(errno, std::generic_category(), call);
}

class input_file {
public:
    explicit input_file(const std::string& path)
        // No symlink and no pipe, even if the path has become one since it was listed.
        : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)) {
        if (fd_ < 0) fail("cannot open");
    }
    ~input_file() { ::close(fd_); }
    input_file(const input_file&) = delete;
    input_file& operator=(const input_file&) = delete;

    /// 0 at the end.
    std::size_t read(char* to, std::size_t bytes_max) const {
        ssize_t got = 0;
        do got = ::read(fd_, to, bytes_max);
        while (got < 0 && errno == EINTR);
        if (got < 0) fail("cannot read");
        return static_cast<std::size_t>(got);
    }

private:
    int fd_;
};

/// What it throws is thrown again by future::get() in the parent.
checksum checksum_file(const std::string& path, bool crash) {
    if (crash) {
        int* volatile nowhere = nullptr;
        *nowhere = 1;
    }
    const input_file file(path);
    boost::crc_32_type crc;
    checksum sum;
    std::array<char, 1 << 16> buffer;
    while (const std::size_t got = file.read(buffer.data(), buffer.size())) {
        crc.process_bytes(buffer.data(), got);
        sum.bytes += got;
    }
    sum.crc32 = crc.checksum();
    return sum;
}

// ---- the files, in the order of their paths ---------------------------------------------------

/// Calls `on_file(path)` for every regular file below `folder`, and `on_error(path, reason)` for
/// every folder that cannot be listed. In the byte order of the paths; in memory are the names of
/// one folder for each level. Symlinks, devices, pipes and sockets are left out.
template <class OnFile, class OnError>
void walk(const std::string& folder, OnFile& on_file, OnError& on_error) {
    std::vector<std::string> names;  // a folder's ends in '/', which puts it where its files belong
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    while (!error && entries != fs::directory_iterator()) {
        std::error_code vanished;
        const fs::directory_entry& entry = *entries;
        const std::string name = entry.path().filename().string();
        if (!entry.is_symlink(vanished)) {
            if (entry.is_directory(vanished)) {
                names.push_back(name + '/');
            } else if (entry.is_regular_file(vanished)) {
                names.push_back(name);
            }
        }
        entries.increment(error);
    }
    if (error) on_error(folder, error.message());
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
        if (name.back() == '/') {
            walk(folder + name, on_file, on_error);
        } else {
            on_file(folder + name);
        }
    }
}

/// Sorted, each ending in '/', none twice and none inside another.
std::vector<std::string> checked_folders(std::vector<std::string> folders) {
    for (std::string& folder : folders) {
        std::error_code error;
        const fs::file_status status = fs::status(folder, error);
        if (!fs::exists(status)) throw std::runtime_error(folder + ": " + error.message());
        if (!fs::is_directory(status)) throw std::runtime_error(folder + ": this is no folder");
        while (!folder.empty() && folder.back() == '/') folder.pop_back();
        folder += '/';
    }
    std::sort(folders.begin(), folders.end());
    std::vector<std::string> kept;
    for (std::string& folder : folders) {
        if (kept.empty() || !folder.starts_with(kept.back())) kept.push_back(std::move(folder));
    }
    return kept;
}

// ---- what is printed --------------------------------------------------------------------------

struct totals {
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
    std::uint64_t failures = 0;  // files and folders
    std::uint64_t crashes = 0;
};

/// The table on stdout; complaints, progress and summary on stderr.
class report {
public:
    report(bool quiet, bool progress_forced)
        : quiet_(quiet),
          on_terminal_(::isatty(STDERR_FILENO) != 0),
          // Not on a terminal through which the table itself runs.
          progress_(!quiet && (progress_forced || (on_terminal_ && ::isatty(STDOUT_FILENO) == 0))) {
    }

    void add(const std::string& path, const checksum& sum) {
        ++totals_.files;
        totals_.bytes += sum.bytes;
        std::array<char, 16> crc;
        std::snprintf(crc.data(), crc.size(), "%08x  ", static_cast<unsigned>(sum.crc32));
        const std::string name = in_one_line(path);
        // As sha256sum does: a leading backslash says that the name is escaped.
        if (name.size() != path.size()) std::cout << '\\';
        std::cout << crc.data() << name << '\n';
    }

    void add_failure(const std::string& path, const std::string& reason) {
        ++totals_.failures;
        erase_progress();
        std::cerr << "checksum_tree: " << in_one_line(path) << ": " << reason << '\n';
    }
    void add_crash(const std::string& path, const std::string& reason) {
        ++totals_.crashes;
        add_failure(path, reason);
    }

    static constexpr auto progress_interval = 200ms;
    void show_progress() {
        const auto now = clock::now();
        if (!progress_ || now < progress_due_) return;
        progress_due_ = now + (on_terminal_ ? progress_interval : 1000ms);
        erase_progress();
        std::cerr << figures() << (on_terminal_ ? "" : "\n") << std::flush;
        progress_shown_ = on_terminal_;
    }

    /// The exit code.
    int finish(std::size_t workers) {
        erase_progress();
        std::cout.flush();
        if (!std::cout) throw std::runtime_error("cannot write the table to standard output");
        if (!quiet_) {
            std::cerr << "checksum_tree: " << figures() << ", " << count(workers, "worker") << ", "
                      << count(totals_.crashes, "crash", "es") << " survived";
            if (totals_.failures != 0) {
                std::cerr << "; without a checksum: " << totals_.failures;
            }
            std::cerr << '\n';
        }
        return totals_.failures == 0 ? 0 : 1;
    }

private:
    using clock = std::chrono::steady_clock;

    static std::string in_one_line(const std::string& path) {
        std::string line;
        for (const char c : path) {
            if (c == '\n') {
                line += "\\n";
            } else if (c == '\\') {
                line += "\\\\";
            } else {
                line += c;
            }
        }
        return line;
    }

    static std::string count(std::uint64_t n, const char* what, const char* plural = "s") {
        return std::to_string(n) + ' ' + what + (n == 1 ? "" : plural);
    }

    [[nodiscard]] std::string figures() const {
        const double mib = static_cast<double>(totals_.bytes) / (1 << 20);
        const double seconds = std::chrono::duration<double>(clock::now() - started_).count();
        std::array<char, 128> text;
        std::snprintf(text.data(), text.size(), ", %.1f MiB, %.1f s, %.1f MiB/s", mib, seconds,
                      mib / std::max(seconds, 1e-9));
        return count(totals_.files, "file") + text.data();
    }

    void erase_progress() {
        if (std::exchange(progress_shown_, false)) std::cerr << "\r\033[K";
    }

    bool quiet_;
    bool on_terminal_;
    bool progress_;
    bool progress_shown_ = false;
    totals totals_;
    clock::time_point started_ = clock::now();
    clock::time_point progress_due_ = started_ + progress_interval;
};

// ---- the work ---------------------------------------------------------------------------------

struct options {
    std::vector<std::string> folders;
    std::int64_t workers = 0;
    std::uint64_t crash_every = 0;
    std::chrono::nanoseconds timeout{0};
    bool quiet = false;
    bool progress = false;
};

/// Files handed to the pool and not yet printed. Enough that the workers have something to do while
/// one of them is at a large file; few enough that a million files need no more memory than these.
constexpr std::size_t lookahead_max = 4096;

int checksum_folders(const options& wanted) {
    const auto folders = checked_folders(wanted.folders);
    bulkhead::process_pool pool({.workers = wanted.workers, .task_timeout = wanted.timeout});
    report out(wanted.quiet, wanted.progress);

    struct pending {
        std::string path;
        bulkhead::future<checksum> sum;
    };
    std::deque<pending> in_flight;

    const auto print_oldest = [&] {
        auto [path, sum] = std::move(in_flight.front());
        in_flight.pop_front();
        while (!sum.wait_for(report::progress_interval)) out.show_progress();
        try {
            out.add(path, sum.get());
        } catch (const bulkhead::worker_crashed& crash) {
            out.add_crash(path, "the worker " + crash.status().to_string());
        } catch (const bulkhead::pool_broken&) {
            throw;  // no file's fault
        } catch (const std::exception& error) {
            out.add_failure(path, error.what());
        }
        out.show_progress();
    };

    std::uint64_t files = 0;
    auto on_file = [&](const std::string& path) {
        if (in_flight.size() == lookahead_max) print_oldest();
        const bool crash = wanted.crash_every != 0 && ++files % wanted.crash_every == 0;
        in_flight.push_back({path, pool.submit(checksum_file, path, crash)});
    };
    auto on_error = [&](const std::string& path, const std::string& reason) {
        out.add_failure(path, "cannot list this folder: " + reason);
    };
    for (const std::string& folder : folders) walk(folder, on_file, on_error);
    while (!in_flight.empty()) print_oldest();
    return out.finish(pool.workers().size());
}

// ---- the command line -------------------------------------------------------------------------

class usage_mistake : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// nullopt: help was asked for, and given.
std::optional<options> parse_command_line(int argc, char** argv) {
    options wanted;
    std::int64_t crash_every = 0;
    double timeout_s = 0;
    po::options_description visible("Options");
    auto add = visible.add_options();
    add("workers,j", po::value(&wanted.workers)->value_name("COUNT"),
        "worker processes (default: as many as there are CPUs)");
    add("timeout", po::value(&timeout_s)->value_name("SECONDS"),
        "give a file up when its checksum takes longer; decimals are allowed");
    add("crash-every", po::value(&crash_every)->value_name("N"),
        "for trying it out: every Nth task dereferences null");
    add("progress", "show a progress line even if stderr is no terminal");
    add("quiet,q", "no progress line and no summary");
    add("help,h", "print this and exit");
    po::options_description all;
    all.add(visible).add_options()("folder", po::value(&wanted.folders));
    po::positional_options_description positional;
    positional.add("folder", -1);

    po::variables_map given;
    try {
        const int style =
            po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
        po::store(po::command_line_parser(argc, argv)
                      .options(all)
                      .positional(positional)
                      .style(style)
                      .run(),
                  given);
        po::notify(given);
    } catch (const po::error& mistake) {
        throw usage_mistake(mistake.what());
    }
    if (given.count("help") != 0) {
        std::cout
            << "Usage: checksum_tree [options] FOLDER...\n\n"
               "Prints the CRC-32 of every file below the FOLDERs, in the order of their paths.\n"
               "Worker processes read the files: one whose checksum fails, crashes or takes too\n"
               "long is reported on stderr, and the others come out all the same. Symlinks are\n"
               "not followed; devices, pipes and sockets are left out.\n\n"
            << visible
            << "\nExit code: 0 every file has its checksum, 1 some have not, 2 wrong usage.\n";
        return std::nullopt;
    }
    if (wanted.folders.empty()) throw usage_mistake("which folders?");
    if (given.count("crash-every") != 0 && crash_every < 1) {
        throw usage_mistake("--crash-every wants a number of at least 1");
    }
    constexpr double longest_s = 1e9;
    if (given.count("timeout") != 0 && !(timeout_s >= 1e-3 && timeout_s <= longest_s)) {
        throw usage_mistake("--timeout wants seconds, from 0.001 to 1000000000");
    }
    wanted.crash_every = static_cast<std::uint64_t>(crash_every);
    wanted.timeout = std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(timeout_s));
    wanted.quiet = given.count("quiet") != 0;
    wanted.progress = given.count("progress") != 0;
    return wanted;
}

int usage_error(const std::exception& mistake) {
    std::cerr << "checksum_tree: " << mistake.what() << "; see checksum_tree --help\n";
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    std::ios::sync_with_stdio(false);
    try {
        const auto wanted = parse_command_line(argc, argv);
        return wanted ? checksum_folders(*wanted) : 0;
    } catch (const usage_mistake& mistake) {
        return usage_error(mistake);
    } catch (const bulkhead::usage_error& mistake) {
        return usage_error(mistake);
    } catch (const std::exception& error) {
        std::cerr << "checksum_tree: " << error.what() << '\n';
        return 1;
    }
}
