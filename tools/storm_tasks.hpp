// What a storm lets a pool do, and how often each task ran.
#pragma once

#include <cstdint>
#include <string>

namespace bulkhead::tools {

inline constexpr std::uint64_t storm_tasks_max = 1 << 26;

enum class task_kind : std::uint8_t { fast, slow, large, throws, crashes, forks, hangs, cancelled };

/// One byte a task, in a file that every worker maps.
class run_counts {
public:
    /// Throws std::runtime_error.
    explicit run_counts(const std::string& path);
    void add(std::uint64_t task) const noexcept;
    [[nodiscard]] int of(std::uint64_t task) const noexcept;

private:
    unsigned char* counts_;  // mapped until the process ends
};

/// Each counts its run in the file `counts`; what can be computed from a task's number is three times that.
namespace storm_tasks {

std::uint64_t fast(const std::string& counts, std::uint64_t task);
std::uint64_t slow(const std::string& counts, std::uint64_t task);
std::string echo(const std::string& counts, std::uint64_t task, std::string bytes);
std::uint64_t throws(const std::string& counts, std::uint64_t task);
std::uint64_t crashes(const std::string& counts, std::uint64_t task);
/// Leaves a child behind, which must not live long.
std::uint64_t forks(const std::string& counts, std::uint64_t task);
std::uint64_t hangs(const std::string& counts, std::uint64_t task);
/// Of a map: every seventh throws as throws() does, the others give item_text(). Some are so large that not
/// all of a chunk fit into one answer of its worker.
std::string item(const std::string& counts, std::uint64_t task);
std::string item_text(std::uint64_t task);

}  // namespace storm_tasks

}  // namespace bulkhead::tools
