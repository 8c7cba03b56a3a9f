#include "storm_tasks.hpp"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <stdexcept>
#include <sys/mman.h>
#include <unistd.h>

namespace bulkhead::tools {

run_counts::run_counts(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(storm_tasks_max)) != 0) {
        throw std::runtime_error("cannot make " + path);
    }
    void* memory = ::mmap(nullptr, storm_tasks_max, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (memory == MAP_FAILED) throw std::runtime_error("cannot map " + path);
    counts_ = static_cast<unsigned char*>(memory);
}

void run_counts::add(std::uint64_t task) const noexcept {
    std::atomic_ref<unsigned char>(counts_[task]).fetch_add(1, std::memory_order_relaxed);
}

int run_counts::of(std::uint64_t task) const noexcept {
    return std::atomic_ref<unsigned char>(counts_[task]).load(std::memory_order_relaxed);
}

namespace storm_tasks {
namespace {

void note_run(const std::string& path, std::uint64_t task) {
    static const run_counts counts(path);  // of this worker
    counts.add(task);
}

}  // namespace

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

std::uint64_t forks(const std::string& counts, std::uint64_t task) {
    note_run(counts, task);
    // The child outlives the storm's patience, if nobody ends it.
    if (::fork() == 0) {
        ::sleep(3600);
        ::_exit(0);
    }
    return task * 3;
}

std::uint64_t hangs(const std::string& counts, std::uint64_t task) {
    note_run(counts, task);
    while (true) ::pause();
}

std::string item(const std::string& counts, std::uint64_t task) {
    if (task % 7 == 0) (void)throws(counts, task);
    note_run(counts, task);
    return item_text(task);
}

std::string item_text(std::uint64_t task) {
    constexpr std::size_t large = 12'000;
    constexpr std::size_t small = 20;
    return std::string(task % 3 == 0 ? large : small, static_cast<char>('a' + task % 26)) +
           std::to_string(task);
}

}  // namespace storm_tasks

}  // namespace bulkhead::tools
