// The parent's side of the keeper.
#include "os/keeper.hpp"

#include "os/doorbell.hpp"
#include "os/keeper_table.hpp"
#include "os/kill_point.hpp"

#include <bulkhead/error.hpp>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <poll.h>
#include <random>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace bulkhead::os {
namespace {

/// For a keeper that has been told to end, and has at most to look through /proc once more.
constexpr int end_within_ms = 5'000;

bool ends_within(const unique_fd& pidfd, int timeout_ms) noexcept {
    pollfd poll{pidfd.get(), POLLIN, 0};
    int ready = 0;
    while ((ready = ::poll(&poll, 1, timeout_ms)) < 0 && errno == EINTR) {
    }
    return ready > 0;
}

void signal(const unique_fd& pidfd, int number) noexcept {
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0);
}

void reap(const unique_fd& pidfd) noexcept {
    siginfo_t info{};
    while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd.get()), &info,
                    WEXITED) != 0 &&
           errno == EINTR) {
    }
}

std::mutex current_mutex;  // keeper::current()'s

}  // namespace

const std::string& outer_compartments() {
    static const std::string outer = [] {
        const char* value = std::getenv(std::string(compartment_variable).c_str());
        return std::string(value == nullptr ? "" : value);
    }();
    return outer;
}

std::size_t outer_levels() {
    const auto& outer = outer_compartments();
    return static_cast<std::size_t>(std::count(outer.begin(), outer.end(), '/'));
}

// ---- place

keeper::place::place(place&& other) noexcept
    : keeper_(std::move(other.keeper_)),
      index_(other.index_),
      number_(other.number_),
      watched_(other.watched_) {}

keeper::place& keeper::place::operator=(place&& other) noexcept {
    std::swap(keeper_, other.keeper_);
    std::swap(index_, other.index_);
    std::swap(number_, other.number_);
    std::swap(watched_, other.watched_);
    return *this;
}

std::string keeper::place::mark() const { return keeper_->table_->mark(number_); }

std::string keeper::place::variable() const {
    const std::string name(compartment_variable);
    return name + "=" + outer_compartments() + "/" + mark();
}

void keeper::place::watch(pid_t group) noexcept {
    keeper_->table_->places[index_].store(keeper_table::word(number_, group));
    watched_ = true;
    BULKHEAD_KILL_POINT("parent.watched");
}

void keeper::place::leave() noexcept {
    if (!keeper_) return;
    const std::shared_ptr<keeper> kept = std::move(keeper_);
    if (kept->in_a_fork()) return;
    {
        const std::lock_guard lock(kept->mutex_);
        if (watched_) {
            kept->table_->places[index_].fetch_or(keeper_table::left);
            ring(kept->bell_.get());
            signal(kept->process_.pidfd, SIGCONT);  // if somebody has stopped it
        }
        kept->given_back_.push_back(index_);  // has room: new_place() saw to it
    }
}

// ---- keeper

std::weak_ptr<keeper>& keeper::current() {
    static auto& one = *new std::weak_ptr<keeper>;  // outlives a pool that lives until exit()
    return one;
}

std::shared_ptr<keeper> keeper::of_this_process() {
    const std::lock_guard lock(current_mutex);
    auto kept = current().lock();
    if (kept && !kept->in_a_fork()) return kept;
    kept.reset(new keeper);
    current() = kept;
    return kept;
}

void keeper::revive() noexcept {
    try {
        std::shared_ptr<keeper> kept;
        {
            const std::lock_guard lock(current_mutex);
            kept = current().lock();
        }
        if (kept && !kept->in_a_fork()) kept->see_that_it_lives();
    } catch (const std::exception&) {
        // No descriptors or memory for one: the next start, or ~keeper(), tries again.
    }
}

keeper::keeper() {
    try {
        memory_ = make_memfd("bulkhead-keeper", sizeof(keeper_table));
        mapped_ = map_shared(memory_.get(), sizeof(keeper_table), "the keeper's table");
    } catch (const error& cause) {
        throw pool_broken(cause.what());
    }
    table_ = reinterpret_cast<keeper_table*>(mapped_.data());  // zeros, most of them never touched
    table_->parent = ::getpid();
    std::random_device source;
    const std::uint64_t random = std::uint64_t{source()} << 32 | source();
    (void)std::snprintf(table_->marks.data(), table_->marks.size(), "%d.%016" PRIx64 ".",
                        static_cast<int>(::getpid()), random);
}

