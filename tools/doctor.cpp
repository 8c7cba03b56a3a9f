// Tries each thing rather than asking for versions, where that can be done.
#include "doctor.hpp"

#include "table.hpp"

#include <bulkhead/bulkhead.hpp>
#include <bulkhead/detail/catalog.hpp>

#include <boost/json.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

/// Less is asked for by many programs' first queue.
constexpr std::uint64_t shared_memory_bytes_wanted = std::uint64_t{64} << 20;
/// A pool takes about five descriptors a worker.
constexpr rlim_t descriptors_wanted = 256;
constexpr auto patience = 30s;

enum class verdict { good, doubtful, bad };

struct finding {
    verdict how;
    std::string what;
};

const char* to_string(verdict how) {
    switch (how) {
        case verdict::good:
            return "ok";
        case verdict::doubtful:
            return "warning";
        case verdict::bad:
            break;
    }
    return "FAILED";
}

finding kernel() {
    utsname about{};
    ::uname(&about);
    int major = 0;
    int minor = 0;
    // NOLINTNEXTLINE(cert-err34-c): zeros when it is no number
    (void)std::sscanf(about.release, "%d.%d", &major, &minor);
    const std::string release = std::string("Linux ") + about.release;
    if (major > 5 || (major == 5 && minor >= 11)) return {verdict::good, release};
    return {verdict::bad, release + "; 5.11 or newer is needed"};
}

finding shared_memory() {
    struct statvfs about {};
    if (::statvfs("/dev/shm", &about) != 0 || ::access("/dev/shm", W_OK) != 0) {
        return {verdict::bad, "/dev/shm is not there or cannot be written to; mount a tmpfs there"};
    }
    const std::uint64_t free_bytes = std::uint64_t{about.f_bavail} * about.f_frsize;
    const std::string text = "/dev/shm has " + bytes_text(free_bytes) + " free";
    if (free_bytes >= shared_memory_bytes_wanted) return {verdict::good, text};
    return {verdict::doubtful, text +
                                   "; named queues and arrays lie there (mount -o "
                                   "remount,size=1G /dev/shm; docker run --shm-size=1g)"};
}

finding named_objects() {
    const std::string name = "doctor-" + std::to_string(::getpid());
    try {
        const auto lock = mutex::create(name);
        const bool works = lock.try_lock();
        if (works) lock.unlock();
        (void)mutex::remove(name);
        if (works) return {verdict::good, "a named mutex can be made, locked and removed"};
        return {verdict::bad, "a new mutex cannot be locked"};
    } catch (const error& failure) {
        return {verdict::bad, failure.what()};
    }
}

int add_one(int x) { return x + 1; }
void die() { (void)std::raise(SIGKILL); }

finding workers() {
    try {
        const auto begin = std::chrono::steady_clock::now();
        process_pool pool(1);
        auto sum = pool.submit(add_one, 1);
        if (!sum.wait_for(patience)) return {verdict::bad, "a worker does not answer"};
        if (sum.get() != 2) return {verdict::bad, "a worker answers with nonsense"};
        const auto took = std::chrono::steady_clock::now() - begin;
        auto crash = pool.submit(die);
        if (!crash.wait_for(patience)) return {verdict::bad, "a worker's death is not noticed"};
        try {
            crash.get();
            return {verdict::bad, "a killed worker's task seems to have succeeded"};
        } catch (const worker_crashed&) {
            const auto us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
            return {verdict::good, "a worker starts, answers (after " + std::to_string(us / 1000) +
                                       "." + std::to_string(us / 100 % 10) +
                                       " ms), and its death is noticed"};
        }
    } catch (const error& failure) {
        return {verdict::bad, failure.what()};
    }
}

finding descriptors() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const std::string text = "up to " + std::to_string(limit.rlim_cur) + " open descriptors";
    if (limit.rlim_cur >= descriptors_wanted) return {verdict::good, text};
    return {verdict::doubtful, text + "; pools of many workers need more (ulimit -n)"};
}

finding core_dumps() {
    std::ifstream file("/proc/sys/kernel/core_pattern");
    std::string pattern;
    std::getline(file, pattern);
    rlimit limit{};
    ::getrlimit(RLIMIT_CORE, &limit);
    if (!pattern.empty() && pattern.front() == '|') {
        return {verdict::doubtful,
                "each crash starts a program (core_pattern '" + pattern +
                    "'), which delays the next task; ulimit -c 0 does not keep it from that"};
    }
    if (limit.rlim_cur != 0) {
        return {verdict::doubtful,
                "crashes write core files, which takes time and space; ulimit -c 0 stops that"};
    }
    return {verdict::good, "crashes write no core files"};
}

finding leftovers() {
    std::size_t unused = 0;
    for (const auto& one : detail::list_objects()) {
        if (one.owner == ::geteuid() && one.users_known && one.attached.empty()) ++unused;
    }
    if (unused == 0) return {verdict::good, "no named object is without a process that uses it"};
    return {verdict::doubtful, std::to_string(unused) +
                                   " named objects are used by no process (bulkhead ls shows "
                                   "them, bulkhead clean removes them)"};
}

}  // namespace

void doctor_command(bool as_json) {
    const std::pair<const char*, std::function<finding()>> checks[] = {
        {"kernel", kernel},
        {"shared memory", shared_memory},
        {"named objects", named_objects},
        {"workers", workers},
        {"descriptors", descriptors},
        {"core dumps", core_dumps},
        {"leftovers", leftovers},
    };
    json::array findings;
    bool bad = false;
    for (const auto& [name, check] : checks) {
        const finding found = check();
        bad = bad || found.how == verdict::bad;
        if (as_json) {
            findings.push_back(json::object{
                {"check", name}, {"verdict", to_string(found.how)}, {"finding", found.what}});
        } else {
            std::cout << to_string(found.how) << ": " << name << ": " << found.what << std::endl;
        }
    }
    if (as_json) std::cout << findings << '\n';
    if (bad) throw std::runtime_error("something that Bulkhead needs is missing here");
}

}  // namespace bulkhead::tools
