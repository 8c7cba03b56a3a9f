// From /proc: workers are known by their command lines.
#include "top.hpp"

#include "stop_signals.hpp"
#include "stream_queue.hpp"
#include "table.hpp"

#include <boost/json.hpp>

#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace bulkhead::tools {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

struct worker {
    pid_t pid = 0;
    pid_t parent = 0;
    std::string program;
    std::string role;
    char state = '?';
    std::uint64_t cpu_ticks = 0;
    double cpu_percent = 0;  ///< since the last look
    std::uint64_t rss_bytes = 0;
    std::chrono::seconds age{0};
};

std::string role_of(std::string_view flag) {
    if (flag == "--bulkhead-worker") return "worker";
    if (flag == "--bulkhead-process") return "process";
    if (flag == "--bulkhead-keeper") return "keeper";
    return "";
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// False when it is none of ours, or has gone.
bool look_at(const fs::path& process, double up_s, worker& to) {
    std::ifstream command(process / "cmdline", std::ios::binary);
    std::string program;
    std::string flag;
    std::getline(command, program, '\0');
    std::getline(command, flag, '\0');
    to.role = role_of(flag);
    if (to.role.empty()) return false;
    to.program = base_name(program);

    // proc_pid_stat(5); the name in parentheses may hold anything.
    std::ifstream file(process / "stat");
    std::string text;
    std::getline(file, text);
    const auto name_end = text.rfind(") ");
    if (name_end == std::string::npos) return false;
    std::istringstream fields(text.substr(name_end + 2));
    std::string skipped;
    std::uint64_t user_ticks = 0;
    std::uint64_t system_ticks = 0;
    std::uint64_t start_ticks = 0;
    std::uint64_t pages = 0;
    fields >> to.state >> to.parent;
    for (int i = 0; i != 9; ++i) fields >> skipped;
    fields >> user_ticks >> system_ticks;
    for (int i = 0; i != 6; ++i) fields >> skipped;
    fields >> start_ticks >> skipped >> pages;
    if (!fields) return false;
    static const auto ticks_per_s = static_cast<double>(::sysconf(_SC_CLK_TCK));
    static const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    to.cpu_ticks = user_ticks + system_ticks;
    to.rss_bytes = pages * page_bytes;
    const double age_s = up_s - static_cast<double>(start_ticks) / ticks_per_s;
    to.age = std::chrono::seconds(static_cast<long>(age_s > 0 ? age_s : 0));
    return true;
}

std::vector<worker> workers() {
    double up_s = 0;
    std::ifstream("/proc/uptime") >> up_s;
    std::vector<worker> all;
    std::error_code failure;
    for (fs::directory_iterator at("/proc", failure), end; !failure && at != end;
         at.increment(failure)) {
        const std::string name = at->path().filename();
        if (std::isdigit(static_cast<unsigned char>(name[0])) == 0) continue;
        worker one;
        one.pid = static_cast<pid_t>(std::stol(name));
        if (look_at(at->path(), up_s, one)) all.push_back(std::move(one));
    }
    return all;
}

std::string percent_text(double percent) {
    char text[32];
    (void)std::snprintf(text, sizeof text, "%.1f", percent);
    return text;
}

void print(const std::vector<worker>& all, bool as_json) {
    if (as_json) {
        json::array list;
        for (const auto& one : all) {
            list.push_back(json::object{{"pid", one.pid},
                                        {"parent", one.parent},
                                        {"program", one.program},
                                        {"role", one.role},
                                        {"state", std::string(1, one.state)},
                                        {"cpu_percent", one.cpu_percent},
                                        {"rss_bytes", one.rss_bytes},
                                        {"age_s", one.age.count()}});
        }
        std::cout << list << '\n';
        return;
    }
    table lines({">PARENT", "PROGRAM", ">PID", "ROLE", "STATE", ">CPU%", ">RSS", ">AGE"});
    for (const auto& one : all) {
        lines.add({std::to_string(one.parent), one.program, std::to_string(one.pid), one.role,
                   std::string(1, one.state), percent_text(one.cpu_percent),
                   bytes_text(one.rss_bytes), age_text(one.age)});
    }
    lines.print(std::cout);
}

}  // namespace

void top_command(const top_request& request) {
    const auto ticks_per_s = static_cast<double>(::sysconf(_SC_CLK_TCK));
    const bool clears = !request.json && ::isatty(STDOUT_FILENO) == 1 && request.count != 1;
    std::map<pid_t, std::uint64_t> before;
    auto looked = std::chrono::steady_clock::now();
    for (const auto& one : workers()) before[one.pid] = one.cpu_ticks;
    for (std::uint64_t shown = 0; !request.count || shown != *request.count; ++shown) {
        (void)wait_for(-1, 0, request.interval);
        auto all = workers();
        const auto now = std::chrono::steady_clock::now();
        const double passed_s = std::chrono::duration<double>(now - looked).count();
        looked = now;
        std::map<pid_t, std::uint64_t> ticks;
        for (auto& one : all) {
            ticks[one.pid] = one.cpu_ticks;
            const auto known = before.find(one.pid);
            const std::uint64_t since = known == before.end() ? 0 : known->second;
            const auto used = static_cast<double>(one.cpu_ticks - std::min(since, one.cpu_ticks));
            one.cpu_percent = 100 * used / ticks_per_s / passed_s;
        }
        before = std::move(ticks);
        if (clears) std::cout << "\033[H\033[J";
        print(all, request.json);
        flush_standard_output();
    }
}

}  // namespace bulkhead::tools