void keeper::start() {
    link_keeper();
    unique_fd there;
    unique_fd bell;
    try {
        std::tie(bell, there) = make_doorbell();
        there = above_stdio(std::move(there));
    } catch (const error& cause) {
        throw pool_broken(cause.what());
    }
    launch_request request;
    request.arguments = {keeper_flag, fd_list({memory_.get(), there.get()})};
    request.passed_fds = {memory_.get(), there.get()};
    request.dies_with_parent = false;
    launched made = launch(request);
    made.let_it_run();
    const std::lock_guard lock(mutex_);
    process_ = std::move(made);
    std::swap(bell_, bell);
    ring(bell_.get());  // for what has been left since its predecessor's death
    BULKHEAD_KILL_POINT("parent.keeper_started");
}

keeper::~keeper() {
    if (in_a_fork()) return;  // nothing here is a fork's to end
    table_->ending.store(1);
    const bool was_late = process_.pidfd && !end();
    if (was_late || !has_remains()) return;
    try {
        start();  // it was killed before it had done its last work
    } catch (const std::exception&) {
        return;
    }
    (void)end();
}

bool keeper::end() noexcept {
    ring(bell_.get());
    signal(process_.pidfd, SIGCONT);
    const bool in_time = ends_within(process_.pidfd, end_within_ms);
    if (!in_time) signal(process_.pidfd, SIGKILL);
    reap(process_.pidfd);
    return in_time;
}

bool keeper::has_remains() const noexcept {
    return std::any_of(table_->places.begin(), table_->places.begin() + never_used_,
                       [](const auto& at) { return at.load() != 0; });
}

pid_t keeper::pid() const {
    const std::lock_guard lock(mutex_);
    return process_.pid;
}

void keeper::see_that_it_lives() {
    const std::lock_guard starting(start_mutex_);
    {
        const std::lock_guard lock(mutex_);
        if (in_a_fork() || (process_.pidfd && !ends_within(process_.pidfd, 0))) return;
        if (process_.pidfd) {
            reap(process_.pidfd);
            process_ = {};
        }
    }
    start();
}

void keeper::remove_groups_in(const std::string& directory) {
    const std::lock_guard lock(mutex_);
    auto& all = table_->group_directories;
    const std::uint32_t count = table_->group_directory_count.load();
    for (std::uint32_t i = 0; i != count; ++i) {
        if (directory == all[i].data()) return;
    }
    if (count == all.size() || directory.size() >= all[0].size()) {
        throw pool_broken("bulkhead: a program can use " + std::to_string(all.size()) +
                          " cgroup directories until it has no pools any more, with paths of less "
                          "than " +
                          std::to_string(all[0].size()) + " bytes");
    }
    directory.copy(all[count].data(), directory.size());
    table_->group_directory_count.store(count +
                                        1);  // release: the keeper reads it behind the count
}

keeper::place keeper::new_place() {
    const std::lock_guard lock(mutex_);
    const std::uint32_t number = last_number_ % compartment_number_max + 1;
    for (std::size_t i = given_back_.size(); i-- != 0;) {
        const std::uint32_t index = given_back_[i];
        if (table_->places[index].load() != 0) continue;  // its remains are looked for
        given_back_.erase(given_back_.begin() + static_cast<std::ptrdiff_t>(i));
        last_number_ = number;
        return place(shared_from_this(), index, number);
    }
    if (never_used_ == keeper_places_max) {
        throw pool_broken("bulkhead: " + std::to_string(keeper_places_max) +
                          " processes at a time have been started or wait to be cleaned up after: "
                          "there cannot be more");
    }
    given_back_.reserve(never_used_ + 1);
    last_number_ = number;
    const std::uint32_t index = never_used_++;
    table_->used.store(never_used_);
    return place(shared_from_this(), index, number);
}

}  // namespace bulkhead::os
