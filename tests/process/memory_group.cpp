// Workers in memory cgroups. Skipped where this user can make none, and with sanitizers.
#include "support/family.hpp"
#include "support/program.hpp"
#include "support/scene.hpp"

#include <bulkhead/shared_array.hpp>

namespace {

using namespace test;
using bulkhead::crash_cause;
using bulkhead::process_pool;
using bulkhead::shared_array;
using bulkhead::worker_crashed;

constexpr std::uint64_t limit_bytes = std::uint64_t{64} << 20;

/// A cgroup with nobody in it, for this test.
class cgroup_place : public scene {
public:
    cgroup_place() {
        if (sanitized) return;  // a sanitizer's own memory counts too
        const std::string name = "bulkhead-tests-" + mark();
        for (const char* root : {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"}) {
            std::error_code failure;
            const fs::path place = fs::path(root) / name;
            if (!fs::create_directory(place, failure)) continue;
            const bool v1 = fs::exists(place / "memory.limit_in_bytes");
            if (v1 || contains(content(place / "cgroup.controllers"), "memory")) {
                directory_ = place;
                return;
            }
            fs::remove(place, failure);
        }
        BOOST_TEST_MESSAGE("no memory cgroup can be made here");
    }
    ~cgroup_place() {
        if (directory_.empty()) return;
        until([&] { return groups().empty(); });
        std::error_code failure;
        fs::remove(directory_, failure);
        BOOST_TEST(!failure, failure.message());
    }
    cgroup_place(const cgroup_place&) = delete;
    cgroup_place& operator=(const cgroup_place&) = delete;

    /// "" where there is none, and in a build with a sanitizer.
    [[nodiscard]] std::string directory() const { return directory_; }
    [[nodiscard]] std::vector<fs::path> groups() const {
        std::vector<fs::path> found;
        for (const auto& entry : fs::directory_iterator(directory_)) {
            if (entry.is_directory()) found.push_back(entry.path());
        }
        return found;
    }

private:
    fs::path directory_;
};

std::size_t fill(const shared_array<char>& all) {
    for (std::size_t i = 0; i < all.size(); i += 4096) all[i] = 1;
    return all.size();
}

/// Each child has less than the limit, together they have more.
void many_children() {
    for (int i = 0; i != 6; ++i) {
        if (::fork() == 0) {
            std::vector<char> mine(limit_bytes / 2);
            for (std::size_t at = 0; at < mine.size(); at += 4096) mine[at] = 1;
            while (true) ::pause();
        }
    }
    while (true) ::pause();
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(memory_group, cgroup_place)

BOOST_AUTO_TEST_CASE(a_worker_is_in_a_group_of_its_own_which_goes_with_it) {
    if (directory().empty()) return;
    {
        process_pool pool({.workers = 2,
                           .worker_memory_max_bytes = limit_bytes,
                           .spare_workers = 0,
                           .worker_cgroup = directory() + "/"});
        const auto pids = pids_of(pool);
        BOOST_TEST(groups().size() == 2U);
        for (const auto& group : groups()) {
            const auto member = content(group / "cgroup.procs");
            BOOST_TEST(std::count(pids.begin(), pids.end(), std::stoi(member)) == 1);
        }
        (void)error_of<worker_crashed>(pool.submit([] { std::raise(SIGKILL); }));
        BOOST_TEST(pool.submit(square, 3).get() == 9);
        (void)pids_of(pool);
        until([&] { return groups().size() == 2; });
    }
    until([&] { return groups().empty(); });
}

BOOST_AUTO_TEST_CASE(shared_memory_counts_and_a_task_at_the_limit_is_killed_alone) {
    if (directory().empty()) return;
    process_pool pool(
        {.workers = 1, .worker_memory_max_bytes = limit_bytes, .worker_cgroup = directory()});
    const shared_array<char> small(std::size_t{1} << 20);
    const shared_array<char> large(limit_bytes + bulkhead::worker_group_extra_bytes +
                                   (std::size_t{16} << 20));
    BOOST_TEST(pool.submit(fill, small).get() == small.size());
    auto greedy = pool.submit(fill, large);
    auto modest = pool.submit(fill, small);
    const auto death = error_of<worker_crashed>(std::move(greedy));
    BOOST_TEST(death.status().signal() == SIGKILL);
    BOOST_TEST((death.cause() == crash_cause::memory_limit), death.what());
    BOOST_TEST(modest.get() == small.size());
    // Private memory fails as without a group.
    BOOST_CHECK_THROW(
        (void)pool.submit([] { return std::vector<char>(std::size_t{1} << 30).size(); }).get(),
        std::bad_alloc);
    // A death for another reason is told as that.
    const auto killed = error_of<worker_crashed>(pool.submit([] { std::raise(SIGKILL); }));
    BOOST_TEST((killed.cause() == crash_cause::killed), killed.what());
}

BOOST_AUTO_TEST_CASE(what_a_task_starts_counts_with_it) {
    if (directory().empty()) return;
    process_pool pool({.workers = 1,
                       .task_timeout = 60s,
                       .worker_memory_max_bytes = limit_bytes,
                       .spare_workers = 0,
                       .worker_cgroup = directory()});
    auto f = pool.submit(many_children);
    const fs::path group = groups().at(0);
    // v2 kills the group as a whole; v1 one process after another, the largest first.
    const auto kills = [&] {
        const auto file =
            fs::exists(group / "memory.events") ? "memory.events" : "memory.oom_control";
        const std::string text = content(group / file);
        const auto at = text.find("oom_kill ");
        return at == std::string::npos ? 0 : std::stoi(text.substr(at + 9));
    };
    bool counted = false;
    until([&] {
        counted = counted || kills() != 0;
        return f.done() || counted;
    });
    (void)f.cancel();
    f.wait();
    // v2 removes the group with the worker: then its death tells.
    bool told = false;
    try {
        f.get();
    } catch (const worker_crashed& death) {
        told = death.cause() == crash_cause::memory_limit;
    } catch (const bulkhead::task_cancelled&) {
        // In v1 the worker itself is not the one that is killed.
    }
    BOOST_TEST((counted || told));
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_killed_programs_groups_are_removed) {
    if (directory().empty()) return;
    {
        program parent(*this, "doomed_parent", {"grouped", file("on"), directory()});
        await(file("on"));
        BOOST_TEST(!groups().empty());
        parent.kill();
    }
    until([&] { return groups().empty(); });
}

BOOST_AUTO_TEST_CASE(a_directory_that_will_not_do_is_refused_with_the_reason) {
    const auto refusal = [](bulkhead::process_pool_options options) {
        try {
            process_pool pool(std::move(options));
        } catch (const bulkhead::usage_error& why) {
            return std::string(why.what());
        }
        return std::string();
    };
    BOOST_TEST(contains(refusal({.worker_memory_max_bytes = limit_bytes, .worker_cgroup = "/tmp"}),
                        "'/tmp' is no directory of cgroup v2"));
    BOOST_TEST(contains(refusal({.worker_cgroup = "/tmp"}), "worker_memory_max_bytes"));
}

BOOST_AUTO_TEST_SUITE_END()
